//! The send buffer of the duplex server: who waits for it, and who is woken.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use support::soon;
use switchback_sse::{
    CloseCode, Limits, Message, ServerConfig, Sse, SseBody, SseServer, Transport, TransportExt,
};

/// A transport with a send buffer of so many bytes, and its body behind the hello.
async fn open(send_buffer: usize) -> (SseServer, Sse, SseBody) {
    let limits = Limits::new().send_buffer_size(send_buffer);
    let server = SseServer::new(ServerConfig::new().padding(0).limits(limits));
    let get = Request::get("/?transport=sse").body(()).unwrap();
    let (response, transport) = server.open(&get).unwrap();
    let mut body = response.into_body();
    assert!(
        frame(&mut body)
            .await
            .unwrap()
            .starts_with(b"event: switchback\n")
    );
    (server, transport, body)
}

async fn frame(body: &mut SseBody) -> Option<Bytes> {
    Some(soon(body.frame()).await?.unwrap().into_data().unwrap())
}

async fn once<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    poll_fn(|cx| {
        Poll::Ready(match poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Sends without a flush until nothing more is taken.
async fn fill(transport: &mut Sse, message: &Message) -> usize {
    let mut taken = 0;
    while let Some(sent) = once(|cx| transport.poll_send(cx, message)).await {
        sent.unwrap();
        taken += 1;
        assert!(taken < 1000, "the buffer has no bound");
    }
    taken
}

#[tokio::test]
async fn it_is_bounded() {
    let (_server, mut transport, _body) = open(10_000).await;
    let taken = fill(&mut transport, &Message::text("x".repeat(1000))).await;
    assert!((9..=10).contains(&taken), "{taken} were taken");
    // What costs nothing on the wire costs something here.
    let (_server, mut transport, _body) = open(10_000).await;
    let taken = fill(&mut transport, &Message::text("")).await;
    assert!(taken < 200, "{taken} were taken");
    // One message fits, however large.
    let (_server, mut transport, _body) = open(0).await;
    assert_eq!(
        fill(&mut transport, &Message::text("x".repeat(1 << 20))).await,
        1
    );
}

#[tokio::test]
async fn a_sender_that_waits_wakes_the_body_and_is_woken_by_it() {
    let (_server, mut transport, mut body) = open(10_000).await;
    let message = Message::text("x".repeat(1000));
    let reader = tokio::spawn(async move {
        let mut bytes = 0;
        while let Some(chunk) = frame(&mut body).await {
            bytes += chunk.len();
        }
        bytes
    });
    // The body waits, with nothing to read, before anything is sent.
    tokio::task::yield_now().await;
    let sender = tokio::spawn(async move {
        for _ in 0..100 {
            // Without a flush in between.
            poll_fn(|cx| transport.poll_send(cx, &message))
                .await
                .unwrap();
        }
        transport.close(CloseCode::NORMAL).await.unwrap();
    });
    soon(sender).await.unwrap();
    assert!(soon(reader).await.unwrap() > 100 * 1000);
}

#[tokio::test]
async fn a_flush_wakes_the_body() {
    let (_server, mut transport, mut body) = open(10_000).await;
    let reader = tokio::spawn(async move { frame(&mut body).await });
    tokio::task::yield_now().await;
    transport.send("x").await.unwrap();
    assert_eq!(soon(reader).await.unwrap().unwrap(), "data: x\n\n");
}

#[tokio::test]
async fn a_sender_that_waits_learns_that_the_body_is_gone() {
    let (_server, mut transport, body) = open(0).await;
    let message = Message::text("x");
    fill(&mut transport, &message).await;
    let sender = tokio::spawn(async move { transport.send(message).await });
    tokio::task::yield_now().await;
    drop(body);
    assert!(soon(sender).await.unwrap().is_err());
}

#[tokio::test]
async fn a_close_is_complete_with_the_chunk_that_carries_it() {
    let (_server, mut transport, mut body) = open(1 << 20).await;
    // A chunk that is full with the close event, so that the body does not look further.
    for size in [15_992, 15_992, 15_992, 15_992, 1500] {
        transport.send("x".repeat(size)).await.unwrap();
    }
    let closing = tokio::spawn(async move { transport.close(CloseCode::NORMAL).await });
    tokio::task::yield_now().await;
    let chunk = frame(&mut body).await.unwrap();
    assert!(
        chunk.ends_with(b"\"reason\":\"\"}}\n\n"),
        "{} bytes",
        chunk.len()
    );
    assert!(chunk.len() > 64 * 1024);
    // The client has it, and goes away.
    drop(body);
    soon(closing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_transport_that_is_dropped_is_forgotten_at_once() {
    let (server, mut transport, mut body) = open(10_000).await;
    transport.send("x").await.unwrap();
    assert_eq!(server.connections(), 1);
    drop(transport);
    assert_eq!(server.connections(), 0);
    assert_eq!(frame(&mut body).await, None);
}
