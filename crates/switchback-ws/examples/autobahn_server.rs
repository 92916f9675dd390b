//! An echo server for the Autobahn|Testsuite, `wstest -m fuzzingclient`.
//!
//! `cargo run --release -p switchback-ws --example autobahn_server -- --listen 127.0.0.1:9001`

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use switchback_ws::{Config, Limits, TransportExt, Upgrade, upgrade};
use tokio::net::TcpListener;

/// The suite's largest messages have 16 MiB.
const LARGEST: usize = 64 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some("--listen"), Some(addr)) = (args.next().as_deref(), args.next()) else {
        return Err("usage: autobahn_server --listen ADDR".into());
    };
    let listener = TcpListener::bind(addr).await?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, for one: others have to close first.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        tokio::spawn(
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .with_upgrades(),
        );
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let config = Config::new().limits(Limits::new().max_message_size(LARGEST));
    Ok(match upgrade(&mut request, &config) {
        Err(refusal) => refusal.into_response(),
        Ok((response, upgrade)) => {
            tokio::spawn(echo(upgrade));
            response.map(|()| Full::default())
        }
    })
}

async fn echo(upgrade: Upgrade) -> Result<(), switchback_ws::Error> {
    let mut socket = upgrade.await?;
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}
