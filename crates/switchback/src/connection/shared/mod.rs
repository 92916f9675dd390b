mod driving;
mod receiving;
mod sending;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::Instant;

use switchback_core::{Broadcast, CloseReason, Error, ErrorKind, Transport, TransportKind};
use switchback_session::Remains;
use tokio::sync::watch;

use super::driver::Driver;
use super::outbox::Outbox;
use super::wake::{ConnectionWaker, TaskId};
use super::{Machine, State, Watch};
use crate::client::Dials;
use crate::janitor::Janitor;

/// What all handles of one connection share: first what a sender touches, then what a
/// delivery and the application's task do.
#[repr(C)]
pub(crate) struct Shared {
    outbox: Outbox,
    waker: Arc<ConnectionWaker>,
    /// `waker` again, in the form that transports take.
    task: Waker,
    janitor: Arc<Janitor>,
    driver: Mutex<Timed>,
    watch: OnceLock<watch::Sender<State>>,
    this: Weak<Self>,
    settings: Settings,
}

/// What a connection is set up with.
pub(crate) struct Settings {
    pub(crate) id: String,
    pub(crate) plain: bool,
    pub(crate) message_size: usize,
    pub(crate) inbound: usize,
    pub(crate) queue_soft: usize,
    pub(crate) queue_hard: usize,
    /// Told when the connection is parked (with its cost in bytes), goes on, or ends.
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

/// What the endpoint wants to know of its connections.
pub(crate) trait Observer: Send + Sync {
    /// Returns the place among the parked, for [`unparked`](Self::unparked).
    fn parked(&self, connection: &Weak<Shared>, bytes: usize) -> u64;
    fn unparked(&self, place: u64);
    fn ended(&self, id: &str, remains: Option<Remains>);
}

/// The driver and the time for which the janitor has been armed. What the short way touches comes
/// first, as in the driver.
#[repr(C)]
struct Timed {
    /// The short way was open when the driver was driven last, and nobody has changed it since.
    short: bool,
    /// One of the times for which the janitor has been armed has passed.
    due: bool,
    ended: bool,
    /// When somebody looked at the clock last: what is being read counts as having come then.
    now: Instant,
    /// The earliest of the times at which the janitor comes, and the others, the earliest last.
    next: Option<Instant>,
    /// The task that waited last.
    task: TaskId,
    driver: Driver,
    armed: Vec<Instant>,
    /// When the janitor looks whether the application has come back.
    later: Option<Instant>,
    /// Among the endpoint's parked sessions.
    place: Option<u64>,
}

impl Shared {
    pub(crate) fn new(
        machine: Machine,
        dials: Option<Dials>,
        janitor: &Arc<Janitor>,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| {
            let waker = Arc::new(ConnectionWaker::new(this.clone(), janitor.clone()));
            Self {
                driver: Mutex::new(Timed {
                    driver: Driver::new(machine, dials, settings.inbound),
                    next: None,
                    armed: Vec::new(),
                    later: None,
                    due: false,
                    place: None,
                    ended: false,
                    now: Instant::now(),
                    short: false,
                    task: TaskId::default(),
                }),
                outbox: Outbox::new(
                    settings.message_size,
                    settings.queue_soft,
                    settings.queue_hard,
                ),
                task: Waker::from(waker.clone()),
                waker,
                janitor: janitor.clone(),
                settings,
                watch: OnceLock::new(),
                this: this.clone(),
            }
        })
    }

    /// Plugs the only transport of a plain connection in.
    pub(crate) fn plug_plain(&self, transport: Box<dyn Transport>) {
        self.lock().driver.plug_plain(transport);
        self.waker.nudge();
    }

    /// Works on the driver, then drives it: what an endpoint does with a new attachment.
    pub(crate) fn with_driver<R>(&self, work: impl FnOnce(&mut Driver) -> R) -> R {
        let mut timed = self.lock();
        let result = work(&mut timed.driver);
        self.drive_for_others(timed, Instant::now());
        result
    }

    /// Sends what is published from now on.
    pub(super) fn subscribe(&self, broadcast: &Broadcast) -> Result<(), Error> {
        let this = self.this.upgrade().ok_or(ErrorKind::Closed)?;
        self.with_driver(|driver| driver.subscribe(broadcast, this, &self.outbox))
    }

    pub(super) fn unsubscribe(&self, broadcast: &Broadcast) -> bool {
        self.with_driver(|driver| driver.unsubscribe(broadcast, &self.outbox))
    }

    pub(super) fn start_close(&self, why: CloseReason) {
        self.outbox.close(false);
        let mut timed = self.lock();
        let now = Instant::now();
        timed.driver.close(now, why, &self.outbox);
        self.drive_for_others(timed, now);
        self.waker.nudge();
    }

    /// The owner went away: delivers what was sent, then ends, in the background.
    pub(super) fn abandon(this: &Arc<Self>, why: CloseReason) {
        this.waker.abandon();
        let done = {
            let mut timed = this.lock();
            timed.driver.discard_inbound();
            timed.driver.is_done()
        };
        if !done {
            this.start_close(why);
            this.janitor.adopt(this.clone());
        }
    }

    /// Ends a connection at once, on behalf of the endpoint.
    pub(crate) fn evict(&self, why: CloseReason) {
        self.with_driver(|driver| driver.evict(Instant::now(), why));
    }

    /// Ends a session at once if it is parked still.
    pub(crate) fn evict_parked(&self, why: CloseReason) {
        self.with_driver(|driver| {
            if matches!(driver.state(), State::Reconnecting { .. }) {
                driver.evict(Instant::now(), why);
            }
        });
    }

    pub(super) fn wake_network(&self) {
        self.with_driver(|driver| {
            if let Machine::Client(session) = &mut *driver.machine {
                session.wake(Instant::now());
            }
        });
    }

    pub(super) fn state(&self) -> State {
        self.peek().driver.state().clone()
    }

    pub(super) fn transport(&self) -> Option<TransportKind> {
        self.peek().driver.transport()
    }

    pub(super) fn watch(&self) -> Watch {
        let timed = self.peek();
        let sender = self
            .watch
            .get_or_init(|| watch::channel(timed.driver.state().clone()).0);
        let mut receiver = sender.subscribe();
        receiver.mark_unchanged();
        Watch(receiver)
    }

    pub(super) fn is_plain(&self) -> bool {
        self.settings.plain
    }

    pub(super) fn id(&self) -> String {
        match &*self.peek().driver.machine {
            Machine::Server(session) => session.id().to_string(),
            Machine::Client(session) => session.id().to_string(),
            Machine::Plain(_) => String::new(),
        }
    }

    /// Locks the driver to change it.
    fn lock(&self) -> MutexGuard<'_, Timed> {
        let mut timed = self.peek();
        timed.short = false;
        timed
    }

    /// Locks the driver to look at it, to drive it, or to go the short way.
    fn peek(&self) -> MutexGuard<'_, Timed> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.settings.id)
            .finish_non_exhaustive()
    }
}
