//! What a client posts when it has connected on HTTP alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use support::{client, echo, within};
use switchback::{Config, Endpoint, TransportKind};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// An endpoint that echoes, and the bodies of the POSTs that it gets.
async fn recording() -> (SocketAddr, mpsc::Receiver<String>) {
    let (endpoint, mut incoming) = Endpoint::new(Config::new());
    tokio::spawn(async move {
        while let Some(connection) = incoming.accept().await {
            tokio::spawn(echo(connection));
        }
    });
    let (posted, posts) = mpsc::channel(100);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (endpoint, posted) = (endpoint.clone(), posted.clone());
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (endpoint, posted) = (endpoint.clone(), posted.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    if head.method == Method::POST {
                        let text = String::from_utf8(body.to_vec()).unwrap();
                        posted.send(text).await.unwrap();
                    }
                    let request = Request::from_parts(head, Full::new(body));
                    Ok::<_, Infallible>(endpoint.handle(request).await)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (addr, posts)
}

#[tokio::test]
async fn the_first_message_shares_its_post_with_the_select() {
    for kind in [TransportKind::Sse, TransportKind::LongPoll] {
        let (addr, mut posts) = recording().await;
        let connecting = client(addr, kind);
        // On a machine that stands still for a moment the select does not wait for the message.
        let mut tries = 0;
        loop {
            let mut connection = within("connect", connecting.connect()).await.unwrap();
            connection.send("hello").await.unwrap();
            let reply = within("an echo", connection.recv()).await.unwrap();
            assert_eq!(reply.unwrap().as_text(), Some("hello"));
            if posts.recv().await.unwrap() == "t9:\u{1}select 0t5:hello" {
                break;
            }
            tries += 1;
            assert!(
                tries < 20,
                "the first POST of {kind} is never the one that is wanted"
            );
            within("the close", connection.close(switchback::CloseCode::NORMAL))
                .await
                .unwrap();
            while posts.try_recv().is_ok() {}
        }
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_selects_all_the_same() {
    for kind in [TransportKind::Sse, TransportKind::LongPoll] {
        let (addr, mut posts) = recording().await;
        let connecting = client(addr, kind);
        let _silent = within("connect", connecting.connect()).await.unwrap();
        let post = within("a POST", posts.recv()).await.unwrap();
        assert_eq!(post, "t9:\u{1}select 0", "{kind}");
    }
}
