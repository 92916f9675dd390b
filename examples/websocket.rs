//! A WebSocket echo by `switchback-ws` alone, on plain hyper: no facade, no session.
//!
//! `cargo run --example websocket -- --listen 127.0.0.1:9002`, then
//! `new WebSocket("ws://127.0.0.1:9002")` in the console of a browser.

#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use switchback_examples::Args;
use switchback_ws::{Config, TransportExt, WebSocket, upgrade};
use tokio::net::TcpListener;
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse("websocket", &[("--listen", "ADDR", "127.0.0.1:9002")])?;
    let listener = TcpListener::bind(args.get("--listen")).await?;
    println!("WebSocket echo on ws://{}", listener.local_addr()?);

    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, for one: others have to close first.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let service = service_fn(|mut request| async move {
            let response = match upgrade(&mut request, &Config::new()) {
                Ok((response, upgrade)) => {
                    tokio::spawn(async move {
                        if let Ok(socket) = upgrade.await {
                            echo(socket).await;
                        }
                    });
                    response.map(|()| Full::default())
                }
                Err(refusal) => refusal.into_response(),
            };
            Ok::<http::Response<Full<Bytes>>, Infallible>(response)
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection.with_upgrades());
    }
}

async fn echo(mut socket: WebSocket) {
    while let Ok(Some(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}
