use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::InvalidUri;
use http::{Request, Response, StatusCode, Version};
use http_body_util::Empty;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use switchback_core::{Error, ErrorKind, Limits, TransportInfo, TransportKind};
use switchback_http::{Connector, Url, refusal_error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

use crate::config::Tuning;
use crate::proto::{list, request, response};
use crate::socket::{Role, WebSocket};

/// How large the head of the server's response may be.
const MAX_HEAD: usize = 64 * 1024;
/// How much of the body of a refusal is read.
const MAX_REFUSAL: usize = 16 * 1024;

/// How a client opens a WebSocket.
///
/// ```
/// use switchback_ws::ClientConfig;
///
/// let config = ClientConfig::new().protocols(["chat.v2", "chat.v1"]);
/// ```
#[derive(Clone, Default)]
pub struct ClientConfig {
    tuning: Tuning,
    connector: Connector,
    protocols: Vec<String>,
    headers: HeaderMap,
}

impl ClientConfig {
    /// The defaults of `docs/defaults.md`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the limits. Default: [`Limits::new`]. See [`Config::limits`](crate::Config::limits).
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.tuning.limits = limits;
        self
    }

    /// Sets after how long without anything from the server a ping is sent. Default 25 s. See
    /// [`Config::ping_interval`](crate::Config::ping_interval).
    #[must_use]
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.tuning.ping_interval = interval.into();
        self
    }

    /// Sets after how long without anything from the server after a ping it counts as dead. Default
    /// 10 s.
    #[must_use]
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.tuning.ping_timeout = timeout;
        self
    }

    /// Sets what opens the TCP or TLS connection. Default: [`Connector::new`].
    #[must_use]
    pub fn connector(mut self, connector: Connector) -> Self {
        self.connector = connector;
        self
    }

    /// Sets the subprotocols to offer (RFC 6455, 1.9), the best one first: distinct tokens.
    /// Default: none.
    ///
    /// Which one the server chose is in the [`info`](switchback_core::Transport::info); a server
    /// may choose none.
    #[must_use]
    pub fn protocols<I>(mut self, protocols: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.protocols = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets headers to add to the request: `Authorization`, `Origin`, `Cookie`. Default: none.
    ///
    /// Those of the handshake itself are not replaced.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// Adds a header to the request. See [`headers`](Self::headers).
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}

/// Shows what is no secret: neither the values of headers nor subprotocols, which some use to carry
/// tokens.
impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("tuning", &self.tuning)
            .field("connector", &self.connector)
            .field("protocols", &self.protocols.len())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Opens a WebSocket: `ws://` and `http://` over TCP, `wss://` and `https://` over TLS.
///
/// All of it, from the name's resolution to the server's response, takes at most the
/// [handshake timeout](Limits::handshake_timeout). Redirects are not followed.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] for a malformed URL or setting; [`ErrorKind::TimedOut`];
/// [`ErrorKind::Tls`]; those of a TCP connection; [`ErrorKind::Protocol`] when the server does not
/// speak WebSocket. When the server answers with another status than 101, what
/// [`refusal_error`] makes of it, which is [`ErrorKind::Refused`] for most.
///
/// # Cancel safety
///
/// Dropping it ends the attempt.
pub async fn connect(url: &str, config: &ClientConfig) -> Result<WebSocket, Error> {
    connect_to(&url.parse()?, config).await
}

/// Like [`connect`], to a URL that was parsed before.
///
/// # Errors
///
/// As [`connect`].
///
/// # Cancel safety
///
/// Dropping it ends the attempt.
pub async fn connect_to(url: &Url, config: &ClientConfig) -> Result<WebSocket, Error> {
    within(config, async {
        let stream = config.connector.connect(url).await?;
        let peer_addr = stream.peer_addr();
        let info = TransportInfo::new(TransportKind::WebSocket).with_peer_addr(peer_addr);
        let refused = |stream| config.connector.put_back(url, stream);
        handshake(stream, url, config, info, refused).await
    })
    .await
}

/// Like [`connect`], over a byte stream that is connected to the server already, through a proxy for
/// example. TLS, if any, is the stream's business.
///
/// # Errors
///
/// As [`connect`].
///
/// # Cancel safety
///
/// Dropping it ends the attempt and drops the stream.
pub async fn connect_over<S>(
    stream: S,
    url: &Url,
    config: &ClientConfig,
) -> Result<WebSocket, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let info = TransportInfo::new(TransportKind::WebSocket);
    within(config, handshake(stream, url, config, info, drop)).await
}

async fn within(
    config: &ClientConfig,
    opening: impl Future<Output = Result<WebSocket, Error>>,
) -> Result<WebSocket, Error> {
    let timeout = config.tuning.limits.handshake_time();
    tokio::time::timeout(timeout, opening)
        .await
        .unwrap_or_else(|_| {
            Err(Error::with_message(
                ErrorKind::TimedOut,
                "the connection was not opened in time",
            ))
        })
}

