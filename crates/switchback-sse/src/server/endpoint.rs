use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use switchback_core::{Error, ErrorKind, Limits};
use switchback_http::{ConnectionId, Inbox, Query, Refusal};

use super::connections::Connections;
use super::pipe::Pipe;
use super::{EventBody, Sse, stream};
use crate::{Event, proto};

/// How an [`SseServer`] behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    limits: Limits,
    keep_alive: Option<Duration>,
    padding: usize,
    max_connections: usize,
}

impl ServerConfig {
    /// Keep-alives every 25 s, padding of 2 KiB, up to 65,536 connections, the default limits.
    pub const fn new() -> Self {
        Self {
            limits: Limits::new(),
            keep_alive: Some(Duration::from_secs(25)),
            padding: 2048,
            max_connections: 65_536,
        }
    }

    /// Sets the limits of each connection.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets after how long without a message a comment is sent. `None`: never, because something
    /// above sends heartbeats. Default 25 s.
    #[must_use]
    pub fn keep_alive(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.keep_alive = interval.into();
        self
    }

    /// Sets how many bytes of comment begin each stream, against proxies that hold back the
    /// beginning of a response. Default 2 KiB; 0 for none.
    #[must_use]
    pub const fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Sets how many connections there may be; further ones are refused with `503 unavailable`.
    /// Default 65,536.
    #[must_use]
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// The server of the duplex transport: event streams downstream, POST upstream
/// (`docs/protocol.md`, 2.2, 2.4, 2.5).
///
/// Clones share the connections. Give every request of a path to [`handle`](Self::handle), or call
/// [`open`](Self::open), [`post`](Self::post) and [`delete`](Self::delete) yourself.
#[derive(Clone, Debug)]
pub struct SseServer {
    config: Arc<ServerConfig>,
    connections: Arc<Connections>,
}

/// What the stream, the POST handlers and the transport of a connection share.
#[derive(Debug)]
pub(super) struct Link {
    id: ConnectionId,
    pub(super) inbox: Inbox,
    pub(super) pipe: Arc<Pipe>,
}

/// A link and where it is registered.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    connections: Arc<Connections>,
    pub(super) link: Arc<Link>,
}

impl Entry {
    /// The stream was cut. What the client has posted may arrive after that, above all its last
    /// words: they go another way than the stream.
    fn cut(&self) {
        let (inbox, id) = (&self.link.inbox, self.link.id);
        inbox.shut_after(LATE_POSTS, Error::new(ErrorKind::Reset));
        match inbox.late_until() {
            Some(until) => self.connections.remove_at(until, id),
            None => self.connections.remove(&id),
        }
    }

    /// Ends the connection: what was received can still be taken out, nothing more comes in.
    pub(super) fn end(&self, kind: ErrorKind) {
        self.link.inbox.shut(Error::new(kind));
        self.connections.remove(&self.link.id);
    }
}

/// How long a connection takes POSTs after its stream was cut: enough for a client that leaves to open
/// a connection for the last one, and so short that nobody takes the dead for the living.
const LATE_POSTS: Duration = Duration::from_secs(1);

impl SseServer {
    /// Makes a server without connections.
    pub fn new(config: ServerConfig) -> Self {
        Self {
            connections: Arc::new(Connections::new(config.max_connections)),
            config: Arc::new(config),
        }
    }

