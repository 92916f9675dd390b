//! Rules for HTTP requests, on real sockets.

#![expect(clippy::unwrap_used, reason = "a panic is how these tests fail")]

use std::time::Duration;

use switchback_chaos::{Action, Cut, Faults, Proxy, Rule};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(20);
const WEBSOCKET: &str = "GET /rt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n";

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future)
        .await
        .expect("it should not take that long")
}

/// A server that answers every request with its own head. It takes bodies by `Content-Length`.
async fn start() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream));
        }
    });
    proxy
}

async fn serve(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    while let Some((head, _)) = message(&mut stream).await {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}",
            head.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads a head and its body; `None` at the end of the stream.
async fn message(stream: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
        let line = &head[start..];
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

async fn connect(proxy: &Proxy) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(proxy.local_addr()).await.unwrap())
}

/// Sends a request and returns the status line and the body of the answer.
async fn ask(stream: &mut BufReader<TcpStream>, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let (head, body) = soon(message(stream)).await.expect("an answer");
    (head.lines().next().unwrap_or_default().to_owned(), body)
}

#[tokio::test]
async fn answers_websockets_and_nothing_else() {
    let proxy = start().await;
    let rule = Rule::websocket(Action::Answer(502));
    proxy.set(Faults::new().rule(rule)).await;
    let mut refused = connect(&proxy).await;
    let (status, _) = ask(&mut refused, WEBSOCKET).await;
    assert_eq!(status, "HTTP/1.1 502 Bad Gateway");
    assert!(soon(message(&mut refused)).await.is_none());

    let mut passed = connect(&proxy).await;
    let request = "GET /other HTTP/1.1\r\nHost: x\r\n\r\n";
    let (status, head) = ask(&mut passed, request).await;
    assert_eq!(
        (status.as_str(), head.as_str()),
        ("HTTP/1.1 200 OK", request)
    );
    let counters = proxy.counters();
    assert_eq!((counters.requests, counters.caught), (2, 1));
    assert_eq!(counters.bytes_up, request.len() as u64);
}

/// The rule finds its request among others on one connection.
#[tokio::test]
async fn answers_one_request_of_many() {
    let proxy = start().await;
    let rule = Rule::new(
        |head| head.method() == "POST" && head.target().contains("sse"),
        Action::Answer(503),
    );
    proxy.set(Faults::new().rule(rule)).await;
    let mut stream = connect(&proxy).await;
    for request in [
        "GET /rt?transport=sse HTTP/1.1\r\n\r\n",
        "POST /rt?transport=longpoll HTTP/1.1\r\nContent-Length: 22\r\n\r\nPOST /sse HTTP/1.1\r\n\r\n",
    ] {
        let (status, _) = ask(&mut stream, request).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
    }
    let post = "POST /rt?transport=sse HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
    let (status, _) = ask(&mut stream, post).await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
}

#[tokio::test]
async fn black_holes_websockets_and_nothing_else() {
    let proxy = start().await;
    let rule = Rule::websocket(Action::BlackHole);
    proxy.set(Faults::new().rule(rule)).await;
    let mut silent = connect(&proxy).await;
    silent.write_all(WEBSOCKET.as_bytes()).await.unwrap();
    soon(proxy.until(|counters| counters.caught == 1)).await;
    silent.write_all(b"more").await.unwrap();
    soon(proxy.until(|counters| counters.swallowed == 4)).await;
    assert_eq!(proxy.counters().bytes_down, 0);

    let mut passed = connect(&proxy).await;
    ask(&mut passed, "GET / HTTP/1.1\r\n\r\n").await;
    // The silent one is still open.
    assert_eq!(proxy.counters().open, 2);
    proxy.cut(Cut::Reset);
    soon(proxy.until(|counters| counters.open == 0)).await;
}

#[tokio::test]
async fn cuts_what_a_rule_says() {
    let proxy = start().await;
    let rule = Rule::all(Action::Cut(Cut::Fin));
    proxy.set(Faults::new().rule(rule)).await;
    let mut stream = connect(&proxy).await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(soon(message(&mut stream)).await.is_none());
    drop(stream);
    let counters = soon(proxy.until(|counters| counters.open == 0)).await;
    assert_eq!((counters.cut, counters.bytes_up), (1, 0));
}

#[tokio::test]
async fn strips_the_upgrade() {
    let proxy = start().await;
    let rule = Rule::websocket(Action::StripUpgrade);
    proxy.set(Faults::new().rule(rule)).await;
    let mut stream = connect(&proxy).await;
    // Twice: without its upgrade the request does not end HTTP on this connection.
    for _ in 0..2 {
        let (_, head) = ask(&mut stream, WEBSOCKET).await;
        assert_eq!(head, "GET /rt HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    assert_eq!(proxy.counters().caught, 2);
}

/// A rule judges a request whose head comes in pieces, and one that was begun before it was set
/// passes.
#[tokio::test]
async fn heads_in_pieces() {
    let proxy = start().await;
    let rule = Rule::websocket(Action::Answer(502));
    let (begin, end) = WEBSOCKET.split_at(60);

    let mut early = connect(&proxy).await;
    early.write_all(begin.as_bytes()).await.unwrap();
    soon(proxy.until(|counters| counters.bytes_up == 60)).await;
    proxy.set(Faults::new().rule(rule)).await;
    let (status, _) = ask(&mut early, end).await;
    assert_eq!(status, "HTTP/1.1 200 OK");

    let before = proxy.counters().bytes_up;
    let mut late = connect(&proxy).await;
    late.write_all(begin.as_bytes()).await.unwrap();
    let (status, _) = ask(&mut late, end).await;
    assert_eq!(status, "HTTP/1.1 502 Bad Gateway");
    assert_eq!(proxy.counters().bytes_up, before);
}

#[tokio::test]
async fn what_is_not_http_passes_rules() {
    let proxy = start().await;
    proxy
        .set(Faults::new().rule(Rule::all(Action::Answer(502))))
        .await;
    let mut stream = connect(&proxy).await;
    let bytes = b"\x16\x03\x01 GET / HTTP/1.1\r\n\r\n";
    stream.write_all(bytes).await.unwrap();
    let length = bytes.len() as u64;
    let counters = soon(proxy.until(|counters| counters.bytes_up == length)).await;
    assert_eq!(counters.requests, 0);
}