/// `refused` gets the stream when the server has refused but keeps the connection for another
/// request.
async fn handshake<S>(
    stream: S,
    url: &Url,
    config: &ClientConfig,
    info: TransportInfo,
    refused: impl FnOnce(S),
) -> Result<WebSocket, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let key = generate_key();
    let request = opening_request(url, config, &key)?;
    let (mut sender, mut connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(http_error)?;
    let mut exchange = Exchange {
        connection: &mut connection,
        done: false,
    };
    let response = exchange.run(sender.send_request(request)).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (response, complete) = exchange.whole(response).await?;
        if complete && exchange.is_kept(&response) {
            let parts = connection.into_parts();
            if parts.read_buf.is_empty() {
                refused(parts.io.into_inner());
            }
        }
        return Err(refusal_error(&response));
    }
    let accept = derive_accept_key(key.as_bytes());
    let protocol = response::check(response.headers(), &accept, &config.protocols)?;
    exchange.finish().await?;
    let parts = connection.into_parts();
    Ok(WebSocket::new(
        Box::new(parts.io.into_inner()),
        // Frames may follow the response in the same packet.
        parts.read_buf.into(),
        Role::Client,
        &config.tuning,
        info.with_protocol(protocol),
    ))
}

/// RFC 6455, 4.1.
fn opening_request(
    url: &Url,
    config: &ClientConfig,
    key: &str,
) -> Result<Request<Empty<Bytes>>, Error> {
    let invalid = |what: &str| Error::with_message(ErrorKind::Invalid, what);
    let value = |text: &str| {
        HeaderValue::from_str(text)
            .map_err(|error| invalid("the handshake does not fit into headers").with_source(error))
    };
    let protocols = &config.protocols;
    for (index, protocol) in protocols.iter().enumerate() {
        if !list::is_token(protocol) || protocols[..index].contains(protocol) {
            return Err(invalid("the subprotocols are not distinct tokens"));
        }
    }
    let mut headers = config.headers.clone();
    headers.insert(header::HOST, value(url.authority())?);
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_KEY, value(key)?);
    headers.insert(header::SEC_WEBSOCKET_VERSION, request::VERSION);
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if !protocols.is_empty() {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            value(&protocols.join(", "))?,
        );
    }
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = url.path_and_query().parse().map_err(|error: InvalidUri| {
        invalid("the path of the URL is malformed").with_source(error)
    })?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// One exchange over a connection that no task drives.
struct Exchange<'a, S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection: &'a mut http1::Connection<TokioIo<S>, Empty<Bytes>>,
    done: bool,
}

impl<S> Exchange<'_, S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// Drives the connection until something that depends on it is ready.
    async fn run<T>(
        &mut self,
        waiting: impl Future<Output = Result<T, hyper::Error>>,
    ) -> Result<T, Error> {
        let mut waiting = pin!(waiting);
        poll_fn(|cx| {
            let driven = if self.done {
                Poll::Ready(Ok(()))
            } else {
                self.connection.poll_without_shutdown(cx)
            };
            self.done = driven.is_ready();
            // What waits counts more than how the connection fared: it may have got what it needs
            // before that failed.
            match (waiting.as_mut().poll(cx), driven) {
                (Poll::Ready(result), _) => Poll::Ready(result.map_err(http_error)),
                (Poll::Pending, Poll::Ready(Ok(()))) => Poll::Ready(Err(ErrorKind::Reset.into())),
                (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(http_error(error))),
                (Poll::Pending, Poll::Pending) => Poll::Pending,
            }
        })
        .await
    }

    /// Reads the body of a response, up to a limit. Tells whether that was all of it.
    async fn whole(
        &mut self,
        response: Response<Incoming>,
    ) -> Result<(Response<Bytes>, bool), Error> {
        let (head, mut body) = response.into_parts();
        let mut bytes = BytesMut::new();
        let mut complete = false;
        while bytes.len() < MAX_REFUSAL {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx).map(Ok));
            // A body that breaks off is shown as far as it came: the status says enough.
            match self.run(frame).await {
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        let room = MAX_REFUSAL - bytes.len();
                        bytes.extend_from_slice(&data[..data.len().min(room)]);
                    }
                }
                Ok(None) => {
                    complete = true;
                    break;
                }
                _ => break,
            }
        }
        Ok((Response::from_parts(head, bytes.freeze()), complete))
    }

    /// Tells whether another request may follow on the connection (RFC 9112, 9.3), after the whole
    /// response was read.
    fn is_kept(&self, response: &Response<Bytes>) -> bool {
        let close = list::has(response.headers(), &header::CONNECTION, "close");
        !self.done && !close && response.version() == Version::HTTP_11
    }

    /// Waits until hyper has let go of the connection after a 101.
    async fn finish(&mut self) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        poll_fn(|cx| self.connection.poll_without_shutdown(cx))
            .await
            .map_err(http_error)
    }
}

fn http_error(error: hyper::Error) -> Error {
    let kind = if error.is_parse() || error.is_parse_too_large() {
        return Error::with_message(
            ErrorKind::Protocol,
            "the server's response is not HTTP/1.1: is this the port of a WebSocket server?",
        )
        .with_source(error);
    } else if error.is_user() {
        ErrorKind::Invalid
    } else if error.is_timeout() {
        ErrorKind::TimedOut
    } else {
        ErrorKind::Reset
    };
    Error::new(kind).with_source(error)
}