    /// Answers any request to the path of this server (`docs/protocol.md`, 1).
    ///
    /// `accept` is called for a request that opens a connection, with the new transport. To refuse a
    /// client, do not call `handle`.
    ///
    /// # Cancel safety
    ///
    /// As [`post`](Self::post).
    pub async fn handle<B: Body>(
        &self,
        request: Request<B>,
        accept: impl FnOnce(Sse),
    ) -> Response<SseBody> {
        let refuse = |refusal: Refusal| refusal.into_response().map(SseBody::from);
        if !matches!(
            Query::of(request.uri()).get("transport").as_deref(),
            None | Some("sse")
        ) {
            return refuse(Refusal::new(
                StatusCode::BAD_REQUEST,
                "unknown_transport",
                "only the transport sse is offered here",
            ));
        }
        match *request.method() {
            Method::GET => match self.open(&request) {
                Ok((response, transport)) => {
                    accept(transport);
                    response
                }
                Err(refusal) => refuse(refusal),
            },
            Method::POST => self.post(request).await.map(SseBody::from),
            Method::DELETE => self.delete(&request).map(SseBody::from),
            _ => refuse(
                Refusal::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    "GET opens, POST sends, DELETE closes",
                )
                .with_header(header::ALLOW, HeaderValue::from_static("GET, POST, DELETE")),
            ),
        }
    }

    /// Opens a connection: the response is its event stream.
    ///
    /// The transport can be used at once. It is cut when the body is dropped, which hyper does when
    /// the client goes away. POSTs that the end of the stream has overtaken are taken for another
    /// second; receiving says the cut when that is over, and sending waits until then.
    ///
    /// # Errors
    ///
    /// 503 when there are as many connections as there may be.
    pub fn open<B>(&self, _request: &Request<B>) -> Result<(Response<SseBody>, Sse), Refusal> {
        let limits = &self.config.limits;
        let (pipe, queue) = Pipe::new(limits.send_buffer());
        let link = self.connections.insert(|id| {
            Arc::new(Link {
                id,
                inbox: Inbox::new(limits),
                pipe,
            })
        })?;
        let hello = proto::hello(&link.id.to_string());
        // An empty queue takes any event.
        let _ = link.pipe.try_push(Event::from_encoded(hello));
        let entry = Entry {
            connections: self.connections.clone(),
            link,
        };
        let body = SseBody(Kind::Stream {
            events: EventBody::new(queue, self.config.keep_alive, self.config.padding),
            entry: entry.clone(),
        });
        let transport = Sse::new(entry, limits.close_time());
        Ok((stream::response(body), transport))
    }

    /// Answers a POST: messages from a client.
    ///
    /// # Cancel safety
    ///
    /// Messages that were taken in stay so when the future is dropped; the client sends them again
    /// and they are skipped.
    pub async fn post<B: Body>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        match self.connections.of_request(&request) {
            Ok(link) => link.inbox.post(request).await,
            Err(refusal) => refusal.into_response(),
        }
    }

    /// Answers a DELETE: a client closes. Its stream then ends, without what it was still to carry.
    pub fn delete<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match self.connections.of_request(request) {
            Ok(link) => {
                let response = link.inbox.delete(request);
                if response.status() == StatusCode::NO_CONTENT {
                    link.pipe.abort();
                    self.connections.remove(&link.id);
                }
                response
            }
            // It is gone, as the client wants it to be (`docs/protocol.md`, 2.5).
            Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            Err(refusal) => refusal.into_response(),
        }
    }

    /// Returns how many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }
}

impl Default for SseServer {
    fn default() -> Self {
        Self::new(ServerConfig::new())
    }
}

/// The body of a response of an [`SseServer`]: an event stream, or a short answer.
pub struct SseBody(Kind);

enum Kind {
    Stream { events: EventBody, entry: Entry },
    Answer(Full<Bytes>),
}

impl Body for SseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Stream { events, .. } => Pin::new(events).poll_frame(cx),
            Kind::Answer(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Stream { events, .. } => events.is_end_stream(),
            Kind::Answer(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Stream { events, .. } => events.size_hint(),
            Kind::Answer(body) => body.size_hint(),
        }
    }
}

impl Drop for SseBody {
    fn drop(&mut self) {
        if let Kind::Stream { entry, .. } = &self.0 {
            // Nobody reads the stream any more. Where it was closed, that came first and counts.
            entry.cut();
        }
    }
}

impl From<Full<Bytes>> for SseBody {
    fn from(body: Full<Bytes>) -> Self {
        Self(Kind::Answer(body))
    }
}

impl fmt::Debug for SseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Stream { events, .. } => f.debug_tuple("SseBody").field(events).finish(),
            Kind::Answer(body) => f.debug_tuple("SseBody").field(body).finish(),
        }
    }
}
