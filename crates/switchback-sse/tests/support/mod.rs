//! A hyper server on loopback, a bare HTTP client, and waits that end.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

pub mod origin;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use switchback_sse::{MessageEvent, Parser, Sse, SseServer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Waits for a future, but not for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it happens in time")
}

/// Serves HTTP/1.1 on a free port of loopback until the runtime ends.
pub async fn serve<F, R, B>(handler: F) -> SocketAddr
where
    F: Fn(Request<Incoming>, SocketAddr) -> R + Clone + Send + 'static,
    R: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let handler = handler.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = handler(request, peer);
                    async move { Ok::<_, Infallible>(response.await) }
                });
                // A client that goes away is an error here.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    addr
}

/// Serves a duplex server, and gives the transports that clients open.
pub async fn serve_duplex(server: SseServer) -> (SocketAddr, mpsc::Receiver<Sse>) {
    let (opened, transports) = mpsc::channel(64);
    let addr = serve(move |request, peer| {
        let server = server.clone();
        let opened = opened.clone();
        async move {
            let accept = |mut transport: Sse| {
                transport.set_peer_addr(peer);
                // The test may have seen enough.
                let _ = opened.try_send(transport);
            };
            server.handle(request, accept).await
        }
    })
    .await;
    (addr, transports)
}

/// Sends one request on a connection of its own, which ends with the body.
pub async fn request(
    addr: SocketAddr,
    request: http::request::Builder,
    body: Vec<u8>,
) -> Response<Incoming> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = request
        .header("host", addr.to_string())
        .body(Full::from(body))
        .unwrap();
    soon(sender.send_request(request)).await.unwrap()
}

pub async fn get(addr: SocketAddr, target: &str) -> Response<Incoming> {
    request(addr, Request::get(target), Vec::new()).await
}

/// The whole body.
pub async fn text(response: Response<Incoming>) -> String {
    let body = soon(response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// The events of a response.
pub struct Events {
    body: Incoming,
    parser: Parser,
}

impl Events {
    pub fn of(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            parser: Parser::new(),
        }
    }

    pub async fn next(&mut self) -> Option<MessageEvent> {
        loop {
            if let Some(event) = self.parser.next_event().unwrap() {
                return Some(event);
            }
            let frame = soon(self.body.frame()).await?.unwrap();
            if let Ok(chunk) = frame.into_data() {
                self.parser.push(chunk);
            }
        }
    }
}
