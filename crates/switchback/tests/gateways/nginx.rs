//! nginx in front of a server.

use std::net::SocketAddr;
use std::path::Path;

use switchback::TransportKind;

use crate::process::Program;
use crate::road::{Scenario, run};

use TransportKind::{LongPoll, Sse, WebSocket};

const ALL: [TransportKind; 3] = TransportKind::ALL;

static NGINX: Program = Program {
    name: "nginx",
    args: &["-e", "stderr", "-c"],
    reload: "HUP",
    configure,
};

fn configure(listen: SocketAddr, server: SocketAddr, directory: &Path, lines: &str) -> String {
    let directory = directory.display();
    // The server is listed twice, so that there is another one to try when one fails.
    format!(
        r#"
daemon off;
user root;
worker_processes 2;
worker_shutdown_timeout 100ms;
pid {directory}/pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream realtime {{
    server {server} max_fails=0;
    server {server} max_fails=0;
    keepalive 16;
  }}
  server {{
    listen {listen};
    location /rt {{
      proxy_pass http://realtime;
      {lines}
    }}
  }}
}}
"#
    )
}

/// The lines of `docs/how-to/nginx.md` that matter here.
const HOW_TO: &str = "
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      client_body_buffer_size 512k;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx"]
async fn all_transports() {
    let clients: &[&[_]] = &[&ALL, &[WebSocket], &[Sse], &[LongPoll]];
    run(
        &NGINX,
        &Scenario::new("all transports", clients).lines(HOW_TO),
    )
    .await;
}

/// A bare `proxy_pass`: HTTP/1.0 without upgrades, and large requests that wait in files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx"]
async fn without_upgrade_headers() {
    let clients: &[&[_]] = &[&ALL, &[Sse], &[LongPoll]];
    run(&NGINX, &Scenario::new("without upgrade headers", clients)).await;
}

/// Event streams arrive when a buffer is full, if at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx"]
async fn buffered_responses() {
    let clients: &[&[_]] = &[&ALL, &[LongPoll]];
    let scenario = Scenario::new("buffered responses", clients)
        .lines("proxy_ignore_headers X-Accel-Buffering;")
        .buffers();
    run(&NGINX, &scenario).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx"]
async fn short_timeouts() {
    let lines =
        format!("{HOW_TO} proxy_read_timeout 1s; proxy_send_timeout 1s; keepalive_timeout 1s;");
    let clients: &[&[_]] = &[&[WebSocket], &[Sse], &[LongPoll]];
    let scenario = Scenario::new("short timeouts", clients)
        .lines(&lines)
        .cuts_silence();
    run(&NGINX, &scenario).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx"]
async fn reloads() {
    let clients: &[&[_]] = &[&[WebSocket], &[Sse], &[LongPoll]];
    let scenario = Scenario::new("reloads", clients).lines(HOW_TO).reloads();
    run(&NGINX, &scenario).await;
}

/// nginx sends again what got no answer, POSTs too, so that the server may get it twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx"]
async fn repeated_requests() {
    let lines = format!("{HOW_TO} proxy_next_upstream error timeout non_idempotent;");
    let clients: &[&[_]] = &[&ALL, &[Sse], &[LongPoll]];
    run(
        &NGINX,
        &Scenario::new("repeated requests", clients).lines(&lines),
    )
    .await;
}
