//! `serve_connection`, byte by byte: where hyper takes over from us and we from hyper, nothing is
//! lost, doubled, or taken for something else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::{any_service, get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use support::within;
use switchback::{Config, Endpoint, PeerAddr};
use switchback_sse::{Event, EventSender, EventStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

const HELLO: &str = "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";
const STREAM: &str = "GET /stream HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n";
const POST: &str = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nsome!";

/// Some routes, and the senders of the event streams.
fn app() -> (Router, mpsc::Receiver<EventSender>) {
    let (streams, opened) = mpsc::channel(8);
    let stream = move || async move {
        let (response, events) = EventStream::new().channel();
        streams.send(events).await.unwrap();
        response.map(Body::new)
    };
    let (endpoint, incoming) = Endpoint::new(Config::new());
    // As long as the server, so that the endpoint accepts.
    std::mem::forget(incoming);
    let app = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/echo", post(|body: Bytes| async { body }))
        .route(
            "/headers",
            post(|_: HeaderMap| async { StatusCode::NO_CONTENT }),
        )
        .route("/stream", get(stream))
        .route("/nothing", get(|| async { StatusCode::NO_CONTENT }))
        .route(
            "/last",
            get(|| async { ([(header::CONNECTION, "close")], "bye") }),
        )
        .route(
            "/long",
            get(|| async { Response::new(Body::from(vec![b'x'; 300_000])) }),
        )
        .route("/rt", any_service(endpoint));
    (app, opened)
}

/// A client of a connection that holds `buffer` bytes each way.
fn connect(buffer: usize) -> (DuplexStream, mpsc::Receiver<EventSender>) {
    let (app, opened) = app();
    (connect_to(app, buffer), opened)
}

fn connect_to(app: Router, buffer: usize) -> DuplexStream {
    let (near, far) = tokio::io::duplex(buffer);
    let peer = PeerAddr("127.0.0.1:1".parse().unwrap());
    tokio::spawn(switchback::serve_connection(far, peer, app));
    near
}

/// Enough requests, one after the other, that hyper is kept for the next.
async fn quick_posts(client: &mut DuplexStream) {
    for _ in 0..6 {
        client.write_all(POST.as_bytes()).await.unwrap();
        read_until(client, "some!").await;
    }
}

async fn read_until(client: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let byte = within(end, client.read_u8()).await;
        match byte {
            Ok(byte) => read.push(byte),
            Err(_) => panic!("closed after {:?}", String::from_utf8_lossy(&read)),
        }
    }
    String::from_utf8(read).unwrap()
}

async fn read_to_end(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    // A reset is an end, too.
    let _ = within("the end", client.read_to_end(&mut read)).await;
    String::from_utf8(read).unwrap()
}

fn event(text: &str) -> Event {
    Event::new().data(text).unwrap()
}

#[tokio::test]
async fn requests_behind_one_another_are_answered_in_order() {
    let (mut client, mut opened) = connect(64 * 1024);
    let requests = [POST, STREAM, HELLO, STREAM, POST].concat();
    client.write_all(requests.as_bytes()).await.unwrap();
    read_until(&mut client, "some!").await;
    for text in ["one", "two"] {
        let mut events = within("a stream", opened.recv()).await.unwrap();
        let head = read_until(&mut client, "\r\n\r\n")
            .await
            .to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
        for line in [
            "content-type: text/event-stream",
            "transfer-encoding: chunked",
            "date: ",
        ] {
            assert!(head.contains(&format!("\r\n{line}")), "{head}");
        }
        events.send(event(text)).await.unwrap();
        let expected = format!("b\r\ndata: {text}\n\n\r\n");
        assert_eq!(read_until(&mut client, &expected).await, expected);
        drop(events);
        assert_eq!(read_until(&mut client, "0\r\n\r\n").await, "0\r\n\r\n");
        if text == "one" {
            read_until(&mut client, "\r\n\r\nhello").await;
        }
    }
    read_until(&mut client, "\r\n\r\nsome!").await;
}

#[tokio::test]
async fn requests_come_byte_by_byte() {
    let (mut client, mut opened) = connect(1);
    for _ in 0..2 {
        for (request, end) in [(POST, "some!"), (HELLO, "hello"), (STREAM, "0\r\n\r\n")] {
            for byte in request.as_bytes() {
                client.write_u8(*byte).await.unwrap();
                tokio::task::yield_now().await;
            }
            if request == STREAM {
                drop(within("a stream", opened.recv()).await);
            }
            read_until(&mut client, end).await;
        }
    }
}

