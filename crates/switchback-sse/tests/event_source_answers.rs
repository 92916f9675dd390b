//! What the event source makes of the answers to its request (WHATWG HTML, 9.2.3).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;

use http::{HeaderValue, header};
use support::origin::{Origin, header as header_of};
use support::soon;
use switchback_sse::{ErrorKind, EventSource, EventSourceConfig, MessageEvent, ReadyState};

/// Reconnects at once.
fn eager() -> EventSourceConfig {
    EventSourceConfig::new().reconnection_time(Duration::ZERO)
}

async fn next(source: &mut EventSource) -> MessageEvent {
    soon(source.next()).await.unwrap().unwrap()
}

async fn fails(source: &mut EventSource) -> ErrorKind {
    let error = soon(source.next()).await.unwrap_err();
    assert_eq!(source.ready_state(), ReadyState::Closed);
    assert!(soon(source.next()).await.unwrap().is_none());
    error.kind()
}

#[tokio::test]
async fn a_204_is_enough() {
    let origin = Origin::start().await;
    let mut source = EventSource::connect(&origin.url("/"), &eager());
    let server = async {
        origin.answers(b"data: a\n\n").await;
        origin.asked().await.refuses("204 No Content").await;
    };
    let client = async {
        assert_eq!(next(&mut source).await.data(), "a");
        for _ in 0..2 {
            assert!(soon(source.next()).await.unwrap().is_none());
        }
        assert_eq!(source.ready_state(), ReadyState::Closed);
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn other_answers_are_final() {
    let origin = Origin::start().await;
    for (answer, kind) in [
        (
            "500 Oh\r\nContent-Type: text/event-stream",
            ErrorKind::Refused,
        ),
        ("404 Not Found", ErrorKind::Unknown),
        (
            "201 Created\r\nContent-Type: text/event-stream",
            ErrorKind::Protocol,
        ),
        ("200 OK", ErrorKind::Protocol),
        ("200 OK\r\nContent-Type: text/html", ErrorKind::Protocol),
        (
            "200 OK\r\nContent-Type: text/event-streams",
            ErrorKind::Protocol,
        ),
        ("302 Found", ErrorKind::Refused),
        (
            "302 Found\r\nLocation: ftp://a.example/",
            ErrorKind::Refused,
        ),
        ("304 Not Modified", ErrorKind::Refused),
        ("305 Use Proxy\r\nLocation: /x", ErrorKind::Refused),
    ] {
        let mut source = EventSource::connect(&origin.url("/"), &eager());
        let (asked, failed) = tokio::join!(
            async { origin.asked().await.refuses(answer).await },
            fails(&mut source)
        );
        let () = asked;
        assert_eq!(failed, kind, "{answer}");
    }
}

#[tokio::test]
async fn the_content_type_is_compared_without_parameters() {
    let origin = Origin::start().await;
    for content_type in ["Text/Event-Stream", "text/event-stream ; charset=latin-1"] {
        let mut source = EventSource::connect(&origin.url("/"), &eager());
        let server = async {
            let mut asked = origin.asked().await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\r\n");
            asked.says(head.as_bytes()).await;
            asked.says("data: é\n\n".as_bytes()).await;
        };
        let ((), event) = tokio::join!(server, next(&mut source));
        assert_eq!(event.data(), "é");
    }
}

#[tokio::test]
async fn redirects_are_followed_from_the_first_url_every_time() {
    let origin = Origin::start().await;
    let other = Origin::start().await;
    for status in [301, 302, 303, 307, 308] {
        let config = eager()
            .header(header::AUTHORIZATION, HeaderValue::from_static("x"))
            .header(header::COOKIE, HeaderValue::from_static("y"))
            .header(header::USER_AGENT, HeaderValue::from_static("z"));
        let mut source = EventSource::connect(&origin.url("/a/b"), &config);
        let server = async {
            for _ in 0..2 {
                let asked = origin.asked().await;
                assert!(asked.head.starts_with("get /a/b http"), "{}", asked.head);
                asked.refuses(&format!("{status} X\r\nLocation: c?d")).await;
                let asked = origin.asked().await;
                assert!(asked.head.starts_with("get /a/c?d http"), "{}", asked.head);
                assert_eq!(asked.header("authorization"), Some("x"));
                let location = format!(
                    "{status} X\r\nLocation: http://{}/e#f",
                    other.url("/").authority()
                );
                asked.refuses(&location).await;
                let head = other.answers(b"data: x\n\n").await;
                assert!(head.starts_with("get /e http"), "{head}");
                // Credentials stay with the origin that they are for.
                assert_eq!(header_of(&head, "authorization"), None);
                assert_eq!(header_of(&head, "cookie"), None);
                assert_eq!(header_of(&head, "user-agent"), Some("z"));
            }
        };
        let client = async {
            next(&mut source).await;
            next(&mut source).await;
        };
        tokio::join!(server, client);
    }
}

#[tokio::test]
async fn redirects_have_an_end() {
    let origin = Origin::start().await;
    let mut source = EventSource::connect(&origin.url("/"), &eager().max_redirects(2));
    let server = async {
        for _ in 0..3 {
            origin.asked().await.refuses("302 X\r\nLocation: /").await;
        }
    };
    let ((), failed) = tokio::join!(server, fails(&mut source));
    assert_eq!(failed, ErrorKind::Refused);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_server_that_tls_does_not_trust_is_final() {
    let origin = Origin::start().await;
    let url = format!("https://{}/", origin.url("/").authority());
    let mut source = EventSource::connect(&url.parse().unwrap(), &eager());
    // What comes in the place of a TLS handshake.
    let ((), failed) = tokio::join!(
        origin.greets(b"HTTP/1.1 400 No\r\n\r\n"),
        fails(&mut source)
    );
    assert_eq!(failed, ErrorKind::Tls);
}

#[tokio::test]
async fn a_response_that_does_not_begin_is_given_up() {
    let origin = Origin::start().await;
    let config = eager().response_timeout(Duration::from_millis(500));
    let mut source = EventSource::connect(&origin.url("/"), &config);
    let server = async {
        origin.asked().await.closed().await;
        origin.answers(b"data: b\n\n").await;
    };
    let ((), event) = tokio::join!(server, next(&mut source));
    assert_eq!(event.data(), "b");
    assert_eq!(source.last_error().unwrap().kind(), ErrorKind::TimedOut);
}
