//! What several tests need.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file is a crate of its own and uses a part of this"
)]

pub mod by_hand;
pub mod raw;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use switchback_longpoll::{LongPoll, LongPollServer, Url};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it should have happened by now")
}

/// A long-poll server on loopback.
pub struct Host {
    pub addr: SocketAddr,
    pub url: Url,
    accepted: mpsc::Receiver<LongPoll>,
}

impl Host {
    pub async fn start(server: LongPollServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (accept, accepted) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let (socket, peer) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                let (server, accept) = (server.clone(), accept.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (server, accept) = (server.clone(), accept.clone());
                        async move {
                            let response = server.handle(request, |mut transport| {
                                transport.set_peer_addr(peer);
                                let _ = accept.try_send(transport);
                            });
                            Ok::<_, Infallible>(response.await)
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self {
            addr,
            url: format!("http://{addr}/rt").parse().unwrap(),
            accepted,
        }
    }

    /// The next transport that a client opened.
    pub async fn accept(&mut self) -> LongPoll {
        soon(self.accepted.recv()).await.unwrap()
    }
}

/// A request as hyper would hand it over.
pub fn request(
    method: Method,
    query: &str,
    connection: Option<&str>,
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/rt?transport=longpoll{query}"));
    if let Some(id) = connection {
        request = request.header("Switchback-Connection", id);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// Status, and body as text.
pub async fn read(response: Response<Full<Bytes>>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
