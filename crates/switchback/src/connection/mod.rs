//! What the application holds, and the machinery beneath it.

mod asked;
mod batch;
mod driver;
mod event;
mod futures;
mod machine;
mod outbox;
mod plain;
mod request;
mod sender;
mod shared;
mod state;
mod wake;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Uri};
use switchback_core::{Broadcast, CloseCode, CloseReason, Error, Message, TransportKind};

use self::batch::Batch;
pub(crate) use self::driver::Driver;
pub use self::event::Event;
use self::futures::{Closed, NextEvent, Recv, Sending, Wait};
pub(crate) use self::machine::Machine;
pub(crate) use self::request::{KeptHeaders, RequestInfo};
pub use self::sender::{SendError, Sender};
pub(crate) use self::shared::{Observer, Settings, Shared};
pub use self::state::{State, Watch};

/// A connection to one peer that outlives the transports which carry it.
///
/// The same on servers and clients. Messages that are sent arrive in order and exactly once,
/// whatever happens to the transports, as long as the session can be resumed; where it cannot,
/// both sides learn it. (A plain connection, [`is_plain`](Self::is_plain), ends with its transport.)
///
/// A connection needs no task of its own: it makes progress in the methods that wait, and in the
/// background while nobody waits. Dropping it closes it after what was sent, with code 1000, or
/// 1011 while the thread panics.
///
/// ```no_run
/// # async fn example(mut connection: switchback::Connection) -> Result<(), Box<dyn std::error::Error>> {
/// while let Some(message) = connection.recv().await? {
///     connection.send(message).await?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Connection {
    shared: Arc<Shared>,
    request: Arc<RequestInfo>,
    batch: Batch,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, request: Arc<RequestInfo>) -> Self {
        Self {
            shared,
            request,
            batch: Batch::default(),
        }
    }

    /// Receives the next message; `Ok(None)` when the connection was closed cleanly.
    ///
    /// Skips the other [events](Event); see [`next_event`](Self::next_event) for them.
    ///
    /// # Errors
    ///
    /// The connection ended otherwise: the session expired, the peer broke the protocol, or, on a
    /// plain connection, the transport was cut. Told once; every later call gives
    /// [`ErrorKind::Closed`](switchback_core::ErrorKind::Closed).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped future loses nothing.
    pub fn recv(&mut self) -> impl Future<Output = Result<Option<Message>, Error>> + Send + '_ {
        Recv(self.wait())
    }

    /// Receives the next message or other event; `Ok(None)` when the connection was closed cleanly.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped future loses nothing.
    pub fn next_event(&mut self) -> impl Future<Output = Result<Option<Event>, Error>> + Send + '_ {
        NextEvent(self.wait())
    }

    /// Polls for the next event; see [`next_event`](Self::next_event).
    ///
    /// A task that was promised a wake-up by `Pending` must come back when it is woken: until then
    /// the connection relies on it for its progress.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Error>> {
        match self.batch.pop() {
            Some(message) => Poll::Ready(Ok(Some(Event::Message(message)))),
            None => match ready!(self.shared.poll_batch(cx, &mut self.batch)) {
                None => Poll::Ready(Ok(self.batch.pop().map(Event::Message))),
                Some(event) => Poll::Ready(event),
            },
        }
    }

    /// Sends a message, waiting while the outbound queue is over its soft limit.
    ///
    /// Done means queued, numbered and, where a transport is open, handed to it; not that it has arrived.
    /// While the connection reconnects, messages are kept.
    ///
    /// # Errors
    ///
    /// The connection is closed, or the message is larger than the limit. The error gives the
    /// message back.
    ///
    /// # Cancel safety
    ///
    /// The message is queued at once or not at all; a future dropped while it waits for room
    /// has not sent it.
    pub fn send(
        &mut self,
        message: impl Into<Message>,
    ) -> impl Future<Output = Result<(), SendError>> + Send + '_ {
        Sending::new(&self.shared, message.into(), !self.batch.is_empty())
    }

    /// Queues a message if there is room below the hard limit. Never waits.
    ///
    /// # Errors
    ///
    /// The queue is full, the connection is closed, or the message is larger than the limit. The
    /// error gives the message back.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let more = !self.batch.is_empty();
        self.shared.try_send_own(message.into(), more)
    }

    /// Returns a handle for sending from other tasks, as broadcasts do.
    pub fn sender(&self) -> Sender {
        Sender::new(self.shared.clone())
    }

    /// Sends everything that is published on a broadcast from now on, until the connection ends or
    /// [unsubscribes](Self::unsubscribe). Does nothing if it has subscribed.
    ///
    /// What is published before a message is sent goes before it, and the other way round, as seen from
    /// one task. Messages of different broadcasts have no order among each other. A message larger than [`max_message_size`](crate::Limits::max_message_size) is sent all
    /// the same. While the connection reconnects, or its peer does not read, nothing is read of the
    /// broadcast. One that is then found further behind than the broadcast [keeps](crate::Broadcast::with_capacity) ends with an error of
    /// kind [`Full`](crate::ErrorKind::Full) and code 4003, slow consumer, and its client
    /// [starts anew](crate::Event::StartedAnew).
    ///
    /// # Errors
    ///
    /// The connection is closed, or has subscribed to 1,024 broadcasts.
    pub fn subscribe(&self, broadcast: &Broadcast) -> Result<(), Error> {
        self.shared.subscribe(broadcast)
    }

    /// Sends no more of a broadcast than what was published by now. Returns whether the connection had
    /// subscribed.
    pub fn unsubscribe(&self, broadcast: &Broadcast) -> bool {
        self.shared.unsubscribe(broadcast)
    }

    /// Closes the connection: what was sent is delivered first, then the peer is told why and confirms.
    ///
    /// Messages that arrive meanwhile can be received afterwards. Waits up to 30 s for room for what
    /// is queued, then, while a transport is open, until there is no progress for the close timeout;
    /// without a transport, for as long as the session is parked. What has found no room by then is
    /// dropped, and a close with code 1000 becomes one with 4003, slow consumer.
    ///
    /// # Errors
    ///
    /// The peer did not confirm, or what was queued found no room in time: messages may be lost.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the close goes on, also when the connection is dropped.
    pub async fn close(&mut self, why: impl Into<CloseReason>) -> Result<(), Error> {
        self.shared.start_close(why.into());
        Closed::new(&self.shared).await
    }

    /// Returns what the connection is doing now.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Watches what the connection is doing.
    pub fn watch(&self) -> Watch {
        self.shared.watch()
    }

    /// Returns the transport that carries the connection now, if one is open.
    pub fn transport(&self) -> Option<TransportKind> {
        self.shared.transport()
    }

    /// Tells whether the peer speaks no session protocol: then nothing survives the transport.
    pub fn is_plain(&self) -> bool {
        self.shared.is_plain()
    }

    /// Returns the name of the session, for logs: it is public, not what resumes the session. Empty
    /// for a plain connection, and on a client
    /// before it is open.
    pub fn id(&self) -> String {
        self.shared.id()
    }

    /// Returns the address of the peer's socket when the connection was opened, which may be a
    /// proxy's. `None` where the server that the endpoint is mounted in has not told it.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.request.peer_addr
    }

    /// Returns the headers of the request that opened the connection; empty on a client.
    ///
    /// The first call makes a map of them, which is kept, and takes 2 to 3 KB with a browser's.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers.map()
    }

    /// Returns the URI of the request that opened the connection, path and query.
    pub fn uri(&self) -> &Uri {
        &self.request.uri
    }

    /// Returns who opened the connection, where the server's authentication has told it by a
    /// [`Principal`](crate::Principal).
    pub fn principal(&self) -> Option<&str> {
        self.request.principal.as_deref()
    }

    /// Tells a client that the network may have returned: it tries to reconnect at once, rather than
    /// when its delay ends. Does nothing otherwise.
    pub fn network_changed(&self) {
        self.shared.wake_network();
    }
}

impl Connection {
    fn wait(&mut self) -> Wait<'_> {
        Wait {
            connection: self,
            waiting: false,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Whoever forgets a connection is done with it; who panics is not.
        let code = if std::thread::panicking() {
            CloseCode::INTERNAL_ERROR
        } else {
            CloseCode::NORMAL
        };
        Shared::abandon(&self.shared, code.into());
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id())
            .field("state", &self.state())
            .field("peer_addr", &self.peer_addr())
            .finish_non_exhaustive()
    }
}
