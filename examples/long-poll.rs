//! A long-poll echo by `switchback-longpoll` alone, on plain hyper: no facade, no session.
//!
//! `cargo run --example long-poll -- --listen 127.0.0.1:9003`, then in a shell:
//!
//! ```sh
//! URL='http://127.0.0.1:9003/?transport=longpoll'
//! ID=$(curl -si "$URL" | tr -d '\r' | sed -n 's/^switchback-connection: //Ip')
//! curl -s "$URL&first=1" -H "Switchback-Connection: $ID" --data-binary 't5:hello'
//! curl -s "$URL&cursor=0" -H "Switchback-Connection: $ID"
//! ```

#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use switchback_examples::Args;
use switchback_longpoll::{LongPoll, LongPollServer, ServerConfig, TransportExt};
use tokio::net::TcpListener;
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse("long-poll", &[("--listen", "ADDR", "127.0.0.1:9003")])?;
    let listener = TcpListener::bind(args.get("--listen")).await?;
    println!(
        "long-poll echo on http://{}/?transport=longpoll",
        listener.local_addr()?
    );

    let server = LongPollServer::new(ServerConfig::new());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, for one: others have to close first.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let server = server.clone();
        let service = service_fn(move |request| {
            let server = server.clone();
            async move {
                let accept = |transport| drop(tokio::spawn(echo(transport)));
                Ok::<_, Infallible>(server.handle(request, accept).await)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn echo(mut transport: LongPoll) {
    while let Ok(Some(message)) = transport.recv().await {
        if transport.send(message).await.is_err() {
            break;
        }
    }
}
