//! The server: one path, all transports.

mod departed;
mod parking;
mod route;
mod sessions;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use switchback_core::TransportKind;
use switchback_longpoll::LongPollServer;
use switchback_sse::SseServer;
use tokio::sync::mpsc;
use tower_service::Service;

use self::departed::Departed;
use self::parking::Parking;
use self::sessions::Sessions;
use crate::janitor::Janitors;
use crate::{Body, Config, Connection};

/// Serves all transports on one path: an HTTP service to mount into hyper, hyper-util, tower or
/// axum, on HTTP/1.1 and HTTP/2. (WebSocket needs HTTP/1.1.)
///
/// The connections come out of the [`Incoming`] that is made with it. Clones share everything.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use switchback::{Config, Endpoint};
///
/// let (endpoint, mut incoming) = Endpoint::new(Config::new());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// tokio::spawn(switchback::serve(listener, endpoint));
///
/// while let Some(mut connection) = incoming.accept().await {
///     tokio::spawn(async move {
///         while let Ok(Some(message)) = connection.recv().await {
///             if connection.send(message).await.is_err() {
///                 break;
///             }
///         }
///     });
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

pub(crate) struct Inner {
    config: Config,
    session: Arc<switchback_session::Config>,
    websocket: switchback_ws::Config,
    sse: SseServer,
    longpoll: LongPollServer,
    sessions: Arc<Sessions>,
    janitors: Janitors,
    accepted: mpsc::Sender<Connection>,
    plain: Arc<AtomicUsize>,
}

/// The connections that an [`Endpoint`] has accepted.
///
/// Drop it to stop a server: new clients are then told by 503 to try again later, while the connections
/// that were accepted go on, and their sessions still resume.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<Connection>);

impl Endpoint {
    /// Makes an endpoint and the stream of its connections.
    pub fn new(config: Config) -> (Self, Incoming) {
        let (accepted, incoming) = mpsc::channel(config.backlog);
        // Sessions and plain connections are counted here. A session that comes back has a place in a
        // transport's own list for what it has left, until that ends, and another for the new one.
        let attachments = config.max_connections.saturating_mul(2);
        let inner = Inner {
            session: Arc::new(config.session.clone()),
            // A session has its own heartbeat, which plain WebSocket clients do not know.
            websocket: switchback_ws::Config::new().limits(config.limits.clone()),
            sse: SseServer::new(
                switchback_sse::ServerConfig::new()
                    .limits(config.limits.clone())
                    .max_connections(attachments),
            ),
            longpoll: LongPollServer::new(
                switchback_longpoll::ServerConfig::new()
                    .limits(config.limits.clone())
                    .window(config.poll_window)
                    .max_connections(attachments),
            ),
            sessions: Arc::new(Sessions::new(
                Parking::new(config.max_parked, config.max_parked_bytes),
                Departed::new(config.max_departed),
            )),
            janitors: Janitors::new(),
            accepted,
            plain: Arc::default(),
            config,
        };
        (Self(Arc::new(inner)), Incoming(incoming))
    }

    /// Answers one request. The same as calling the service, without its trait.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.0.route(request).response().await
    }

    /// Returns how many connections there are, sessions without a transport included.
    pub fn connections(&self) -> usize {
        self.0.connections()
    }
}

impl Inner {
    fn connections(&self) -> usize {
        self.sessions.len() + self.plain.load(Ordering::Relaxed)
    }

    /// Tells whether new connections have no place: there are as many as there may be, or nobody
    /// accepts them any more.
    fn is_full(&self) -> bool {
        self.connections() >= self.config.max_connections || self.accepted.is_closed()
    }

    fn offers(&self, kind: TransportKind) -> bool {
        self.config.transports.contains(&kind)
    }
}

impl Incoming {
    /// Waits for the next connection; `None` when the endpoint and all its clones are gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped future loses no connection.
    pub async fn accept(&mut self) -> Option<Connection> {
        self.0.recv().await
    }

    /// Polls for the next connection; see [`accept`](Self::accept).
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        self.0.poll_recv(cx)
    }
}

impl futures_core::Stream for Incoming {
    type Item = Connection;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        self.poll_accept(cx)
    }
}

impl<B> Service<Request<B>> for Endpoint
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let endpoint = self.clone();
        Box::pin(async move { Ok(endpoint.0.route(request).response().await) })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
