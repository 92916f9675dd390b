//! A scripted server written from `docs/protocol.md` alone, against the client.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::{raw, soon};
use switchback_longpoll::{
    ClientConfig, Error, ErrorKind, Limits, LongPollClient, Message, Transport, TransportExt,
};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// What the server does with the next request, whichever connection it comes on.
enum Step {
    /// Answers and keeps the connection.
    Answer(String),
    /// Sends these bytes and cuts the connection.
    Cut(String),
    /// Never answers.
    Hang,
}

fn batch(body: &str) -> Step {
    Step::Answer(response("200 OK", "application/x-switchback-batch", body))
}

fn refusal(status: &str, body: &str) -> Step {
    Step::Answer(response(status, "application/json", body))
}

fn opened(body: &str) -> Step {
    Step::Answer(response(
        "200 OK",
        "application/x-switchback-batch\r\nSwitchback-Connection: the-id",
        body,
    ))
}

fn response(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The first lines and connection ids of the requests that came, and the session that they name.
type Log = Arc<Mutex<Vec<String>>>;

async fn serve(script: Vec<Step>) -> (SocketAddr, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let log = Log::default();
    let script = Arc::new(Mutex::new(script.into_iter()));
    let seen = log.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (script, seen) = (script.clone(), seen.clone());
            tokio::spawn(async move {
                let mut socket = BufReader::new(socket);
                while let Some(request) = raw::read(&mut socket).await {
                    let id = request.header("Switchback-Connection").unwrap_or("-");
                    let line = request.line.replace(" HTTP/1.1", "");
                    let mut entry = format!("{line} {id}");
                    if let Some(session) = request.header("Switchback-Session") {
                        entry = format!("{entry} as {session}");
                    }
                    seen.lock().unwrap().push(entry);
                    let step = script.lock().unwrap().next();
                    match step {
                        Some(Step::Answer(bytes)) => {
                            socket.write_all(bytes.as_bytes()).await.unwrap();
                        }
                        Some(Step::Cut(bytes)) => {
                            socket.write_all(bytes.as_bytes()).await.unwrap();
                            return;
                        }
                        Some(Step::Hang) | None => std::future::pending().await,
                    }
                }
            });
        }
    });
    (addr, log)
}

async fn connect(addr: SocketAddr) -> Result<LongPollClient, Error> {
    connect_with(addr, ClientConfig::new()).await
}

async fn connect_with(addr: SocketAddr, config: ClientConfig) -> Result<LongPollClient, Error> {
    let url = format!("http://{addr}/rt?app=x").parse().unwrap();
    soon(LongPollClient::connect(&url, &config)).await
}

async fn texts(client: &mut LongPollClient, expected: &[&str]) {
    for text in expected {
        let received = soon(client.recv()).await.unwrap();
        assert_eq!(received, Some(Message::text(*text)));
    }
}

