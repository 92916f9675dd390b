//! The event source: events, ids, reconnections (WHATWG HTML, 9.2.2, 9.2.3 and 9.2.6), against a
//! server that does as it is told.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_core::Stream;
use http::{HeaderValue, header};
use support::origin::{Origin, header as header_of};
use support::{serve, soon};
use switchback_sse::{
    ErrorKind, Event, EventLimits, EventSource, EventSourceConfig, EventStream, MessageEvent,
    ReadyState,
};

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
async fn it_asks_for_an_event_stream() {
    let origin = Origin::start().await;
    let config = eager().header(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    assert!(!format!("{config:?}").contains("Bearer"));
    let mut source = EventSource::connect(&origin.url("/a?b=c"), &config);
    assert_eq!(source.ready_state(), ReadyState::Connecting);
    let (head, event) = tokio::join!(origin.answers(b"data: x\n\n"), next(&mut source));
    assert_eq!(event.data(), "x");
    assert_eq!(source.ready_state(), ReadyState::Open);
    assert!(head.starts_with("get /a?b=c http/1.1\r\n"), "{head}");
    assert_eq!(header_of(&head, "accept"), Some("text/event-stream"));
    assert_eq!(header_of(&head, "cache-control"), Some("no-cache"));
    assert_eq!(header_of(&head, "authorization"), Some("bearer x"));
    assert_eq!(header_of(&head, "last-event-id"), None);
}

#[tokio::test]
async fn it_comes_back_with_the_last_event_id() {
    let origin = Origin::start().await;
    let config = eager().last_event_id("before");
    let mut source = EventSource::connect(&origin.url("/"), &config);
    let server = async {
        let mut seen = Vec::new();
        for stream in [
            // The event that is not finished is dropped, and so is its id.
            "id: 1\ndata: a\n\nid: 2\ndata: lost",
            "data: b\n\n",
            "id: é\n\n",
            "id\ndata: c\n\n",
            "id: \u{1}\ndata: d\n\n",
            "data: e\n\n",
        ] {
            let head = origin.answers(stream.as_bytes()).await;
            seen.push(header_of(&head, "last-event-id").map(str::to_owned));
        }
        seen
    };
    let client = async {
        let mut events = Vec::new();
        for _ in 0..5 {
            let event = next(&mut source).await;
            events.push((event.data().to_owned(), event.last_event_id().to_owned()));
        }
        events
    };
    let (seen, events) = tokio::join!(server, client);
    let seen: Vec<_> = seen.iter().map(Option::as_deref).collect();
    assert_eq!(
        seen,
        [Some("before"), Some("1"), Some("1"), Some("é"), None, None]
    );
    let expected = [
        ("a", "1"),
        ("b", "1"),
        ("c", ""),
        ("d", "\u{1}"),
        ("e", "\u{1}"),
    ];
    let expected = expected.map(|(data, id)| (data.to_owned(), id.to_owned()));
    assert_eq!(events, expected);
}

#[tokio::test]
async fn the_server_sets_the_reconnection_time() {
    let origin = Origin::start().await;
    // Longer than the test would wait.
    let config = EventSourceConfig::new().reconnection_time(Duration::from_secs(3600));
    let mut source = EventSource::connect(&origin.url("/"), &config);
    let server = async {
        origin.answers(b"retry: 200\ndata: a\n\n").await;
        let ended = Instant::now();
        origin.answers(b"data: b\n\n").await;
        ended.elapsed()
    };
    let client = async {
        assert_eq!(next(&mut source).await.data(), "a");
        assert_eq!(next(&mut source).await.data(), "b");
    };
    let (waited, ()) = tokio::join!(server, client);
    assert!(waited >= Duration::from_millis(200), "{waited:?}");
}

#[tokio::test]
async fn the_reconnection_time_has_a_cap() {
    let origin = Origin::start().await;
    let config = eager().max_reconnection_time(Duration::from_millis(10));
    let mut source = EventSource::connect(&origin.url("/"), &config);
    let server = async {
        origin
            .answers(b"retry: 99999999999999999999\ndata: a\n\n")
            .await;
        origin.answers(b"data: b\n\n").await;
    };
    let client = async {
        assert_eq!(next(&mut source).await.data(), "a");
        assert_eq!(next(&mut source).await.data(), "b");
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn what_is_cut_is_connected_again() {
    let origin = Origin::start().await;
    let mut source = EventSource::connect(&origin.url("/"), &eager());
    let server = async {
        // Before the head, and within a chunk.
        drop(origin.asked().await);
        let mut asked = origin.asked().await;
        asked
            .says(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        asked.says(b"9\r\ndata: a\n\n\r\nff\r\ndata: cut").await;
        drop(asked);
        origin.answers(b"data: b\n\n").await;
    };
    let client = async {
        assert_eq!(next(&mut source).await.data(), "a");
        let why = source.last_error().unwrap().kind();
        assert_eq!(why, ErrorKind::Reset);
        assert_eq!(next(&mut source).await.data(), "b");
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    // A port that was free a moment ago.
    let origin = Origin::start().await;
    let url = origin.url("/");
    drop(origin);
    let mut source = EventSource::connect(&url, &eager());
    let refused = async {
        while source.last_error().is_none() {
            let once = std::future::poll_fn(|cx| std::task::Poll::Ready(source.poll_event(cx)));
            assert!(once.await.is_pending());
            tokio::task::yield_now().await;
        }
    };
    soon(refused).await;
    assert_eq!(source.last_error().unwrap().kind(), ErrorKind::Refused);
    assert_eq!(source.ready_state(), ReadyState::Connecting);
}

#[tokio::test]
async fn an_event_over_the_limit_is_final() {
    let origin = Origin::start().await;
    let config = eager().limits(EventLimits::new().max_data(10));
    let mut source = EventSource::connect(&origin.url("/"), &config);
    let client = async {
        assert_eq!(next(&mut source).await.data(), "0123456789");
        fails(&mut source).await
    };
    let (_, failed) = tokio::join!(
        origin.answers(b"data: 0123456789\n\ndata: 0123456789x\n\n"),
        client
    );
    assert_eq!(failed, ErrorKind::TooLarge);
}

#[tokio::test]
async fn silence_ends_a_connection_and_comments_break_it() {
    let origin = Origin::start().await;
    let config = eager().silence_timeout(Duration::from_millis(800));
    let mut source = EventSource::connect(&origin.url("/"), &config);
    let server = async {
        let mut asked = origin.asked().await;
        asked.stream_begins().await;
        let begin = Instant::now();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            asked.says(b":\n").await;
        }
        asked.closed().await;
        let lasted = begin.elapsed();
        origin.answers(b"data: b\n\n").await;
        lasted
    };
    let (lasted, event) = tokio::join!(server, next(&mut source));
    assert!(lasted >= Duration::from_millis(1800), "{lasted:?}");
    assert_eq!(event.data(), "b");
    assert_eq!(source.last_error().unwrap().kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_receive_that_is_dropped_loses_nothing() {
    let origin = Origin::start().await;
    let mut source = EventSource::connect(&origin.url("/"), &eager());
    let server = async {
        let mut asked = origin.asked().await;
        asked.stream_begins().await;
        for number in 0..50 {
            for byte in format!("data: {number}\n\n").bytes() {
                asked.says(&[byte]).await;
                tokio::task::yield_now().await;
            }
        }
    };
    let client = async {
        let mut number = 0;
        while number < 50 {
            tokio::select! {
                biased;
                event = source.next() => {
                    assert_eq!(event.unwrap().unwrap().data(), number.to_string());
                    number += 1;
                }
                () = tokio::task::yield_now() => {}
            }
        }
    };
    tokio::join!(server, soon(client));
}

#[tokio::test]
async fn it_is_a_stream() {
    let origin = Origin::start().await;
    let mut source = EventSource::connect(&origin.url("/"), &eager());
    let server = async {
        origin.answers(b"data: a\n\ndata: b\n\n").await;
        origin.asked().await.refuses("500 X").await;
    };
    let client = async {
        let mut seen = Vec::new();
        while let Some(event) = soon(std::future::poll_fn(|cx| {
            Pin::new(&mut source).poll_next(cx)
        }))
        .await
        {
            seen.push(event.map_or("error".to_owned(), |event| event.data().to_owned()));
        }
        seen
    };
    let ((), seen) = tokio::join!(server, client);
    assert_eq!(seen, ["a", "b", "error"]);
}

#[tokio::test]
async fn data_arrives_bit_for_bit_from_our_own_server() {
    let texts: Vec<String> = [
        "",
        "\n",
        " ",
        "  two",
        "trailing\n",
        "\n\n",
        "\0",
        "\u{feff}",
        ":",
        "a\nb",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([("x".repeat(99) + "\n").repeat(10_000), "😀".repeat(1 << 18)])
    .collect();
    let sent = texts.clone();
    let addr = serve(move |_, _| {
        let sent = sent.clone();
        async move {
            EventStream::new().respond(async_stream::stream! {
                for text in sent {
                    yield Event::new().data(text).unwrap();
                }
            })
        }
    })
    .await;
    let url = format!("http://{addr}/").parse().unwrap();
    let mut source = EventSource::connect(&url, &eager());
    for text in &texts {
        assert_eq!(next(&mut source).await.data(), text);
    }
    source.close();
    assert_eq!(source.ready_state(), ReadyState::Closed);
    assert!(soon(source.next()).await.unwrap().is_none());
}
