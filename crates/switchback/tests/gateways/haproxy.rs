//! haproxy in front of a server.

use std::net::SocketAddr;
use std::path::Path;

use switchback::TransportKind;

use crate::process::Program;
use crate::road::{Scenario, run};

use TransportKind::{LongPoll, Sse, WebSocket};

const ALL: [TransportKind; 3] = TransportKind::ALL;

/// A master process, which reloads, and its workers.
static HAPROXY: Program = Program {
    name: "haproxy",
    args: &["-W", "-f"],
    reload: "USR2",
    configure,
};

fn configure(listen: SocketAddr, server: SocketAddr, _: &Path, lines: &str) -> String {
    format!(
        "
global
  maxconn 1024
  hard-stop-after 100ms
defaults
  mode http
  option http-no-delay
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  timeout tunnel 75s
listen realtime
  bind {listen}
  {lines}
  server app {server}
"
    )
}

const NO_UPGRADE: &str = "http-request del-header Upgrade
  http-request del-header Connection";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs haproxy"]
async fn all_transports() {
    let clients: &[&[_]] = &[&ALL, &[WebSocket], &[Sse], &[LongPoll]];
    run(&HAPROXY, &Scenario::new("all transports", clients)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs haproxy"]
async fn without_upgrade_headers() {
    let clients: &[&[_]] = &[&ALL, &[Sse], &[LongPoll]];
    let scenario = Scenario::new("without upgrade headers", clients).lines(NO_UPGRADE);
    run(&HAPROXY, &scenario).await;
}

/// Responses arrive when they are complete, or when a buffer is full; so do requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs haproxy"]
async fn buffered_responses() {
    let lines = format!(
        "{NO_UPGRADE}
  http-response wait-for-body time 60s
  option http-buffer-request"
    );
    let clients: &[&[_]] = &[&ALL, &[LongPoll]];
    run(
        &HAPROXY,
        &Scenario::new("buffered responses", clients)
            .lines(&lines)
            .buffers(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs haproxy"]
async fn short_timeouts() {
    let lines = "timeout client 1s
  timeout server 1s
  timeout tunnel 1s";
    let clients: &[&[_]] = &[&[WebSocket], &[Sse], &[LongPoll]];
    let scenario = Scenario::new("short timeouts", clients)
        .lines(lines)
        .cuts_silence();
    run(&HAPROXY, &scenario).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs haproxy"]
async fn reloads() {
    let clients: &[&[_]] = &[&[WebSocket], &[Sse], &[LongPoll]];
    run(&HAPROXY, &Scenario::new("reloads", clients).reloads()).await;
}

/// haproxy sends again what got no answer, POSTs too, so that the server may get it twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs haproxy"]
async fn repeated_requests() {
    let lines = "retries 3
  retry-on all-retryable-errors
  http-reuse always";
    let clients: &[&[_]] = &[&ALL, &[Sse], &[LongPoll]];
    run(
        &HAPROXY,
        &Scenario::new("repeated requests", clients).lines(lines),
    )
    .await;
}
