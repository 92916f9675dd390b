//! Two echo servers on one port, for conformance tests and benchmarks:
//!
//! - `/ws`: a bare WebSocket echo by `switchback-ws` alone, with limits high enough for Autobahn;
//! - `/rt`: the facade, which echoes what a session or a plain client sends.
//!
//! `cargo run --release --example echo -- --listen 127.0.0.1:9001`

#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::convert::Infallible;
use std::error::Error;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming as IncomingBody;
use switchback::{Body, Config, Connection, Endpoint, Limits, Message};
use switchback_examples::Args;
use switchback_ws::{Transport, WebSocket};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse("echo", &[("--listen", "ADDR", "127.0.0.1:9001")])?;
    let listener = TcpListener::bind(args.get("--listen")).await?;
    println!(
        "echo on ws://{0}/ws and http://{0}/rt",
        listener.local_addr()?
    );

    let limits = Limits::new()
        .max_message_size(64 << 20)
        .send_buffer_size(1 << 20);
    let (endpoint, mut incoming) = Endpoint::new(
        Config::new()
            .limits(limits.clone())
            .queue(1 << 20, 256 << 20),
    );
    tokio::spawn(async move {
        while let Some(connection) = incoming.accept().await {
            tokio::spawn(echo_connection(connection));
        }
    });
    let bare = switchback_ws::Config::new().limits(limits);
    let service = tower::service_fn(move |request| route(request, endpoint.clone(), bare.clone()));
    switchback::serve(listener, service).await?;
    Ok(())
}

async fn route(
    mut request: Request<IncomingBody>,
    endpoint: Endpoint,
    bare: switchback_ws::Config,
) -> Result<Response<Body>, Infallible> {
    Ok(match request.uri().path() {
        "/ws" => match switchback_ws::upgrade(&mut request, &bare) {
            Ok((response, upgrade)) => {
                tokio::spawn(async move {
                    if let Ok(socket) = upgrade.await {
                        echo_websocket(socket).await;
                    }
                });
                response.map(|()| Body::empty())
            }
            Err(refusal) => refusal.into_response().map(Body::from),
        },
        "/rt" => endpoint.handle(request).await,
        _ => {
            let mut response = Response::new(Body::from("use /ws or /rt\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    })
}

/// Echoes until either side ends. All replies to what one read brought leave in one write.
async fn echo_websocket(mut socket: WebSocket) {
    use std::future::poll_fn;
    use std::task::{Poll, ready};

    let mut held: Option<Message> = None;
    let _ = poll_fn(|cx| {
        loop {
            if let Some(message) = &held {
                ready!(socket.poll_send(cx, message))?;
            }
            if let Some(message) = held.take() {
                // Its memory serves the next one.
                message.recycle();
            }
            match socket.poll_recv(cx)? {
                Poll::Ready(Some(message)) => held = Some(message),
                Poll::Ready(None) => return Poll::Ready(Ok::<(), switchback::Error>(())),
                Poll::Pending => {
                    ready!(socket.poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
}

async fn echo_connection(mut connection: Connection) {
    while let Ok(Some(message)) = connection.recv().await {
        if connection.send(message).await.is_err() {
            break;
        }
    }
}
