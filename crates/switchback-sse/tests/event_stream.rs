//! Event streams for clients that know nothing of Switchback.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body;
use http_body_util::BodyExt;
use support::{Events, get, serve, soon, text};
use switchback_sse::{Error, ErrorKind, Event, EventStream, last_event_id};
use tokio::sync::mpsc;
use tokio::time::Instant;

fn data(text: &str) -> Event {
    Event::new().data(text).unwrap()
}

async fn chunk<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Option<Bytes>
where
    B::Error: std::fmt::Debug,
{
    Some(soon(body.frame()).await?.unwrap().into_data().unwrap())
}

#[tokio::test]
async fn the_headers_keep_proxies_from_buffering() {
    let (response, _events) = EventStream::new().channel();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "no-cache, no-transform");
    assert_eq!(header("x-accel-buffering"), "no");
}

#[tokio::test]
async fn everything_queued_is_one_chunk() {
    let (response, mut events) = EventStream::new().channel();
    let mut body = response.into_body();
    for number in 0..10 {
        events.try_send(data(&number.to_string())).unwrap();
    }
    let expected: String = (0..10).map(|n| format!("data: {n}\n\n")).collect();
    assert_eq!(chunk(&mut body).await.unwrap(), expected);
    drop(events);
    assert_eq!(chunk(&mut body).await, None);
}

#[tokio::test]
async fn large_events_are_not_copied() {
    let (response, mut events) = EventStream::new().queue_size(1 << 20).channel();
    let mut body = response.into_body();
    let large = data(&"x".repeat(100_000));
    for event in [data("1"), data("2"), large.clone(), data("3"), data("4")] {
        events.try_send(event).unwrap();
    }
    drop(events);
    assert_eq!(chunk(&mut body).await.unwrap(), "data: 1\n\ndata: 2\n\n");
    let whole = chunk(&mut body).await.unwrap();
    assert_eq!(whole.as_ptr(), large.encoded().as_ptr());
    assert_eq!(whole, large.encoded());
    assert_eq!(chunk(&mut body).await.unwrap(), "data: 3\n\ndata: 4\n\n");
    assert_eq!(chunk(&mut body).await, None);
}

#[tokio::test]
async fn a_full_queue_gives_the_event_back() {
    let (response, mut events) = EventStream::new().queue_size(200).channel();
    let mut body = response.into_body();
    let mut sent = 0;
    let error = loop {
        match events.try_send(data("x")) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 100, "the queue has no bound");
    };
    assert!(!error.is_closed());
    assert_eq!(error.to_string(), "the queue of the event stream is full");
    assert_eq!(error.into_event(), data("x"));

    // A send waits for room, and the one that gave up has sent nothing.
    let mut waiting = Box::pin(events.send(data("given up")));
    assert!(futures_poll(&mut waiting).await.is_none());
    drop(waiting);
    let (first, ()) = tokio::join!(chunk(&mut body), async {
        soon(events.send(data("y"))).await.unwrap();
    });
    let mut all = first.unwrap().to_vec();
    drop(events);
    while let Some(chunk) = chunk(&mut body).await {
        all.extend_from_slice(&chunk);
    }
    let expected = format!("{}data: y\n\n", "data: x\n\n".repeat(sent));
    assert_eq!(String::from_utf8(all).unwrap(), expected);
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn an_event_of_any_size_fits_into_an_empty_queue() {
    let (response, mut events) = EventStream::new().queue_size(0).channel();
    let mut body = response.into_body();
    let large = data(&"x".repeat(1 << 20));
    events.try_send(large.clone()).unwrap();
    assert!(events.try_send(data("y")).is_err());
    assert_eq!(chunk(&mut body).await.unwrap(), large.encoded());
    events.try_send(data("y")).unwrap();
}

#[tokio::test]
async fn a_body_that_is_dropped_closes_the_sender() {
    let (response, mut events) = EventStream::new().queue_size(0).channel();
    events.try_send(data("x")).unwrap();
    let waiting = tokio::spawn(async move {
        let error = events.send(data("y")).await.unwrap_err();
        (events, error)
    });
    tokio::task::yield_now().await;
    drop(response);
    let (mut events, error) = soon(waiting).await.unwrap();
    assert!(error.is_closed());
    assert_eq!(Error::from(error).kind(), ErrorKind::Reset);
    assert!(events.is_closed());
    soon(events.closed()).await;
    assert!(events.try_send(data("z")).unwrap_err().is_closed());
}

