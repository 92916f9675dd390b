//! The client of the duplex transport with a server that does as it is told.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::{Duration, Instant};

use http::{HeaderValue, header};
use support::origin::{Asked, Origin};
use support::soon;
use switchback_sse::{
    ClientConfig, CloseCode, CloseReason, Error, ErrorKind, Limits, SseClient, Transport,
    TransportExt,
};

/// A client and the connection that its event stream comes from, behind the hello.
async fn scripted(origin: &Origin, config: &ClientConfig) -> (SseClient, Asked) {
    let url = origin.url("/rt?a=b");
    let server = async {
        let mut asked = origin.asked().await;
        asked.stream_begins().await;
        asked
            .says(b":\n\nevent: switchback\ndata: {\"connection\":\"abc\",\"later\":1}\n\n")
            .await;
        asked
    };
    let (client, asked) = tokio::join!(SseClient::connect(&url, config), server);
    (client.unwrap(), asked)
}

/// What `connect` says to an answer.
async fn refused(answer: &str, stream: &str) -> Error {
    let origin = Origin::start().await;
    let server = async {
        let mut asked = origin.asked().await;
        asked
            .says(format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n{stream}").as_bytes())
            .await;
    };
    let url = origin.url("/rt");
    let config = ClientConfig::new();
    let (client, ()) = tokio::join!(soon(SseClient::connect(&url, &config)), server);
    client.unwrap_err()
}

#[tokio::test]
async fn the_requests_are_as_the_protocol_says() {
    let origin = Origin::start().await;
    let config = ClientConfig::new()
        .header(header::AUTHORIZATION, HeaderValue::from_static("bearer x"))
        .header(
            "switchback-session".parse().unwrap(),
            HeaderValue::from_static("1.new"),
        );
    let (mut client, get) = scripted(&origin, &config).await;
    assert!(
        get.head
            .starts_with("get /rt?a=b&transport=sse http/1.1\r\n"),
        "{}",
        get.head
    );
    assert_eq!(get.header("accept"), Some("text/event-stream"));
    assert_eq!(get.header("switchback-session"), Some("1.new"));
    assert_eq!(get.header("authorization"), Some("bearer x"));
    assert!(client.info().peer_addr().unwrap().ip().is_loopback());

    let server = async {
        let mut post = origin.asked().await;
        let answer = br#"{"received":1}"#;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            answer.len()
        );
        post.says(head.as_bytes()).await;
        post.says(answer).await;
        let delete = origin.asked().await;
        let heads = (post.head.clone(), delete.head.clone());
        delete.refuses("204 No Content").await;
        heads
    };
    let client = async {
        soon(client.send("x")).await.unwrap();
        soon(client.close(CloseReason::new(CloseCode::GOING_AWAY, "a b")))
            .await
            .unwrap();
    };
    let ((post, delete), ()) = tokio::join!(server, client);
    assert!(
        post.starts_with("post /rt?a=b&transport=sse&first=1 http/1.1\r\n"),
        "{post}"
    );
    assert!(
        delete.starts_with("delete /rt?a=b&transport=sse&code=1001&reason=a%20b "),
        "{delete}"
    );
    for head in [&post, &delete] {
        assert_eq!(
            support::origin::header(head, "switchback-connection"),
            Some("abc")
        );
        assert_eq!(
            support::origin::header(head, "authorization"),
            Some("bearer x")
        );
        assert_eq!(support::origin::header(head, "switchback-session"), None);
    }
    // The stream is given up with the close.
    get.closed().await;
}

