//! The suite that every transport must pass, over loopback and over a pipe in memory.

use std::sync::Arc;
#[cfg(feature = "tls")]
use std::time::Duration;

use crate::common::{Server, pair};
use switchback_conformance::Suite;
#[cfg(feature = "tls")]
use switchback_ws::Connector;
use switchback_ws::{ClientConfig, Config, Limits, connect};
use tokio::sync::Mutex;

fn limits() -> Limits {
    Limits::new().max_message_size(2 << 20)
}

#[tokio::test]
async fn over_tcp() {
    let server = Server::start(Config::new().limits(limits())).await;
    let config = ClientConfig::new().limits(limits());
    let url = server.url();
    let server = Arc::new(Mutex::new(server));
    switchback_conformance::run(async || {
        let client = connect(&url, &config).await.unwrap();
        (server.lock().await.accept().await, client)
    })
    .await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn over_tls() {
    let (server, pem) = Server::start_tls(Config::new().limits(limits())).await;
    let connector = Connector::new().trust_pem(pem.as_bytes()).unwrap();
    let config = ClientConfig::new().limits(limits()).connector(connector);
    let url = format!("wss://localhost:{}/rt", server.addr.port());
    let server = Arc::new(Mutex::new(server));
    Suite::new(async || {
        let client = connect(&url, &config).await.unwrap();
        (server.lock().await.accept().await, client)
    })
    // Encryption is slow without optimisation.
    .timeout(Duration::from_secs(60))
    .run()
    .await;
}

#[tokio::test]
async fn over_a_pipe() {
    let config = Config::new().limits(limits());
    Suite::new(async || pair(&config)).run().await;
}
