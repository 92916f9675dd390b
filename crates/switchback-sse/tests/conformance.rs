//! The suite that every transport passes, over a real hyper server on loopback.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use support::serve_duplex;
use switchback_sse::{ClientConfig, Limits, ServerConfig, SseClient, SseServer, Url};
use tokio::sync::Mutex;

#[tokio::test]
async fn conforms() {
    let limits = Limits::new().max_message_size(2 << 20);
    let server = SseServer::new(ServerConfig::new().limits(limits.clone()));
    let (addr, transports) = serve_duplex(server).await;
    let url: Url = format!("http://{addr}/rt").parse().unwrap();
    let config = ClientConfig::new().limits(limits);
    let transports = Mutex::new(transports);
    switchback_conformance::run(async || {
        let mut transports = transports.lock().await;
        let client = SseClient::connect(&url, &config).await.unwrap();
        (transports.recv().await.unwrap(), client)
    })
    .await;
}
