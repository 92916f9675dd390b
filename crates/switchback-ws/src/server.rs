use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use switchback_core::{Error, ErrorKind, TransportInfo, TransportKind};
use switchback_http::Refusal;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::config::{Config, Tuning};
use crate::engine::Io;
use crate::proto::{list, request};
use crate::socket::{Role, WebSocket};

/// Tells whether a request means to open a WebSocket: a `GET` with `Upgrade: websocket`.
///
/// That [`upgrade`] accepts it is not said by this.
pub fn is_upgrade<B>(request: &Request<B>) -> bool {
    request::is_upgrade(request.method(), request.headers())
}

/// Returns the subprotocols that a request offers (RFC 6455, 1.9), in the client's order of
/// preference. Empty when the list is malformed: [`upgrade`] refuses that.
pub fn offered_protocols<B>(request: &Request<B>) -> Vec<&str> {
    list::protocols(request.headers()).unwrap_or_default()
}

/// Accepts a request to open a WebSocket: the server's half of the opening handshake (RFC 6455,
/// 4.2).
///
/// Returns the response to give, 101, and a future that becomes the [`WebSocket`] once hyper has
/// sent it; spawn a task for that. The connection must be served with upgrades: hyper's
/// `http1::Connection::with_upgrades`, or hyper-util's `serve_connection_with_upgrades`.
///
/// The subprotocol is the first of [`Config::protocols`] that the client offers. Who may connect is
/// not decided here: check `Origin` and credentials before you call this.
///
/// # Errors
///
/// The [`Refusal`] to answer with, `405`, `426` or `400` (`docs/protocol.md`, 1).
pub fn upgrade<B>(
    request: &mut Request<B>,
    config: &Config,
) -> Result<(Response<()>, Upgrade), Refusal> {
    upgrade_with(request, config, |offered| {
        let mut spoken = config.protocols.iter();
        spoken
            .find(|protocol| offered.contains(&protocol.as_str()))
            .cloned()
    })
}

/// Like [`upgrade`], with a subprotocol that the caller chooses from those that the client offers.
///
/// [`Config::protocols`] is not used. A choice that was not offered counts as none: a client must
/// fail the connection otherwise (RFC 6455, 4.1).
///
/// # Errors
///
/// As [`upgrade`].
pub fn upgrade_with<B>(
    request: &mut Request<B>,
    config: &Config,
    choose: impl FnOnce(&[&str]) -> Option<String>,
) -> Result<(Response<()>, Upgrade), Refusal> {
    let offer = request::check(request.method(), request.version(), request.headers())?;
    let protocol =
        choose(&offer.protocols).filter(|choice| offer.protocols.contains(&choice.as_str()));
    let response = switching(&derive_accept_key(offer.key), protocol.as_deref())?;
    let upgrade = Upgrade {
        upgraded: hyper::upgrade::on(request),
        timer: None,
        tuning: config.tuning.clone(),
        info: TransportInfo::new(TransportKind::WebSocket).with_protocol(protocol),
    };
    Ok((response, upgrade))
}

/// RFC 6455, 4.2.2.
fn switching(accept: &str, protocol: Option<&str>) -> Result<Response<()>, Refusal> {
    let value = |text| {
        HeaderValue::from_str(text).map_err(|_| request::bad_upgrade("the handshake is malformed"))
    };
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, value(accept)?);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value(protocol)?);
    }
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    Ok(response)
}

/// A [`WebSocket`] to be: the connection, once the response to the handshake was sent.
///
/// # Errors
///
/// [`ErrorKind::Reset`] when the connection was cut before, [`ErrorKind::TimedOut`] when the
/// response was not sent within the handshake timeout, [`ErrorKind::Unsupported`] when the
/// connection is not served with upgrades.
///
/// # Cancel safety
///
/// Dropping it ends the connection.
#[must_use = "a WebSocket is opened by awaiting its upgrade"]
pub struct Upgrade {
    upgraded: OnUpgrade,
    /// Made by the first poll, which is surely inside the runtime.
    timer: Option<Pin<Box<Sleep>>>,
    tuning: Tuning,
    info: TransportInfo,
}

impl Upgrade {
    /// Adds the address of the peer, which the code that accepted the connection knows, to the
    /// [`info`](switchback_core::Transport::info) of the WebSocket.
    pub fn with_peer_addr(mut self, peer_addr: impl Into<Option<SocketAddr>>) -> Self {
        self.info = self.info.with_peer_addr(peer_addr);
        self
    }

    /// Returns the subprotocol that was agreed upon.
    pub fn protocol(&self) -> Option<&str> {
        self.info.protocol()
    }
}

impl Future for Upgrade {
    type Output = Result<WebSocket, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match Pin::new(&mut this.upgraded).poll(cx) {
            Poll::Ready(Ok(upgraded)) => {
                let (io, part) = unwrap_io(upgraded);
                let (tuning, info) = (&this.tuning, this.info.clone());
                Poll::Ready(Ok(WebSocket::new(io, part, Role::Server, tuning, info)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(failed(error))),
            Poll::Pending => {
                let timeout = this.tuning.limits.handshake_time();
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
                timer.as_mut().poll(cx).map(|()| {
                    Err(Error::with_message(
                        ErrorKind::TimedOut,
                        "the response to the handshake was not sent in time",
                    ))
                })
            }
        }
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// Takes a TCP connection out of hyper's boxes, where it is one: each read and write is then one
/// virtual call, not two.
fn unwrap_io(upgraded: Upgraded) -> (Box<dyn Io>, Vec<u8>) {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let stream = parts.io.into_inner();
            // Frames are small and answered at once. A socket that refuses this works all the same.
            let _ = stream.set_nodelay(true);
            (Box::new(stream), parts.read_buf.into())
        }
        Err(upgraded) => (Box::new(TokioIo::new(upgraded)), Vec::new()),
    }
}

fn failed(error: hyper::Error) -> Error {
    if error.is_user() {
        let text = "the connection is not served with upgrades: use `with_upgrades` (hyper) \
                    or `serve_connection_with_upgrades` (hyper-util)";
        return Error::with_message(ErrorKind::Unsupported, text).with_source(error);
    }
    Error::new(ErrorKind::Reset).with_source(error)
}
