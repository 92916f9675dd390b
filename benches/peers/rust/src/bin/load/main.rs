//! A load generator on libraries of others: tokio-tungstenite, hyper, sse-stream. What
//! `switchback-bench load` measures is compared with what servers do under this one.
//!
//! It prints how many messages a second came back, again and again, until it is ended. A message
//! that is lost, doubled, changed or out of order ends it.

mod connection;
mod echo;
mod fan_out;
mod meter;
mod payload;
mod subscribe;

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Parser, Subcommand};
use http_body_util::Empty;
use hyper::Uri;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::meter::Meter;
use crate::payload::MIN_SIZE;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Tasks = JoinSet<Result<(), Failure>>;
type Socket = WebSocketStream<TcpStream>;
type Requests = SendRequest<Empty<Bytes>>;

/// Drives a server
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Sends messages and waits for them to come back, on WebSockets or sessions on them
    Echo(echo::EchoArgs),
    /// Publishes messages on /ws/publish that all subscribers receive
    FanOut(fan_out::FanOutArgs),
}

#[derive(Args, Clone)]
struct Common {
    /// Where to connect to: http://host:port/path
    url: Uri,
    /// Bytes of a message
    #[arg(long, default_value_t = 125, value_parser = size)]
    size: usize,
    /// Seconds between two lines
    #[arg(long, default_value_t = 1.0)]
    every: f64,
    /// Never sleeps
    #[arg(long)]
    spin: bool,
}

fn size(text: &str) -> Result<usize, String> {
    let size = text.parse().map_err(|error| format!("{error}"))?;
    (size >= MIN_SIZE)
        .then_some(size)
        .ok_or(format!("at least {MIN_SIZE}"))
}

fn main() -> ExitCode {
    let scenario = Arguments::parse().scenario;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(scenario)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(scenario: Scenario) -> Result<(), Failure> {
    let meter = Meter::default();
    let mut tasks = Tasks::new();
    let common = match &scenario {
        Scenario::Echo(args) => {
            echo::start(args, &meter, &mut tasks).await?;
            &args.common
        }
        Scenario::FanOut(args) => {
            fan_out::start(args, &meter, &mut tasks).await?;
            &args.common
        }
    };
    if common.spin {
        // The runtime looks for sockets that are ready, and does not sleep, while a task is.
        tasks.spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
    }
    tokio::select! {
        never = meter.report(Duration::try_from_secs_f64(common.every)?) => match never? {},
        Some(ended) = tasks.join_next() => ended?.and(Err("a connection ended".into())),
    }
}

impl Common {
    async fn stream(&self) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect(self.host()?).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn host(&self) -> Result<&str, Failure> {
        Ok(self.url.authority().ok_or("a URL without a host")?.as_str())
    }

    /// Opens a WebSocket, with the buffers that its server in this directory has, and with subprotocols.
    async fn websocket(&self, path: &str, offer: Option<&str>) -> Result<Socket, Failure> {
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(4096);
        let mut request = format!("ws://{}{path}", self.host()?).into_client_request()?;
        if let Some(offer) = offer {
            let headers = request.headers_mut();
            headers.insert("sec-websocket-protocol", offer.try_into()?);
        }
        let stream = self.stream().await?;
        let opened =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        Ok(opened.0)
    }

    /// Opens a connection for requests.
    async fn http(&self, tasks: &mut Tasks) -> Result<Requests, Failure> {
        let io = TokioIo::new(self.stream().await?);
        let (requests, connection) = hyper::client::conn::http1::handshake(io).await?;
        tasks.spawn(async { Ok(connection.await?) });
        Ok(requests)
    }
}
