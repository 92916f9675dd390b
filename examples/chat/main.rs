//! A chat between browser tabs and terminals, each on whatever transport works for it.
//!
//! `cargo run --release --example chat`, then open the page that it prints, in two tabs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it tells where the page is, and why it cannot be served"
)]

mod room;
mod visit;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::{MethodRouter, get};
use switchback::{CloseCode, CloseReason, Config, Endpoint, Incoming};
use switchback_examples::Args;
use tokio::net::TcpListener;

use self::room::Room;

/// How long people have to take note when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let args = Args::parse("chat", &[("--listen", "ADDR", "127.0.0.1:8080")])?;
    let listen = args.get("--listen");
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("The chat is on http://{}/", listener.local_addr()?);

    let room = Arc::new(Room::new());
    let (endpoint, incoming) = Endpoint::new(Config::new());
    let welcoming = tokio::spawn(welcome_all(incoming, room.clone()));

    let app = Router::new()
        .route(
            "/",
            file("text/html; charset=utf-8", include_str!("page/index.html")),
        )
        .route(
            "/style.css",
            file("text/css", include_str!("page/style.css")),
        )
        .route(
            "/chat.js",
            file("text/javascript", include_str!("page/chat.js")),
        )
        .route(
            "/switchback.js",
            file("text/javascript", include_str!("page/switchback.js")),
        )
        .route(
            "/wires.js",
            file("text/javascript", include_str!("page/wires.js")),
        )
        .route_service("/rt", endpoint);

    tokio::select! {
        served = switchback::serve(listener, app.clone()) => served?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }

    // New sessions are refused, also on connections that are open; the others go on until they were
    // told.
    println!("Stopping");
    welcoming.abort();
    room.close(&CloseReason::new(CloseCode::GOING_AWAY, "the server stops"));
    let _ = tokio::time::timeout(STOP_TIMEOUT, room.emptied()).await;
    Ok(())
}

/// Gives each connection a task.
async fn welcome_all(mut incoming: Incoming, room: Arc<Room>) {
    while let Some(connection) = incoming.accept().await {
        tokio::spawn(visit::attend(connection, room.clone()));
    }
}

/// A file that is part of the program.
fn file(content_type: &'static str, text: &'static str) -> MethodRouter {
    get(move || async move {
        (
            [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")],
            text,
        )
    })
}
