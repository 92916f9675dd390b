//! The server alone: requests are made by hand, time is paused, there is no socket.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod support;

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use support::by_hand::{ok, open, poll, post, refused, try_now, word};
use support::{read, request, soon};
use switchback_longpoll::{Limits, LongPollServer, Message, ServerConfig, Transport, TransportExt};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn the_opening_response_carries_what_was_sent_before() {
    let server = LongPollServer::default();
    let (opening, mut transport) = server.open(&request(Method::GET, "", None, "")).unwrap();
    transport.send("first").await.unwrap();
    let response = opening.into_response();
    let headers = response.headers().clone();
    assert_eq!(headers["Content-Type"], "application/x-switchback-batch");
    assert_eq!(headers["Cache-Control"], "no-store");
    let id = headers["Switchback-Connection"].to_str().unwrap();
    assert_eq!(read(response).await, ok("t5:first"));
    // It is not forgotten before it is acknowledged.
    assert_eq!(read(poll(&server, id, 0).await).await, ok("t5:first"));
    transport.send("second").await.unwrap();
    assert_eq!(read(poll(&server, id, 1).await).await, ok("t6:second"));
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_a_message_or_the_window() {
    let server = LongPollServer::default();
    let (id, mut transport) = open(&server);
    let begin = Instant::now();
    let response = poll(&server, &id, 0).await;
    assert_eq!(begin.elapsed().as_secs(), 25);
    assert_eq!(response.headers()["Cache-Control"], "no-store");
    assert_eq!(read(response).await, ok(""));

    let waiting = tokio::spawn(poll(&server, &id, 0));
    tokio::task::yield_now().await;
    transport.send("hello").await.unwrap();
    assert_eq!(read(soon(waiting).await.unwrap()).await, ok("t5:hello"));
    assert_eq!(begin.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn the_newer_poll_supersedes() {
    let server = LongPollServer::default();
    let (id, mut transport) = open(&server);
    let old = tokio::spawn(poll(&server, &id, 0));
    tokio::task::yield_now().await;
    let new = tokio::spawn(poll(&server, &id, 0));
    let old = read(soon(old).await.unwrap()).await;
    assert_eq!(word(&old), refused(409, "superseded"));
    assert!(!new.is_finished());
    transport.send("for the newer").await.unwrap();
    assert_eq!(
        read(soon(new).await.unwrap()).await,
        ok("t13:for the newer")
    );
}

#[tokio::test(start_paused = true)]
async fn bad_cursors_do_no_harm() {
    let server = LongPollServer::default();
    let (id, mut transport) = open(&server);
    transport.send("a").await.unwrap();
    for cursor in [1, 2, (1 << 53) - 1] {
        let answer = read(poll(&server, &id, cursor).await).await;
        assert_eq!(word(&answer), refused(400, "bad_cursor"), "{cursor}");
    }
    assert_eq!(read(poll(&server, &id, 0).await).await, ok("t1:a"));
    transport.send("b").await.unwrap();
    let mut live = poll(&server, &id, 1);
    assert_eq!(read((&mut live).await).await, ok("t1:b"));
    let mut live = poll(&server, &id, 2);
    assert!(try_now(&mut live).is_pending());
    // Behind what was acknowledged, ahead of what was sent, and no number at all.
    for cursor in ["&cursor=1", "&cursor=3"] {
        let request = request(Method::GET, cursor, Some(&id), "");
        let answer = read(server.poll(&request).await).await;
        assert_eq!(word(&answer), refused(400, "bad_cursor"), "{cursor}");
    }
    for cursor in [
        "",
        "&cursor=",
        "&cursor=-1",
        "&cursor=02",
        "&cursor=9007199254740992",
    ] {
        let request = request(Method::GET, cursor, Some(&id), "");
        let answer = read(server.poll(&request).await).await;
        assert_eq!(word(&answer), refused(400, "bad_request"), "{cursor}");
    }
    transport.send("c").await.unwrap();
    assert_eq!(read(live.await).await, ok("t1:c"));
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_dropped_loses_nothing() {
    let server = LongPollServer::default();
    let (id, mut transport) = open(&server);
    let mut gone = poll(&server, &id, 0);
    assert!(try_now(&mut gone).is_pending());
    transport.send("a").await.unwrap();
    drop(gone);
    // Neither before the answer was made nor after.
    let mut gone = poll(&server, &id, 0);
    assert!(try_now(&mut gone).is_ready());
    drop(gone);
    assert_eq!(read(poll(&server, &id, 0).await).await, ok("t1:a"));
}

#[tokio::test(start_paused = true)]
async fn room_is_made_by_the_poll_that_carries_away_not_by_its_acknowledgement() {
    let server =
        LongPollServer::new(ServerConfig::new().limits(Limits::new().send_buffer_size(100)));
    let (id, mut transport) = open(&server);
    transport.send("x".repeat(200)).await.unwrap();
    let mut sending = tokio::spawn(async move {
        transport.send("y".repeat(200)).await.unwrap();
        transport
    });
    tokio::task::yield_now().await;
    assert!(try_now(&mut sending).is_pending());
    let first = format!("t200:{}", "x".repeat(200));
    assert_eq!(read(poll(&server, &id, 0).await).await, ok(&first));
    // Nothing is acknowledged, and yet the next message has its place.
    let mut transport = soon(sending).await.unwrap();
    let third = Message::text("z");
    let full = poll_fn(|cx| Poll::Ready(transport.poll_send(cx, &third).is_pending())).await;
    assert!(full);
    assert_eq!(read(poll(&server, &id, 0).await).await, ok(&first));
    let second = format!("t200:{}", "y".repeat(200));
    assert_eq!(read(poll(&server, &id, 1).await).await, ok(&second));
}

#[tokio::test(start_paused = true)]
async fn requests_are_told_apart() {
    let server = LongPollServer::default();
    let handle = async |request| -> Response<Full<Bytes>> {
        server.handle(request, |_| panic!("opened")).await
    };
    let mut other = request(Method::GET, "", None, "");
    *other.uri_mut() = "/rt?transport=sse".parse().unwrap();
    let answer = read(handle(other).await).await;
    assert_eq!(word(&answer), refused(400, "unknown_transport"));
    let put = handle(request(Method::PUT, "", None, "")).await;
    assert_eq!(put.headers()["Allow"], "GET, POST, DELETE");
    assert_eq!(word(&read(put).await), refused(405, "method_not_allowed"));
    for method in [Method::POST, Method::DELETE] {
        let answer = read(handle(request(method, "&first=1", None, "")).await).await;
        assert_eq!(word(&answer), refused(400, "bad_request"));
    }
    let unknown = "AAAAAAAAAAAAAAAAAAAAAA";
    let answer = read(handle(request(Method::GET, "&cursor=0", Some(unknown), "")).await).await;
    assert_eq!(word(&answer), refused(404, "unknown_connection"));
    let answer = handle(request(Method::DELETE, "", Some(unknown), "")).await;
    assert_eq!(answer.status(), 204);

    let mut opened = None;
    let response = server
        .handle(request(Method::GET, "", None, ""), |t| opened = Some(t))
        .await;
    assert_eq!(response.status(), 200);
    assert!(opened.is_some());
}

#[tokio::test(start_paused = true)]
async fn bodies_over_the_limit_are_refused_and_do_no_harm() {
    let limits = Limits::new()
        .max_message_size(10)
        .max_batch_messages(2)
        .max_batch_bytes(16);
    let server = LongPollServer::new(ServerConfig::new().limits(limits));
    let (id, mut transport) = open(&server);
    for body in ["t11:abcdefghijk", "t1:at1:bt1:c", "t99999:"] {
        let answer = post(&server, &id, 1, body).await;
        assert_eq!(word(&answer), refused(413, "too_large"), "{body}");
    }
    let long = request(Method::POST, "&first=1", Some(&id), vec![b'x'; 4096]);
    let answer = read(server.post(long).await).await;
    assert_eq!(word(&answer), refused(413, "too_large"));
    let answer = post(&server, &id, 1, "x1:a").await;
    assert_eq!(word(&answer), refused(400, "bad_batch"));
    let answer = post(&server, &id, 2, "t1:b").await;
    assert_eq!(word(&answer), refused(409, "gap"));
    assert_eq!(post(&server, &id, 1, "t1:a").await.0, 200);
    assert_eq!(transport.recv().await.unwrap(), Some(Message::text("a")));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_poll_makes_room_without_another() {
    let limits = Limits::new().send_buffer_size(100);
    let server = LongPollServer::new(ServerConfig::new().limits(limits));
    let (id, mut transport) = open(&server);
    let begin = Instant::now();
    let waiting = tokio::spawn(poll(&server, &id, 0));
    tokio::task::yield_now().await;
    // The second finds the buffer full, and the poll that takes the first away has yet to run.
    for text in ["x".repeat(200), "y".repeat(200)] {
        soon(transport.send(text)).await.unwrap();
    }
    let first = format!("t200:{}", "x".repeat(200));
    assert_eq!(read(soon(waiting).await.unwrap()).await, ok(&first));
    assert_eq!(begin.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_is_flushed_by_itself() {
    let limits = Limits::new().send_buffer_size(100);
    let server = LongPollServer::new(ServerConfig::new().limits(limits));
    let (id, mut transport) = open(&server);
    let begin = Instant::now();
    let waiting = tokio::spawn(poll(&server, &id, 0));
    tokio::task::yield_now().await;
    // Nobody flushes between the two.
    for text in ["x".repeat(200), "y".repeat(200)] {
        let message = Message::text(text);
        soon(poll_fn(|cx| transport.poll_send(cx, &message)))
            .await
            .unwrap();
    }
    assert!(waiting.await.unwrap().status().is_success());
    assert_eq!(begin.elapsed().as_secs(), 0);
}
