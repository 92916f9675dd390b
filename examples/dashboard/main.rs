//! A live dashboard over Server-Sent Events alone: any number of viewers, no JavaScript library.
//!
//! `cargo run --example dashboard -- --listen 127.0.0.1:8081`, then open the address in a browser,
//! or `curl -N http://127.0.0.1:8081/events`.

#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use async_stream::stream;
use bytes::Bytes;
use futures_core::Stream;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use switchback_examples::Args;
use switchback_sse::{Event, EventStream, last_event_id};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{interval, sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse("dashboard", &[("--listen", "ADDR", "127.0.0.1:8081")])?;
    let listener = TcpListener::bind(args.get("--listen")).await?;
    println!("dashboard on http://{}", listener.local_addr()?);

    let (samples, latest) = watch::channel(Sample::default());
    tokio::spawn(measure(samples));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, for one: others have to close first.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let latest = latest.clone();
        let service = service_fn(move |request| {
            let response = route(&request, latest.clone());
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// What the dashboard shows.
#[derive(Clone, Default)]
struct Sample {
    number: u64,
    load: [f64; 3],
    memory_used: f64,
}

/// Measures once a second. Viewers that are slow miss samples rather than falling behind.
async fn measure(samples: watch::Sender<Sample>) {
    let mut tick = interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        let load = tokio::fs::read_to_string("/proc/loadavg")
            .await
            .unwrap_or_default();
        let memory = tokio::fs::read_to_string("/proc/meminfo")
            .await
            .unwrap_or_default();
        samples.send_modify(|sample| {
            sample.number += 1;
            let mut numbers = load.split(' ').map(|word| word.parse().unwrap_or(0.0));
            sample.load = std::array::from_fn(|_| numbers.next().unwrap_or(0.0));
            let kib = |name: &str| -> f64 {
                let line = memory.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                    .unwrap_or(0.0)
            };
            sample.memory_used = 1.0 - kib("MemAvailable:") / kib("MemTotal:").max(1.0);
        });
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn route(request: &Request<Incoming>, latest: watch::Receiver<Sample>) -> Response<Body> {
    match request.uri().path() {
        "/" => {
            let page = Full::from(include_str!("page.html"));
            let mut response = Response::new(page.boxed_unsync());
            let html = header::HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, html);
            response
        }
        "/events" => {
            // A browser that reconnects says which sample it saw last.
            let seen = last_event_id(request)
                .and_then(|id| id.parse().ok())
                .unwrap_or(0);
            let events: Pin<Box<dyn Stream<Item = Event> + Send>> = Box::pin(events(latest, seen));
            EventStream::new()
                .respond(events)
                .map(BodyExt::boxed_unsync)
        }
        _ => {
            let mut response = Response::new(Full::from("not found\n").boxed_unsync());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

fn events(mut latest: watch::Receiver<Sample>, seen: u64) -> impl Stream<Item = Event> {
    stream! {
        let mut seen = seen;
        loop {
            let sample = latest.borrow_and_update().clone();
            if sample.number != seen {
                seen = sample.number;
                let data = json!({ "load": sample.load, "memory": sample.memory_used });
                let Ok(event) = sample_event(seen, &data.to_string()) else { break };
                yield event;
            }
            if latest.changed().await.is_err() {
                break;
            }
        }
    }
}

fn sample_event(number: u64, data: &str) -> Result<Event, switchback_sse::Error> {
    let event = Event::new().event("sample")?.id(number.to_string())?;
    event.retry(Duration::from_secs(1)).data(data)
}
