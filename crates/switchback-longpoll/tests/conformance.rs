//! The suite that every transport passes, over a real hyper server on loopback.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod support;

use std::time::Duration;

use support::Host;
use switchback_longpoll::{ClientConfig, Limits, LongPollClient, LongPollServer, ServerConfig};
use tokio::sync::Mutex;

#[tokio::test]
async fn conforms() {
    let limits = Limits::new().max_message_size(2 << 20);
    // A server learns that a client is gone only by its silence: not long, so that the suite need
    // not wait long.
    let window = Duration::from_secs(1);
    let config = ServerConfig::new()
        .limits(limits.clone())
        .window(window)
        .grace(window);
    let host = Mutex::new(Host::start(LongPollServer::new(config)).await);
    let config = ClientConfig::new().limits(limits).window(window);
    switchback_conformance::run(async || {
        let mut host = host.lock().await;
        let client = LongPollClient::connect(&host.url, &config).await.unwrap();
        (host.accept().await, client)
    })
    .await;
}
