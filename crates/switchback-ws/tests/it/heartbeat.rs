//! Pings, both ways, and silence.

use std::future::poll_fn;
use std::time::Duration;

use crate::common::{frame, half, pair, parse, soon};
use switchback_ws::{Config, ErrorKind, Limits, Message, Role, Transport, TransportExt, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

const ROLES: [Role; 2] = [Role::Server, Role::Client];

#[tokio::test]
async fn a_ping_is_answered_while_the_application_only_reads() {
    for role in ROLES {
        let (mut near, mut far) = half(role, &Config::new());
        let masks = role == Role::Server;
        let reading = async {
            let received = near.recv().await.unwrap();
            assert_eq!(received, Some(Message::text("after")));
        };
        let pinging = async {
            far.write_all(&frame(0x89, masks, b"payload"))
                .await
                .unwrap();
            let mut answer = vec![0; if masks { 9 } else { 13 }];
            // Nothing but receiving makes the answer come.
            far.read_exact(&mut answer).await.unwrap();
            assert_eq!(parse(&answer, !masks), [(0x8a, b"payload".to_vec())]);
            far.write_all(&frame(0x81, masks, b"after")).await.unwrap();
        };
        soon(async { tokio::join!(reading, pinging) }).await;
    }
}

/// A peer that pings without reading the answers gets neither our memory nor our time.
#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_is_bounded() {
    let (near, mut far) = tokio::io::duplex(1024);
    let config = Config::new().limits(Limits::new().send_buffer_size(1024));
    let mut near = WebSocket::from_stream(near, Role::Server, &config);
    let count = 20_000;
    let flood = async {
        for _ in 0..count {
            far.write_all(&frame(0x89, true, &[b'p'; 100]))
                .await
                .unwrap();
        }
        far.write_all(&frame(0x89, true, b"last")).await.unwrap();
        far.write_all(&frame(0x81, true, b"end")).await.unwrap();
        far
    };
    let (received, mut far) = soon(async { tokio::join!(near.recv(), flood) }).await;
    assert_eq!(received.unwrap(), Some(Message::text("end")));
    // What is answered is what fitted into the buffers, and the latest.
    let reading = async {
        let mut answers = Vec::new();
        while !answers.ends_with(b"\x8a\x04last") {
            far.read_buf(&mut answers).await.unwrap();
        }
        answers.len()
    };
    let answered = soon(async {
        tokio::select! {
            end = near.recv() => panic!("{end:?}"),
            answered = reading => answered,
        }
    })
    .await;
    assert!(answered < 10_000, "{answered} bytes of pongs were held");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_then_given_up() {
    for role in ROLES {
        let (mut near, mut far) = half(role, &Config::new());
        let begun = Instant::now();
        let silence = async {
            let error = near.recv().await.unwrap_err();
            (error, begun.elapsed())
        };
        let watching = async {
            let mut ping = vec![0; if role == Role::Server { 2 } else { 6 }];
            far.read_exact(&mut ping).await.unwrap();
            let pinged = begun.elapsed();
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).await.unwrap();
            (ping, pinged, rest)
        };
        let ((error, after), (ping, pinged, rest)) = tokio::join!(silence, watching);
        let masks = role == Role::Client;
        assert_eq!(parse(&ping, masks), [(0x89, Vec::new())]);
        assert_eq!(pinged.as_secs(), 25);
        assert_eq!(after.as_secs(), 35);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // 4002: timed out.
        let rest = parse(&rest, masks);
        assert_eq!(rest[0].1[..2], 4002_u16.to_be_bytes(), "{rest:?}");
        assert!(near.recv().await.unwrap_err().is_timeout());
    }
}

#[tokio::test(start_paused = true)]
async fn two_idle_ends_stay_connected() {
    let (mut server, mut client) = pair(&Config::new());
    let idle = async { tokio::join!(server.recv(), client.recv()) };
    tokio::select! {
        ended = idle => panic!("{ended:?}"),
        () = sleep(Duration::from_secs(24 * 3600)) => {}
    }
    client.send("still here").await.unwrap();
    assert_eq!(
        server.recv().await.unwrap(),
        Some(Message::text("still here"))
    );
}

/// Any traffic counts, half a message included.
#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_something_is_not_silent() {
    let (mut near, mut far) = half(Role::Server, &Config::new());
    let message = frame(0x81, true, b"slowly");
    let sending = async {
        for byte in &message {
            sleep(Duration::from_secs(24)).await;
            far.write_all(&[*byte]).await.unwrap();
        }
        far
    };
    let (received, mut far) = tokio::join!(near.recv(), sending);
    assert_eq!(received.unwrap(), Some(Message::text("slowly")));
    // No ping was needed.
    drop(near);
    let mut written = Vec::new();
    far.read_to_end(&mut written).await.unwrap();
    assert!(written.is_empty(), "{written:?}");
}

/// A ping that is behind a long backlog cannot be answered in time by a peer that reads slowly.
#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_is_not_silent() {
    let (near, mut far) = tokio::io::duplex(100);
    let mut near = WebSocket::from_stream(near, Role::Server, &Config::new());
    let backlog = Message::binary(vec![0; 2000]);
    let mut taken = false;
    let working = poll_fn(|cx| {
        if !taken {
            taken = near.poll_send(cx, &backlog).is_ready();
        }
        let _ = near.poll_flush(cx);
        near.poll_recv(cx)
    });
    let reading = async {
        let begun = Instant::now();
        let mut read = vec![0; 2004];
        for part in read.chunks_mut(100) {
            sleep(Duration::from_secs(20)).await;
            far.read_exact(part).await.unwrap();
        }
        assert!(begun.elapsed().as_secs() > 300);
    };
    tokio::select! {
        end = working => panic!("{end:?}"),
        () = reading => {}
    }
    // But one that then says nothing at all is.
    assert!(near.recv().await.unwrap_err().is_timeout());
}

#[tokio::test(start_paused = true)]
async fn the_intervals_can_be_set_and_turned_off() {
    let config = Config::new()
        .ping_interval(Some(Duration::from_secs(3)))
        .ping_timeout(Duration::from_secs(2));
    let (mut near, _far) = half(Role::Server, &config);
    let begun = Instant::now();
    assert!(near.recv().await.unwrap_err().is_timeout());
    assert_eq!(begun.elapsed().as_secs(), 5);

    let (mut near, _far) = half(Role::Server, &Config::new().ping_interval(None));
    tokio::select! {
        end = near.recv() => panic!("{end:?}"),
        () = sleep(Duration::from_secs(24 * 3600)) => {}
    }
}
