mod config;
mod connection;
mod lingering;
mod opening;
mod poll;
mod respond;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use switchback_core::{Limits, TransportKind};
use switchback_http::{ConnectionId, Query, Refusal, Registry, headers};
use tokio::time::Instant;

pub use config::ServerConfig;
use connection::Connection;
use lingering::Lingering;
pub use opening::Opening;
pub use poll::PollResponse;
pub use transport::LongPoll;

/// The server of long-poll connections: turns HTTP requests into [`LongPoll`] transports.
///
/// Give each request to [`handle`](Self::handle), or to the method for its kind where something
/// else has told the requests apart already. Nothing here spawns a task. Clones share their
/// connections; dropping the last one leaves the transports without requests, which then time out.
#[derive(Clone, Debug)]
pub struct LongPollServer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ServerConfig,
    registry: Registry<Connection>,
    lingering: Lingering,
}

impl LongPollServer {
    /// Makes a server without connections.
    pub fn new(config: ServerConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                registry: Registry::new(config.max_connections),
                lingering: Lingering::default(),
                config,
            }),
        }
    }

    /// Answers any request of the protocol (`docs/protocol.md`, 1).
    ///
    /// `accept` is called for a request that opens a connection, with the new transport; what it
    /// sends at once goes along with the response. To refuse a client, do not call `handle`.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped because the client has gone away, no message is lost: what was
    /// not acknowledged is sent again, what was received stays received.
    pub async fn handle<B: Body>(
        &self,
        request: Request<B>,
        accept: impl FnOnce(LongPoll),
    ) -> Response<Full<Bytes>> {
        let transport = Query::of(request.uri()).get("transport");
        if transport.as_deref() != Some(TransportKind::LongPoll.name()) {
            return Refusal::new(
                StatusCode::BAD_REQUEST,
                "unknown_transport",
                "the parameter transport must be longpoll here",
            )
            .into_response();
        }
        let known = request.headers().contains_key(headers::CONNECTION);
        match *request.method() {
            Method::GET if known => {
                let poll = self.poll(&request);
                // Its headers would keep the HTTP server's buffer as long as the poll waits.
                drop(request);
                poll.await
            }
            Method::GET => match self.open(&request) {
                Ok((opening, transport)) => {
                    accept(transport);
                    opening.into_response()
                }
                Err(refusal) => refusal.into_response(),
            },
            Method::POST => self.post(request).await,
            Method::DELETE => self.delete(&request),
            _ => respond::method_not_allowed("GET, POST, DELETE").into_response(),
        }
    }

    /// Opens a connection: a `GET` without `Switchback-Connection`.
    ///
    /// The response is asked for with [`Opening::into_response`] and carries what was sent on the
    /// transport before that.
    ///
    /// # Errors
    ///
    /// 405 `method_not_allowed`; 503 `unavailable` when there are too many connections.
    pub fn open<B>(&self, request: &Request<B>) -> Result<(Opening, LongPoll), Refusal> {
        if request.method() != Method::GET {
            return Err(respond::method_not_allowed("GET"));
        }
        self.sweep();
        let limits = self.limits();
        let make = |id| Arc::new(Connection::new(id, limits));
        let connection = match self.shared.registry.insert(make) {
            // The living come before the dead.
            Err(_) if self.forget_oldest_lingering() => self.shared.registry.insert(make),
            inserted => inserted,
        }?;
        let transport = LongPoll::new(Arc::clone(&connection), self.clone());
        Ok((Opening::new(connection), transport))
    }

    /// Answers a poll: a `GET` with `Switchback-Connection` and `cursor`.
    ///
    /// The acknowledgement takes effect at once, the response is made by the future: as soon as
    /// there is a message, or when the window ends.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped because the client has gone away, no message is lost: what was
    /// not acknowledged is sent again.
    pub fn poll<B>(&self, request: &Request<B>) -> PollResponse {
        self.sweep();
        match self.begin_poll(request) {
            Ok(poll) => poll,
            Err(refusal) => PollResponse::ready(refusal.into_response()),
        }
    }

    /// Answers a `POST`: messages from the client.
    ///
    /// # Cancel safety
    ///
    /// What was received when the future is dropped stays received; the client sends the batch
    /// again, and the server skips that part.
    pub async fn post<B: Body>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        self.sweep();
        match self.shared.registry.of_request(&request) {
            Ok(connection) => connection.inbox.post(request).await,
            Err(refusal) => refusal.into_response(),
        }
    }

    /// Answers a `DELETE`: the client closes. The transport receives that after the messages.
    pub fn delete<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        self.sweep();
        let connection = match self.shared.registry.of_request(request) {
            Ok(connection) => connection,
            // Also when the connection is already gone (`docs/protocol.md`, 2.5): the answer to
            // the first DELETE may have been lost.
            Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => {
                return respond::no_content();
            }
            Err(refusal) => return refusal.into_response(),
        };
        let response = connection.inbox.delete(request);
        if response.status() == StatusCode::NO_CONTENT {
            connection.end(connection.inbox.close_reason());
            self.forget(&connection.id);
        }
        response
    }

    /// Returns how many connections there are, those included that were closed a moment ago and of
    /// which a client may still want to hear.
    pub fn connections(&self) -> usize {
        self.shared.registry.len()
    }

    fn begin_poll<B>(&self, request: &Request<B>) -> Result<PollResponse, Refusal> {
        let connection = self.shared.registry.of_request(request)?;
        let cursor = Query::of(request.uri()).number("cursor").ok_or_else(|| {
            respond::bad_request("the parameter cursor is missing or not a number")
        })?;
        Ok(match connection.arrive(cursor) {
            Ok(ticket) => PollResponse::waiting(connection, ticket, self.shared.config.window),
            Err(answer) => PollResponse::ready(respond::answer(answer)),
        })
    }

    fn limits(&self) -> &Limits {
        &self.shared.config.limits
    }

    /// How long after the beginning of its last poll a client is gone.
    fn patience(&self) -> Duration {
        self.shared.config.window + self.shared.config.grace
    }

    fn forget(&self, id: &ConnectionId) {
        self.shared.registry.remove(id);
    }

    /// Keeps a connection that is closing known for the close timeout.
    fn linger(&self, id: ConnectionId) {
        let until = Instant::now() + self.limits().close_time();
        if let Some(oldest) = self.shared.lingering.add(id, until) {
            self.forget(&oldest);
        }
    }

    /// Forgets the connections that have lingered long enough. Every request does this, and it is
    /// cheap: the list is in order of time.
    fn sweep(&self) {
        let now = Instant::now();
        while let Some(id) = self.shared.lingering.next_until(now) {
            self.forget(&id);
        }
    }

    fn forget_oldest_lingering(&self) -> bool {
        self.shared
            .lingering
            .pop_oldest()
            .map(|id| self.forget(&id))
            .is_some()
    }
}

impl Default for LongPollServer {
    fn default() -> Self {
        Self::new(ServerConfig::new())
    }
}
