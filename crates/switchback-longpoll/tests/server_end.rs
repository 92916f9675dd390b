//! How connections end on the server: requests are made by hand, time is paused.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod support;

use std::time::Duration;

use http::Method;
use support::by_hand::{delete, ok, open, poll, post, refused, try_now, why, word};
use support::{read, request, soon};
use switchback_longpoll::{
    CloseCode, CloseReason, ErrorKind, Limits, LongPollServer, Message, ServerConfig, Transport,
    TransportExt,
};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_up() {
    let server = LongPollServer::default();
    let (id, mut transport) = open(&server);
    let begin = Instant::now();
    // Two whole windows of polling keep it alive, then comes silence.
    for _ in 0..2 {
        read(poll(&server, &id, 0).await).await;
    }
    assert_eq!(begin.elapsed().as_secs(), 50);
    let error = transport.recv().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(begin.elapsed().as_secs(), 50 + 35);
    assert_eq!(server.connections(), 0);
    let answer = read(poll(&server, &id, 0).await).await;
    assert_eq!(word(&answer), refused(404, "unknown_connection"));
    for _ in 0..2 {
        assert!(transport.recv().await.is_err());
    }
    assert!(transport.send("late").await.is_err());
    transport.close(why()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_live_poll_is_a_sign_of_life_however_long_it_takes() {
    let config = ServerConfig::new()
        .window(Duration::from_secs(60))
        .grace(Duration::ZERO);
    let server = LongPollServer::new(config);
    let (id, mut transport) = open(&server);
    let begin = Instant::now();
    let waiting = tokio::spawn(poll(&server, &id, 0));
    assert!(transport.recv().await.is_err());
    assert_eq!(begin.elapsed().as_secs(), 120);
    assert_eq!(read(waiting.await.unwrap()).await, ok(""));
}

#[tokio::test(start_paused = true)]
async fn a_poll_whose_client_left_is_no_sign_of_life() {
    let server = LongPollServer::default();
    let (id, mut transport) = open(&server);
    let begin = Instant::now();
    let mut gone = poll(&server, &id, 0);
    assert!(try_now(&mut gone).is_pending());
    tokio::time::advance(Duration::from_secs(20)).await;
    drop(gone);
    let silence = tokio::time::timeout(Duration::from_secs(1000), transport.recv()).await;
    assert_eq!(silence.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(begin.elapsed().as_secs(), 20 + 35);
    assert_eq!(server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_waits_learns_of_silence_too() {
    let server =
        LongPollServer::new(ServerConfig::new().limits(Limits::new().send_buffer_size(100)));
    let (_, mut transport) = open(&server);
    let begin = Instant::now();
    let error = loop {
        if let Err(error) = transport.send("x".repeat(50)).await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(begin.elapsed().as_secs(), 35);
    assert_eq!(server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_transport_ends_its_polls() {
    let server = LongPollServer::default();
    let (id, transport) = open(&server);
    let waiting = tokio::spawn(poll(&server, &id, 0));
    tokio::task::yield_now().await;
    drop(transport);
    let answer = read(soon(waiting).await.unwrap()).await;
    assert_eq!(word(&answer), refused(404, "unknown_connection"));
    assert_eq!(server.connections(), 0);
    let answer = post(&server, &id, 1, "t1:a").await;
    assert_eq!(word(&answer), refused(404, "unknown_connection"));
    assert_eq!(delete(&server, &id), 204);
}

#[tokio::test(start_paused = true)]
async fn closing_delivers_then_tells_and_lingers() {
    let server = LongPollServer::default();
    let (id, mut transport) = open(&server);
    transport.send("last words").await.unwrap();
    let closing = tokio::spawn(async move { transport.close(why()).await });
    tokio::task::yield_now().await;
    let answer = post(&server, &id, 1, "t1:a").await;
    assert_eq!(word(&answer), refused(410, "closed"));
    assert_eq!(
        read(poll(&server, &id, 0).await).await,
        ok("t10:last words")
    );
    assert_eq!(
        read(poll(&server, &id, 0).await).await,
        ok("t10:last words")
    );
    assert!(!closing.is_finished());
    let told = read(poll(&server, &id, 1).await).await;
    assert_eq!(word(&told), refused(410, "closed"));
    let json: serde_json::Value = serde_json::from_str(&told.1).unwrap();
    assert_eq!(
        (&json["code"], &json["reason"]),
        (&1001.into(), &"bye".into())
    );
    soon(closing).await.unwrap().unwrap();
    // The transport is gone. A client that lost the response is told again, for a while.
    tokio::time::advance(Duration::from_millis(4900)).await;
    assert_eq!(read(poll(&server, &id, 1).await).await, told);
    assert_eq!(server.connections(), 1);
    tokio::time::advance(Duration::from_millis(200)).await;
    let answer = read(poll(&server, &id, 1).await).await;
    assert_eq!(word(&answer), refused(404, "unknown_connection"));
    assert_eq!(server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_nobody_picks_up_times_out() {
    let server = LongPollServer::default();
    let (_, mut transport) = open(&server);
    let begin = Instant::now();
    let error = transport.close(why()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(begin.elapsed().as_secs(), 5);
    assert_eq!(server.connections(), 0);
    transport.close(why()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_transport_dropped_while_closing_still_tells() {
    let server = LongPollServer::default();
    let (id, mut transport) = open(&server);
    transport.send("a").await.unwrap();
    let mut closing = transport.close(why());
    assert!(try_now(&mut closing).is_pending());
    drop(transport);
    assert_eq!(read(poll(&server, &id, 0).await).await, ok("t1:a"));
    let answer = read(poll(&server, &id, 1).await).await;
    assert_eq!(word(&answer), refused(410, "closed"));
}

#[tokio::test(start_paused = true)]
async fn the_client_closes() {
    let server = LongPollServer::default();
    let (id, mut transport) = open(&server);
    assert_eq!(
        post(&server, &id, 1, "t1:ab2:bc").await,
        (200, r#"{"received":2}"#.into())
    );
    let waiting = tokio::spawn(poll(&server, &id, 0));
    tokio::task::yield_now().await;
    for _ in 0..2 {
        assert_eq!(delete(&server, &id), 204);
    }
    let answer = read(soon(waiting).await.unwrap()).await;
    assert_eq!(word(&answer), refused(410, "closed"));
    assert_eq!(server.connections(), 0);
    assert_eq!(transport.recv().await.unwrap(), Some(Message::text("a")));
    assert_eq!(
        transport.recv().await.unwrap(),
        Some(Message::binary(&b"bc"[..]))
    );
    for _ in 0..2 {
        assert_eq!(transport.recv().await.unwrap(), None);
    }
    let code = CloseCode::new(4100).unwrap();
    assert_eq!(
        transport.close_reason(),
        Some(&CloseReason::new(code, "so long"))
    );
    let error = transport.send("late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    transport.close(why()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_number_of_connections_is_bounded_and_the_closed_ones_yield() {
    let server = LongPollServer::new(ServerConfig::new().max_connections(2));
    let (_, mut first) = open(&server);
    let (second_id, _second) = open(&server);
    let refusal = server
        .open(&request(Method::GET, "", None, ""))
        .unwrap_err();
    assert_eq!(
        (refusal.status().as_u16(), refusal.error()),
        (503, "unavailable")
    );
    assert!(
        refusal
            .into_response()
            .headers()
            .contains_key("Retry-After")
    );
    assert!(try_now(&mut first.close(why())).is_pending());
    let (_, _third) = open(&server);
    assert_eq!(server.connections(), 2);
    let answer = read(poll(&server, &second_id, 9).await).await;
    assert_eq!(word(&answer), refused(400, "bad_cursor"));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_poll_is_told_of_the_close_at_once() {
    let server = LongPollServer::default();
    let (id, mut transport) = open(&server);
    let waiting = tokio::spawn(poll(&server, &id, 0));
    tokio::task::yield_now().await;
    let begin = Instant::now();
    transport.close(why()).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 0);
    let answer = read(soon(waiting).await.unwrap()).await;
    assert_eq!(word(&answer), refused(410, "closed"));
}
