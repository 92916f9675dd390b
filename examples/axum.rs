//! An endpoint in an axum application, beside ordinary routes.
//!
//! `cargo run --example axum -- --listen 127.0.0.1:8082`; the endpoint is at `/rt`.

#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any_service, get};
use switchback::{Config, Connection, Endpoint, PeerAddr, Principal};
use switchback_examples::Args;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse("axum", &[("--listen", "ADDR", "127.0.0.1:8082")])?;
    let listener = TcpListener::bind(args.get("--listen")).await?;
    println!(
        "axum on http://{0}, endpoint at http://{0}/rt",
        listener.local_addr()?
    );

    let (endpoint, mut incoming) = Endpoint::new(Config::new());
    tokio::spawn(async move {
        while let Some(connection) = incoming.accept().await {
            tokio::spawn(greet(connection));
        }
    });
    let app = Router::new()
        .route("/", get(|| async { "the endpoint is at /rt\n" }))
        .route(
            "/rt",
            any_service(endpoint).layer(middleware::from_fn(identify)),
        );
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}

/// Tells the endpoint who comes, and from where. A real application would check a cookie or an
/// `Authorization` header here, and answer 401.
async fn identify(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(PeerAddr(peer));
    let user = request
        .headers()
        .get("x-user")
        .and_then(|user| user.to_str().ok());
    if let Some(principal) = user.map(Principal::new) {
        request.extensions_mut().insert(principal);
    }
    next.run(request).await
}

async fn greet(mut connection: Connection) {
    let who = connection.principal().unwrap_or("stranger").to_owned();
    let _ = connection.send(format!("hello, {who}")).await;
    while let Ok(Some(message)) = connection.recv().await {
        if connection.send(message).await.is_err() {
            break;
        }
    }
}