#[tokio::test]
async fn polls_acknowledge_and_a_lost_response_is_asked_for_again() {
    let cut = response("200 OK", "application/x-switchback-batch", "t1:ct1:d");
    let (addr, log) = serve(vec![
        opened("t1:a"),
        batch("t1:b"),
        // Cut in the body, in the head, and before the response.
        Step::Cut(cut[..cut.len() - 2].to_owned()),
        Step::Cut(cut[..20].to_owned()),
        Step::Cut(String::new()),
        batch("t1:ct1:d"),
        batch(""),
        refusal(
            "410 Gone",
            r#"{"error":"closed","message":"m","code":1001,"reason":"r"}"#,
        ),
    ])
    .await;
    let mut client = connect(addr).await.unwrap();
    assert_eq!(client.info().peer_addr(), Some(addr));
    texts(&mut client, &["a", "b", "c", "d"]).await;
    assert_eq!(client.close_reason(), None);
    for _ in 0..2 {
        assert_eq!(soon(client.recv()).await.unwrap(), None);
    }
    let why = client.close_reason().unwrap();
    assert_eq!((why.code().as_u16(), why.reason()), (1001, "r"));
    assert_eq!(
        client.send("late").await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    let poll = |cursor| format!("GET /rt?app=x&transport=longpoll&cursor={cursor} the-id");
    let mut log = log.lock().unwrap().clone();
    assert_eq!(log.remove(0), "GET /rt?app=x&transport=longpoll -");
    // A request on a reused connection that is cut without a byte of a response is repeated at
    // once, before anything here counts it as a failure: so the number of repeats is not fixed.
    log.dedup();
    assert_eq!(log, [poll(1), poll(2), poll(4)]);
}

#[tokio::test]
async fn refusals_of_a_poll() {
    for (status, body, kind) in [
        (
            "404 Not Found",
            r#"{"error":"unknown_connection"}"#,
            ErrorKind::Unknown,
        ),
        (
            "400 Bad Request",
            r#"{"error":"bad_cursor"}"#,
            ErrorKind::Protocol,
        ),
        ("410 Gone", "no JSON", ErrorKind::Closed),
        ("502 Bad Gateway", "<html>", ErrorKind::Refused),
        ("200 OK", "", ErrorKind::Protocol),
    ] {
        let (addr, _) = serve(vec![
            opened("t1:a"),
            refusal(status, body),
            // To the DELETE of a client that was told nonsense.
            refusal("204 No Content", ""),
        ])
        .await;
        let mut client = connect(addr).await.unwrap();
        texts(&mut client, &["a"]).await;
        for _ in 0..2 {
            let error = soon(client.recv()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{status}");
        }
        assert!(client.send("late").await.is_err(), "{status}");
        assert_eq!(client.close_reason(), None, "{status}");
    }
}

#[tokio::test]
async fn batches_that_cannot_be() {
    let limits = Limits::new()
        .max_message_size(8)
        .max_batch_bytes(16)
        .max_batch_messages(2);
    let long = format!("t100:{}", "x".repeat(100));
    for (body, kind, code) in [
        ("t5:abc", ErrorKind::Protocol, 1002),
        ("t1:aq", ErrorKind::Protocol, 1002),
        ("t9:abcdefghi", ErrorKind::TooLarge, 1009),
        ("t0:t0:t0:", ErrorKind::TooLarge, 1009),
        (&long, ErrorKind::TooLarge, 1009),
        // Half of a character.
        ("t1:é", ErrorKind::InvalidUtf8, 1007),
    ] {
        let (addr, log) = serve(vec![opened(""), batch(body), refusal("204 No Content", "")]).await;
        let config = ClientConfig::new().limits(limits.clone());
        let mut client = connect_with(addr, config).await.unwrap();
        for _ in 0..2 {
            let error = soon(client.recv()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{body}");
        }
        // The server was told.
        let last = log.lock().unwrap().last().cloned().unwrap();
        assert!(last.starts_with("DELETE "), "{last}");
        assert!(last.contains(&format!("&code={code}&")), "{last}");
    }
}

#[tokio::test]
async fn only_the_opening_request_names_the_session() {
    let received = response("200 OK", "application/json", r#"{"received":1}"#);
    let script = vec![opened(""), Step::Answer(received), batch("t1:a")];
    let (addr, log) = serve(script).await;
    let name = http::HeaderName::from_static("switchback-session");
    let config = ClientConfig::new().header(name, http::HeaderValue::from_static("hello"));
    let mut client = connect_with(addr, config).await.unwrap();
    soon(client.send("b")).await.unwrap();
    texts(&mut client, &["a"]).await;
    let log = log.lock().unwrap();
    assert!(log[0].ends_with(" - as hello"), "{log:?}");
    assert!(
        log[1].starts_with("POST ") && log[2].starts_with("GET "),
        "{log:?}"
    );
    assert!(
        log[1..].iter().all(|entry| !entry.contains(" as ")),
        "{log:?}"
    );
}

#[tokio::test]
async fn what_is_no_endpoint() {
    for (step, kind) in [
        (batch(""), ErrorKind::Protocol),
        (refusal("404 Not Found", "<html>"), ErrorKind::Unknown),
        (refusal("503 Service Unavailable", "{}"), ErrorKind::Refused),
        (Step::Cut("HTTP/1.1 200".into()), ErrorKind::Reset),
        (Step::Answer("SSH-2.0\r\n\r\n".into()), ErrorKind::Protocol),
    ] {
        let (addr, _) = serve(vec![step]).await;
        assert_eq!(connect(addr).await.unwrap_err().kind(), kind);
    }
    let (addr, _) = serve(vec![Step::Hang]).await;
    let limits = Limits::new().handshake_timeout(Duration::from_millis(50));
    let error = connect_with(addr, ClientConfig::new().limits(limits)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_poll_without_an_answer_is_repeated_and_so_is_a_superseded_one() {
    let (addr, log) = serve(vec![
        opened(""),
        Step::Hang,
        refusal("409 Conflict", r#"{"error":"superseded"}"#),
        batch("t1:a"),
    ])
    .await;
    let config = ClientConfig::new()
        .window(Duration::from_millis(50))
        .grace(Duration::from_millis(50));
    let mut client = connect_with(addr, config).await.unwrap();
    texts(&mut client, &["a"]).await;
    assert!(log.lock().unwrap().len() >= 4);
}

#[tokio::test]
async fn gives_up_in_the_end() {
    let (addr, _) = serve(vec![
        opened(""),
        Step::Cut(String::new()),
        Step::Cut(String::new()),
    ])
    .await;
    let config = ClientConfig::new().retry_for(Duration::ZERO);
    let mut client = connect_with(addr, config).await.unwrap();
    let error = soon(client.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reset);
    soon(client.close(switchback_longpoll::CloseReason::normal()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_wait_is_not_flooded() {
    let (addr, _) = serve(vec![opened(""), batch(""), batch(""), batch("t1:a")]).await;
    let mut client = connect(addr).await.unwrap();
    let begin = Instant::now();
    texts(&mut client, &["a"]).await;
    assert!(begin.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn what_the_server_sent_before_its_close_arrives_though_posts_are_refused() {
    let gone = r#"{"error":"closed","message":"m","code":1001,"reason":"r"}"#;
    let (addr, _) = serve(vec![
        opened("t1:a"),
        refusal("410 Gone", gone),
        batch("t1:b"),
        refusal("410 Gone", gone),
    ])
    .await;
    let mut client = connect(addr).await.unwrap();
    let error = soon(client.send("into the void")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    texts(&mut client, &["a", "b"]).await;
    assert_eq!(soon(client.recv()).await.unwrap(), None);
    assert_eq!(client.close_reason().unwrap().reason(), "r");
}