#[tokio::test]
async fn http2_comes_byte_by_byte() {
    let (client, _opened) = connect(1);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://x/hello")
        .body(String::new())
        .unwrap();
    let response = within("a response", sender.send_request(request))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_connection_is_used_again_after_every_kind_of_response() {
    let (mut client, _opened) = connect(1024);
    let options =
        "HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nconnection: keep-alive\r\n\r\n";
    for _ in 0..2 {
        client
            .write_all(format!("GET /nothing {options}").as_bytes())
            .await
            .unwrap();
        let head = read_until(&mut client, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 204 No Content\r\n"), "{head}");
        assert!(!head.contains("content-length"), "{head}");

        client
            .write_all(format!("GET /long {options}").as_bytes())
            .await
            .unwrap();
        let head = read_until(&mut client, "\r\n\r\n").await;
        assert!(head.contains("\r\ncontent-length: 300000\r\n"), "{head}");
        let mut body = vec![0; 300_000];
        within("the body", client.read_exact(&mut body))
            .await
            .unwrap();
        assert!(body.iter().all(|byte| *byte == b'x'));

        let poll = "GET /rt?transport=longpoll&cursor=0 HTTP/1.1\r\nhost: x\r\nswitchback-connection: no\r\n\r\n";
        client.write_all(poll.as_bytes()).await.unwrap();
        let head = read_until(&mut client, "}").await;
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    }
    client
        .write_all(format!("GET /last {options}").as_bytes())
        .await
        .unwrap();
    let last = read_to_end(&mut client).await;
    assert!(last.contains("\r\nconnection: close\r\n"), "{last}");
    assert!(last.ends_with("\r\n\r\nbye"), "{last}");
}

#[tokio::test]
async fn a_stream_that_ends_with_the_connection() {
    for request in [
        "GET /stream HTTP/1.0\r\naccept: text/event-stream\r\n\r\n",
        "GET /stream HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nconnection: close\r\n\r\n",
    ] {
        let (mut client, mut opened) = connect(1024);
        client.write_all(request.as_bytes()).await.unwrap();
        let mut events = within("a stream", opened.recv()).await.unwrap();
        events.send(event("x")).await.unwrap();
        drop(events);
        let all = read_to_end(&mut client).await;
        assert!(all.contains("data: x\n\n"), "{all}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_stream() {
    let (mut client, mut opened) = connect(1024);
    client.write_all(STREAM.as_bytes()).await.unwrap();
    let mut events = within("a stream", opened.recv()).await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    assert!(!events.is_closed());
    drop(client);
    within("the end", events.closed()).await;
}

#[tokio::test]
async fn a_body_that_nobody_read_is_no_request() {
    let (mut client, _opened) = connect(1 << 20);
    let padding = " ".repeat(100_000);
    let request = format!(
        "POST /headers HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{HELLO}{padding}",
        HELLO.len() + padding.len() + 1
    );
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let all = read_to_end(&mut client).await;
    assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{all}");
    assert!(!all.contains("hello"), "{all}");
}

/// A client on a real socket, of `serve` or of hyper alone, and the senders of its event streams.
async fn connect_socket(to_hyper: bool) -> (TcpStream, mpsc::Receiver<EventSender>) {
    let (app, opened) = app();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    if to_hyper {
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
            // An error where the client goes away.
            let _ = connection.await;
        });
    } else {
        tokio::spawn(switchback::serve(listener, app));
    }
    (TcpStream::connect(addr).await.unwrap(), opened)
}

#[tokio::test]
async fn a_client_that_sends_no_more_is_answered_as_by_hyper() {
    for to_hyper in [true, false] {
        let (mut client, mut opened) = connect_socket(to_hyper).await;
        // hyper gives up the very last, behind which there is nothing but the end.
        let requests = [STREAM, HELLO, STREAM, HELLO, HELLO].concat();
        client.write_all(requests.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        for text in ["one", "two"] {
            let mut events = within("a stream", opened.recv()).await.unwrap();
            read_until(&mut client, "\r\n\r\n").await;
            events.send(event(text)).await.unwrap();
            let sent = read_until(&mut client, &format!("data: {text}\n\n\r\n")).await;
            assert!(sent.eq_ignore_ascii_case(&format!("b\r\ndata: {text}\n\n\r\n")));
            drop(events);
            read_until(&mut client, "\r\n\r\nhello").await;
        }
        read_to_end(&mut client).await;

        // One that waits for nothing else is gone.
        let (mut client, mut opened) = connect_socket(to_hyper).await;
        client.write_all(STREAM.as_bytes()).await.unwrap();
        let mut events = within("a stream", opened.recv()).await.unwrap();
        client.shutdown().await.unwrap();
        within("the end", events.closed()).await;
    }
}

/// More than hyper is kept for: the others begin anew with each request.
#[tokio::test]
async fn a_crowd_is_served_as_well() {
    let mut clients: Vec<_> = (0..300).map(|_| connect(1024).0).collect();
    for _ in 0..2 {
        for (request, end) in [(POST, "some!"), (HELLO, "hello")] {
            for client in &mut clients {
                client.write_all(request.as_bytes()).await.unwrap();
            }
            for client in &mut clients {
                read_until(client, end).await;
            }
        }
    }
}

/// In time that stands still while there is something to do, so that it is exact.
#[tokio::test(start_paused = true)]
async fn slow_and_idle_connections_are_closed() {
    let (seconds_15, seconds_75) = (Duration::from_secs(15), Duration::from_secs(75));
    // (Request, what its response ends with, the beginning of another request, closed after)
    for (request, response, beginning, expected) in [
        ("", "", "", seconds_15),
        ("", "", "P", seconds_15),
        ("", "", "GET /hello HT", seconds_15),
        (HELLO, "hello", "", seconds_75),
        (POST, "some!", "GET /hello HT", seconds_15),
    ] {
        let (mut client, _opened) = connect(1024);
        client.write_all(request.as_bytes()).await.unwrap();
        if !request.is_empty() {
            read_until(&mut client, response).await;
        }
        let begin = Instant::now();
        client.write_all(beginning.as_bytes()).await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap_or_default(), 0);
        let elapsed = begin.elapsed();
        // hyper is kept for a moment before the time begins.
        let late = elapsed.checked_sub(expected);
        assert!(
            late.is_some_and(|late| late < Duration::from_millis(300)),
            "{request:?} {beginning:?}: {elapsed:?}"
        );
    }
    // A stream is as long as it is, and does not count.
    let (mut client, mut opened) = connect(1024);
    client.write_all(STREAM.as_bytes()).await.unwrap();
    let events = opened.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    drop(events);
    let stream = read_until(&mut client, "0\r\n\r\n").await;
    assert!(stream.contains("\r\n:\n\n\r\n"), "{stream}");
    tokio::time::sleep(Duration::from_secs(74)).await;
    client.write_all(HELLO.as_bytes()).await.unwrap();
    read_until(&mut client, "\r\n\r\nhello").await;
}

/// hyper is dismissed in the middle of the next head, and in the middle of a poll.
#[tokio::test(start_paused = true)]
async fn pauses_lose_nothing() {
    let pauses = [0, 100, 249, 250, 251, 1000, 10_000].map(Duration::from_millis);
    for pause in pauses {
        let (mut client, _opened) = connect(1024);
        quick_posts(&mut client).await;
        for part in ["GET /he", "llo HTTP/1.1\r", "\nhost: x\r\n\r", "\n"] {
            client.write_all(part.as_bytes()).await.unwrap();
            tokio::time::sleep(pause / 4).await;
        }
        read_until(&mut client, "\r\n\r\nhello").await;
    }

    let (endpoint, mut incoming) = Endpoint::new(Config::new());
    let app = app().0.route("/poll", any_service(endpoint));
    let mut client = connect_to(app, 1024);
    let open = "GET /poll?transport=longpoll HTTP/1.1\r\nhost: x\r\n\r\n";
    client.write_all(open.as_bytes()).await.unwrap();
    let head = read_until(&mut client, "\r\n\r\n").await;
    let id = head.split("switchback-connection: ").nth(1).unwrap();
    let id = id.split("\r\n").next().unwrap();
    let mut connection = within("a connection", incoming.accept()).await.unwrap();
    for (cursor, pause) in pauses.into_iter().enumerate() {
        let poll = format!(
            "GET /poll?transport=longpoll&cursor={cursor} HTTP/1.1\r\nhost: x\r\n\
             switchback-connection: {id}\r\n\r\n"
        );
        quick_posts(&mut client).await;
        client.write_all(poll.as_bytes()).await.unwrap();
        tokio::time::sleep(pause).await;
        connection.send(format!("message {cursor}")).await.unwrap();

        read_until(&mut client, &format!("message {cursor}")).await;
    }
}