#[tokio::test]
async fn what_is_no_switchback_server_is_told_apart() {
    let sse = "200 OK\r\nContent-Type: text/event-stream";
    for (answer, stream, kind) in [
        ("404 Not Found", "a page", ErrorKind::Unknown),
        (
            "503 X\r\nContent-Type: application/json",
            r#"{"error":"unavailable","message":"full"}"#,
            ErrorKind::Refused,
        ),
        ("302 X\r\nLocation: /", "", ErrorKind::Refused),
        (
            "200 OK\r\nContent-Type: text/html",
            "a page",
            ErrorKind::Protocol,
        ),
        ("200 OK", "", ErrorKind::Protocol),
        (sse, "", ErrorKind::Reset),
        (
            sse,
            "event: switchback\ndata: {\"connection\":\"abc\"}\n",
            ErrorKind::Reset,
        ),
        (sse, "data: hello\n\n", ErrorKind::Protocol),
        (
            sse,
            "event: switchback\ndata: {\"close\":{\"code\":1000,\"reason\":\"\"}}\n\n",
            ErrorKind::Protocol,
        ),
        (
            sse,
            "event: switchback\ndata: {\"connection\":\"a\tb\"}\n\n",
            ErrorKind::Protocol,
        ),
    ] {
        let error = refused(answer, stream).await;
        assert_eq!(error.kind(), kind, "{answer} {stream}: {error}");
    }
    let error = refused("503 X", r#"{"error":"unavailable","message":"try later"}"#).await;
    assert!(error.to_string().contains("try later"), "{error}");
}

#[tokio::test]
async fn a_handshake_takes_no_longer_than_its_timeout() {
    let origin = Origin::start().await;
    let url = origin.url("/rt");
    let limits = Limits::new().handshake_timeout(Duration::from_millis(500));
    let config = ClientConfig::new().limits(limits);
    for with_head in [false, true] {
        let server = async {
            let mut asked = origin.asked().await;
            if with_head {
                asked.stream_begins().await;
            }
            asked.closed().await;
        };
        let (client, ()) = tokio::join!(soon(SseClient::connect(&url, &config)), server);
        assert!(client.unwrap_err().is_timeout());
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_within_an_event_loses_only_that() {
    let origin = Origin::start().await;
    for rest in [
        "",
        "data: lost",
        "data: lost\n",
        "event: binary\ndata: AA==\n",
    ] {
        let (mut client, mut get) = scripted(&origin, &ClientConfig::new()).await;
        get.says(format!("data: whole\n\n{rest}").as_bytes()).await;
        drop(get);
        assert_eq!(soon(client.recv()).await.unwrap(), Some("whole".into()));
        for _ in 0..2 {
            let error = soon(client.recv()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Reset);
        }
        assert_eq!(client.close_reason(), None);
        assert!(soon(client.send("too late")).await.is_err());
        soon(client.close(CloseCode::NORMAL)).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_malformed_ends_the_connection() {
    let origin = Origin::start().await;
    let config = ClientConfig::new().limits(Limits::new().max_message_size(5000));
    for (stream, kind) in [
        (b"event: binary\ndata: A\n\n".to_vec(), ErrorKind::Protocol),
        (
            b"event: text\ndata: /w==\n\n".to_vec(),
            ErrorKind::InvalidUtf8,
        ),
        (b"data: \xff\n\n".to_vec(), ErrorKind::InvalidUtf8),
        (
            b"event: switchback\ndata: {\"connection\":\"again\"}\n\n".to_vec(),
            ErrorKind::Protocol,
        ),
        (
            b"event: switchback\ndata: {\"close\":{\"code\":1}}\n\n".to_vec(),
            ErrorKind::Protocol,
        ),
        (
            format!("data: {}\n\n", "x".repeat(5001)).into(),
            ErrorKind::TooLarge,
        ),
        (
            [b"data: ".to_vec(), vec![b'x'; 100_000]].concat(),
            ErrorKind::TooLarge,
        ),
    ] {
        let (mut client, mut get) = scripted(&origin, &config).await;
        get.says(b"event: news\ndata: not known\n\n: comment\n\n")
            .await;
        get.says(format!("data: {}\n\n", "x".repeat(5000)).as_bytes())
            .await;
        get.says(&stream).await;
        assert_eq!(soon(client.recv()).await.unwrap().unwrap().len(), 5000);
        for _ in 0..2 {
            let error = soon(client.recv()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{stream:?}");
        }
        // It has hung up.
        get.closed().await;
    }
}

#[tokio::test]
async fn silence_is_a_cut() {
    let origin = Origin::start().await;
    let config = ClientConfig::new().silence_timeout(Duration::from_millis(800));
    let (mut client, mut get) = scripted(&origin, &config).await;
    let begin = Instant::now();
    let (received, ()) = tokio::join!(soon(client.recv()), async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            get.says(b":\n\n").await;
        }
    });
    assert!(received.unwrap_err().is_timeout());
    assert!(begin.elapsed() >= Duration::from_millis(1800));
}

#[tokio::test]
async fn a_post_that_is_refused_ends_the_connection_unless_the_stream_says_more() {
    let origin = Origin::start().await;
    let limits = Limits::new().close_timeout(Duration::from_secs(1));
    let config = ClientConfig::new().limits(limits);
    let close = "event: switchback\ndata: {\"close\":{\"code\":1001,\"reason\":\"bye\"}}\n\n";
    for (said, cut, expected) in [
        ("", false, Err(ErrorKind::Unknown)),
        ("", true, Err(ErrorKind::Unknown)),
        (close, true, Ok(CloseCode::GOING_AWAY)),
    ] {
        let (mut client, mut get) = scripted(&origin, &config).await;
        let (sent, ()) = tokio::join!(soon(client.send("x")), async {
            origin.asked().await.refuses("404 Not Found").await;
        });
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::Unknown);
        get.says(said.as_bytes()).await;
        let get = (!cut).then_some(get);
        match (soon(client.recv()).await, expected) {
            (Ok(None), Ok(code)) => assert_eq!(client.close_reason().unwrap().code(), code),
            (Err(error), Err(kind)) => assert_eq!(error.kind(), kind),
            (received, expected) => panic!("{received:?} where {expected:?} was expected"),
        }
        drop(get);
    }
}
