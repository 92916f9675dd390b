//! A server on plain hyper, and what every test needs.

use std::convert::Infallible;
use std::net::SocketAddr;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use switchback_ws::{Config, Error, Refusal, Role, Upgrade, WebSocket, upgrade};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Longer than anything here takes, so that a test which hangs fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("a test waits for something that does not happen")
}

/// A server, and the WebSockets that it has accepted.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    accepted: mpsc::Receiver<Result<WebSocket, Error>>,
}

impl Server {
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_with(move |request| upgrade(request, &config)).await
    }

    pub(crate) async fn start_with(
        accept: impl Fn(&mut Request<Incoming>) -> Result<(Response<()>, Upgrade), Refusal>
        + Clone
        + Send
        + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, accepted) = mpsc::channel(64);
        tokio::spawn(async move {
            loop {
                let (stream, peer_addr) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, peer_addr, sender.clone(), accept.clone()));
            }
        });
        Self { addr, accepted }
    }

    /// Returns also the certificate, which is for `localhost`.
    #[cfg(feature = "tls")]
    pub(crate) async fn start_tls(config: Config) -> (Self, String) {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = issued.signing_key.serialize_der();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![issued.cert.der().clone()],
                rustls::pki_types::PrivateKeyDer::Pkcs8(key.into()),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, accepted) = mpsc::channel(64);
        tokio::spawn(async move {
            loop {
                let (stream, peer_addr) = listener.accept().await.unwrap();
                let (acceptor, config) = (acceptor.clone(), config.clone());
                let sender = sender.clone();
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let accept = move |request: &mut _| upgrade(request, &config);
                    serve(stream, peer_addr, sender, accept).await;
                });
            }
        });
        (Self { addr, accepted }, issued.cert.pem())
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/rt", self.addr)
    }

    pub(crate) async fn accept(&mut self) -> WebSocket {
        soon(self.accepted.recv()).await.unwrap().unwrap()
    }
}

async fn serve<S>(
    stream: S,
    peer_addr: SocketAddr,
    sender: mpsc::Sender<Result<WebSocket, Error>>,
    accept: impl Fn(&mut Request<Incoming>) -> Result<(Response<()>, Upgrade), Refusal>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |mut request| {
        let sender = sender.clone();
        let response = match accept(&mut request) {
            Err(refusal) => refusal.into_response(),
            Ok((response, upgrade)) => {
                let upgrade = upgrade.with_peer_addr(peer_addr);
                tokio::spawn(async move { sender.send(upgrade.await).await });
                response.map(|()| Full::<Bytes>::default())
            }
        };
        async { Ok::<_, Infallible>(response) }
    });
    // Some tests send what is no HTTP.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

/// Two WebSockets over a pipe in memory: the server's end and the client's.
pub(crate) fn pair(config: &Config) -> (WebSocket, WebSocket) {
    let (server, client) = tokio::io::duplex(64 * 1024);
    (
        WebSocket::from_stream(server, Role::Server, config),
        WebSocket::from_stream(client, Role::Client, config),
    )
}

/// A WebSocket over a pipe in memory, and the other end of the pipe.
pub(crate) fn half(role: Role, config: &Config) -> (WebSocket, DuplexStream) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    (WebSocket::from_stream(near, role, config), far)
}

/// A frame with a payload of less than 126 bytes; `first` is the first byte, opcode and flags.
pub(crate) fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let mut frame = vec![first, payload.len() as u8];
    if masked {
        frame[1] |= 0x80;
        // A mask of zeros changes nothing.
        frame.extend([0; 4]);
    }
    frame.extend(payload);
    frame
}

/// The payload of a close frame.
pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// Splits what a WebSocket wrote into first byte and unmasked payload of each frame.
pub(crate) fn parse(mut bytes: &[u8], masked: bool) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(second & 0x80 != 0, masked, "masking");
        let length = usize::from(second & 0x7f);
        assert!(length < 126, "this parser is for short frames");
        let (mask, rest) = rest.split_at(if masked { 4 } else { 0 });
        let (payload, rest) = rest.split_at(length);
        let payload = payload
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ mask.get(i % 4).unwrap_or(&0))
            .collect();
        frames.push((*first, payload));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame: {bytes:?}");
    frames
}
