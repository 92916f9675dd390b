//! The sessions of an endpoint, and what happens to a new transport.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use switchback_core::{CloseCode, CloseReason, Transport};
use switchback_session::{Gone, Hello, Refused, Remains, ServerSession, SessionId, Why};

use super::Inner;
use super::departed::Departed;
use super::parking::Parking;
use crate::connection::{Connection, Machine, Observer, RequestInfo, Settings, Shared};
use crate::entropy::OsEntropy;

/// The sessions by their id, in shards, so that connects on several cores do not wait for one
/// another.
pub(super) struct Sessions {
    shards: [Mutex<HashMap<String, Entry>>; SHARDS],
    len: AtomicUsize,
    parking: Parking,
    departed: Departed,
}

const SHARDS: usize = 16;

struct Entry {
    connection: Weak<Shared>,
    principal: Option<String>,
}

impl Sessions {
    pub(super) fn new(parking: Parking, departed: Departed) -> Self {
        Self {
            shards: Default::default(),
            len: AtomicUsize::new(0),
            parking,
            departed,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn shard(&self, id: &str) -> MutexGuard<'_, HashMap<String, Entry>> {
        // Ids are random: their last byte spreads them evenly.
        let index = id
            .as_bytes()
            .last()
            .map_or(0, |byte| usize::from(*byte) % SHARDS);
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether a hello is for a session that its client may use, be its token right or not.
    pub(super) fn knows(&self, hello: &Hello, info: &RequestInfo) -> bool {
        let id = hello.session().to_string();
        matches!(self.find(&id, info.principal.as_deref()), Found::Session(_))
    }

    /// Finds a session, and whether the principal may use it.
    fn find(&self, id: &str, principal: Option<&str>) -> Found {
        match self.shard(id).get(id) {
            None => Found::Nothing,
            Some(entry) => match entry.connection.upgrade() {
                None => Found::Nothing,
                Some(connection) if entry.principal.as_deref() != principal => {
                    Found::Foreign(connection)
                }
                Some(connection) => Found::Session(connection),
            },
        }
    }

    /// Tells why there is no session for a hello, if it is from whom it belonged to.
    fn gone(&self, hello: &Hello, principal: Option<&str>) -> Gone {
        match hello {
            Hello::New { .. } => Why::Unknown.into(),
            Hello::Resume { session, token, .. } => self.departed.gone(session, token, principal),
        }
    }

    /// Adds a session unless its id was taken meanwhile.
    fn insert(&self, id: String, connection: &Arc<Shared>, principal: Option<String>) -> bool {
        let mut shard = self.shard(&id);
        if shard
            .get(&id)
            .is_some_and(|entry| entry.connection.strong_count() > 0)
        {
            return false;
        }
        let entry = Entry {
            connection: Arc::downgrade(connection),
            principal,
        };
        if shard.insert(id, entry).is_none() {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        true
    }
}

enum Found {
    Session(Arc<Shared>),
    /// It belongs to another principal.
    Foreign(Arc<Shared>),
    Nothing,
}

impl Observer for Sessions {
    fn parked(&self, connection: &Weak<Shared>, bytes: usize) -> u64 {
        self.parking.park(connection, bytes)
    }

    fn unparked(&self, place: u64) {
        self.parking.unpark(place);
    }

    fn ended(&self, id: &str, remains: Option<Remains>) {
        let mut shard = self.shard(id);
        if let Some(entry) = shard.remove(id) {
            self.len.fetch_sub(1, Ordering::Relaxed);
            // Under the lock, so that nobody finds neither the session nor what remains of it.
            if let Some(remains) = remains {
                self.departed.add(remains, entry.principal);
            }
        }
    }
}

impl Inner {
    /// Gives a transport to the session that its client asks for, or to a new connection.
    pub(super) fn admit_transport(
        self: &Arc<Self>,
        hello: Option<Hello>,
        transport: Box<dyn Transport>,
        info: Arc<RequestInfo>,
    ) {
        match hello {
            Some(hello) => self.admit_session(&hello, transport, info),
            None => self.admit_plain(transport, info),
        }
    }

    fn admit_plain(self: &Arc<Self>, transport: Box<dyn Transport>, info: Arc<RequestInfo>) {
        self.plain.fetch_add(1, Ordering::Relaxed);
        let observer = Arc::new(PlainCount(self.plain.clone()));
        let machine = Machine::Plain(Box::default());
        let shared = self.shared(machine, String::new(), Some(observer));
        shared.plug_plain(transport);
        self.hand_over(&shared, info);
    }

    fn admit_session(
        self: &Arc<Self>,
        hello: &Hello,
        mut transport: Box<dyn Transport>,
        info: Arc<RequestInfo>,
    ) {
        let id = hello.session().to_string();
        let principal = info.principal.as_deref();
        let gone = match self.sessions.find(&id, principal) {
            Found::Session(shared) => {
                let result = shared.with_driver(|driver| {
                    driver.attach(Instant::now(), hello, transport, &mut OsEntropy)
                });
                match result {
                    Ok(()) => return,
                    Err((Refused::Unknown, refused)) => transport = refused,
                    Err((refused, transport)) => {
                        return refuse(transport, refused.close_reason());
                    }
                }
                self.sessions.gone(hello, principal)
            }
            // Only who has the token may know that there is such a session.
            Found::Foreign(shared) if shared.with_driver(|driver| driver.knows(hello)) => {
                Why::Principal.into()
            }
            Found::Foreign(_) => Why::Unknown.into(),
            Found::Nothing => {
                if let Hello::New { .. } = hello {
                    return self.open_session(hello, None, transport, info);
                }
                self.sessions.gone(hello, principal)
            }
        };
        match hello {
            // The id is taken: there is no such session to begin (3.3).
            Hello::New { .. } => refuse(transport, Refused::Unknown.close_reason()),
            Hello::Resume { .. } => self.open_session(hello, Some(gone), transport, info),
        }
    }

    fn open_session(
        self: &Arc<Self>,
        hello: &Hello,
        instead: Option<Gone>,
        transport: Box<dyn Transport>,
        info: Arc<RequestInfo>,
    ) {
        if self.is_full() {
            // Its session has just gone, or its token is wrong: it is new, and came too late.
            return refuse(transport, CloseCode::TRY_AGAIN_LATER.into());
        }
        let now = Instant::now();
        let config = self.session.clone();
        let session = match instead {
            None => ServerSession::new(now, config, *hello.session()),
            Some(gone) => {
                ServerSession::new_instead(now, config, SessionId::random(&mut OsEntropy), gone)
            }
        };
        let id = session.id().to_string();
        let observer = self.sessions.clone();
        let shared = self.shared(
            Machine::Server(Box::new(session)),
            id.clone(),
            Some(observer),
        );
        if !self.sessions.insert(id, &shared, info.principal.clone()) {
            // Two racing transports of one new session: the other was quicker.
            return self.admit_session(hello, transport, info);
        }
        let attached =
            shared.with_driver(|driver| driver.attach(now, hello, transport, &mut OsEntropy));
        if let Err((refused, transport)) = attached {
            // Another transport of the same race was quicker, and the session is in its hands.
            refuse(transport, refused.close_reason());
        }
        self.hand_over(&shared, info);
    }

    fn shared(
        &self,
        machine: Machine,
        id: String,
        observer: Option<Arc<dyn Observer>>,
    ) -> Arc<Shared> {
        let settings = Settings {
            plain: matches!(machine, Machine::Plain(_)),
            id,
            message_size: usize::MAX,
            inbound: self.config.limits.recv_buffer(),
            queue_soft: self.config.queue_soft,
            queue_hard: self.config.queue_hard,
            observer,
        };
        Shared::new(machine, None, self.janitors.next(), settings)
    }

    /// Gives a connection to the application. One that it has no room for is told to come later.
    fn hand_over(&self, shared: &Arc<Shared>, info: Arc<RequestInfo>) {
        let connection = Connection::new(shared.clone(), info);
        if let Err(rejected) = self.accepted.try_send(connection) {
            tracing::warn!("a connection was turned away: the application accepts too slowly");
            shared.evict(CloseReason::from(CloseCode::TRY_AGAIN_LATER));
            drop(rejected);
        }
    }
}

/// Closes a transport that nobody wants, in a task of its own that ends within the close timeout.
fn refuse(mut transport: Box<dyn Transport>, why: CloseReason) {
    tokio::spawn(async move {
        let _ = std::future::poll_fn(|cx| transport.poll_close(cx, &why)).await;
    });
}

/// Counts plain connections.
struct PlainCount(Arc<AtomicUsize>);

impl Observer for PlainCount {
    fn parked(&self, _: &Weak<Shared>, _: usize) -> u64 {
        0
    }

    fn unparked(&self, _: u64) {}

    fn ended(&self, _: &str, _: Option<Remains>) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