#[tokio::test(start_paused = true)]
async fn keep_alives_come_when_nothing_else_does() {
    let interval = Duration::from_secs(10);
    let (response, mut events) = EventStream::new().keep_alive(interval).channel();
    let mut body = response.into_body();
    let begin = Instant::now();
    assert_eq!(chunk(&mut body).await.unwrap(), ":\n\n");
    assert_eq!(begin.elapsed(), interval);
    // An event puts the next one off.
    tokio::time::advance(Duration::from_secs(6)).await;
    events.try_send(data("x")).unwrap();
    assert_eq!(chunk(&mut body).await.unwrap(), "data: x\n\n");
    let begin = Instant::now();
    assert_eq!(chunk(&mut body).await.unwrap(), ":\n\n");
    assert_eq!(begin.elapsed(), interval);
    assert_eq!(chunk(&mut body).await.unwrap(), ":\n\n");
    assert_eq!(begin.elapsed(), 2 * interval);
    // The timer does not hide events.
    events.try_send(data("y")).unwrap();
    assert_eq!(chunk(&mut body).await.unwrap(), "data: y\n\n");
}

#[tokio::test(start_paused = true)]
async fn without_keep_alives_there_are_none() {
    let (response, _events) = EventStream::new().keep_alive(None).channel();
    let mut body = response.into_body();
    let day = Duration::from_secs(86_400);
    assert!(tokio::time::timeout(day, body.frame()).await.is_err());
}

#[tokio::test]
async fn padding_is_a_comment_of_that_size() {
    for size in [3, 2048] {
        let (response, events) = EventStream::new().padding(size).channel();
        drop(events);
        let mut body = response.into_body();
        let padding = chunk(&mut body).await.unwrap();
        assert_eq!(padding.len(), size);
        assert!(padding.starts_with(b":") && padding.ends_with(b"\n\n"));
        assert!(padding[1..size - 2].iter().all(|&byte| byte == b' '));
        assert_eq!(chunk(&mut body).await, None);
    }
}

#[tokio::test]
async fn a_stream_is_a_source_of_events() {
    let addr = serve(|_, _| async {
        EventStream::new()
            .padding(100)
            .respond(async_stream::stream! {
                for number in 0..3 {
                    yield Event::new().id(number.to_string()).unwrap().data("x\ny").unwrap();
                    tokio::task::yield_now().await;
                }
            })
    })
    .await;
    let mut events = Events::of(get(addr, "/").await);
    for number in 0..3 {
        let event = events.next().await.unwrap();
        assert_eq!(event.data(), "x\ny");
        assert_eq!(event.last_event_id(), number.to_string());
    }
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_channel_over_the_network() {
    let (senders, mut sender) = mpsc::channel(1);
    let addr = serve(move |_, _| {
        let senders = senders.clone();
        async move {
            let (response, sender) = EventStream::new().channel();
            senders.send(sender).await.unwrap();
            response
        }
    })
    .await;

    let mut events = Events::of(get(addr, "/").await);
    let mut first = soon(sender.recv()).await.unwrap();
    for number in 0..1000 {
        soon(first.send(data(&number.to_string()))).await.unwrap();
        assert_eq!(events.next().await.unwrap().data(), number.to_string());
    }
    // The client goes away: the sender learns it by itself.
    drop(events);
    soon(first.closed()).await;
    assert!(first.is_closed());

    // The server ends the stream: the client gets what was sent, then the end.
    let response = get(addr, "/").await;
    let mut second = soon(sender.recv()).await.unwrap();
    second.send(data("last")).await.unwrap();
    drop(second);
    assert_eq!(text(response).await, "data: last\n\n");
}

#[tokio::test]
async fn a_slow_reader_makes_the_sender_wait() {
    let (senders, mut sender) = mpsc::channel(1);
    let addr = serve(move |_, _| {
        let senders = senders.clone();
        async move {
            let (response, sender) = EventStream::new().channel();
            senders.send(sender).await.unwrap();
            response
        }
    })
    .await;
    let response = get(addr, "/").await;
    let mut sender = soon(sender.recv()).await.unwrap();

    // The client's hyper reads a little ahead, then nothing is read any more.
    let event = data(&"x".repeat(64 * 1024));
    let mut sent = 0;
    while let Ok(result) =
        tokio::time::timeout(Duration::from_millis(300), sender.send(event.clone())).await
    {
        result.unwrap();
        sent += 1;
        assert!(sent < 1024, "64 MiB were taken though nobody reads");
    }
    let mut events = Events::of(response);
    for _ in 0..sent {
        assert_eq!(events.next().await.unwrap().data().len(), 64 * 1024);
    }
    soon(sender.send(data("after"))).await.unwrap();
    assert_eq!(events.next().await.unwrap().data(), "after");
}

#[test]
fn the_last_event_id_is_read_from_the_request() {
    let id = |value: Option<&[u8]>| {
        let mut request = Request::get("/");
        if let Some(value) = value {
            request = request.header("last-event-id", value);
        }
        last_event_id(&request.body(()).unwrap()).map(str::to_owned)
    };
    assert_eq!(id(None), None);
    assert_eq!(id(Some(b"")), None);
    assert_eq!(id(Some(b"7")).as_deref(), Some("7"));
    assert_eq!(id(Some("é…".as_bytes())).as_deref(), Some("é…"));
    assert_eq!(id(Some(b"\xff")), None);
}
