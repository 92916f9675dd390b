//! Backpressure, cancellation, and what is held for whom.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::common::{frame, half, pair, soon};
use switchback_ws::{Config, Limits, Message, Role, Transport, TransportExt, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn take(socket: &mut WebSocket, message: &Message) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    match socket.poll_send(&mut cx, message) {
        Poll::Ready(result) => {
            result.unwrap();
            true
        }
        Poll::Pending => false,
    }
}

/// A pair over a pipe of 16 bytes, so that all else must be in the buffer.
fn narrow(send_buffer: usize) -> (WebSocket, WebSocket) {
    let config = Config::new().limits(
        Limits::new()
            .send_buffer_size(send_buffer)
            .max_message_size(1 << 20),
    );
    let (server, client) = tokio::io::duplex(16);
    (
        WebSocket::from_stream(server, Role::Server, &config),
        WebSocket::from_stream(client, Role::Client, &config),
    )
}

#[tokio::test]
async fn the_send_buffer_has_its_bound_and_loses_nothing() {
    for send_buffer in [0, 1, 100, 1000, 100_000] {
        let (server, client) = narrow(send_buffer);
        for (mut from, mut to) in [(server, client)] {
            let message = |number: usize| Message::text(format!("{number:>98}"));
            let mut taken = 0;
            while take(&mut from, &message(taken)) {
                taken += 1;
            }
            // Each is 100 bytes; one is always taken, and 16 are in the pipe.
            let bound = (send_buffer + 16) / 100 + 1;
            assert!(
                (1..=bound).contains(&taken) && taken * 100 + 100 > send_buffer,
                "{taken} messages in {send_buffer} bytes"
            );
            let receiving = async {
                for number in 0..taken {
                    assert_eq!(to.recv().await.unwrap(), Some(message(number)));
                }
            };
            let (flushed, ()) = soon(async { tokio::join!(from.flush(), receiving) }).await;
            flushed.unwrap();
            // And there is room again.
            assert!(take(&mut from, &message(0)));
        }
    }
}

#[tokio::test]
async fn a_message_larger_than_the_buffer_is_taken_alone() {
    let (mut server, mut client) = narrow(1000);
    let large = Message::binary(vec![7; 500_000]);
    assert!(take(&mut server, &large));
    assert!(!take(&mut server, &Message::text("x")), "it is full");
    let (sent, received) = soon(async {
        tokio::join!(server.send("x"), async {
            (client.recv().await.unwrap(), client.recv().await.unwrap())
        })
    })
    .await;
    sent.unwrap();
    assert_eq!(received, (Some(large), Some(Message::text("x"))));
}

/// Both ends send more than all buffers hold before they read: receiving must go on while sending
/// waits, on both.
#[tokio::test]
async fn two_ends_that_send_at_once_do_not_block_each_other() {
    let (mut server, mut client) = narrow(1000);
    let all = 200;
    let message = Message::binary(vec![1; 700]);
    let run = |mut socket: WebSocket| {
        let message = message.clone();
        tokio::spawn(async move {
            let (mut sent, mut received) = (0, 0);
            poll_fn(|cx| {
                while sent < all {
                    match socket.poll_send(cx, &message) {
                        Poll::Ready(result) => result.unwrap(),
                        Poll::Pending => break,
                    }
                    sent += 1;
                }
                let flushed = socket.poll_flush(cx).map(Result::unwrap).is_ready();
                while received < all {
                    match socket.poll_recv(cx) {
                        Poll::Ready(next) => assert_eq!(next.unwrap().as_ref(), Some(&message)),
                        Poll::Pending => return Poll::Pending,
                    }
                    received += 1;
                }
                if sent == all && flushed {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            socket
        })
    };
    (server, client) = soon(async {
        let (server, client) = tokio::join!(run(server), run(client));
        (server.unwrap(), client.unwrap())
    })
    .await;
    drop((server, client));
}

#[tokio::test]
async fn a_dropped_receive_loses_nothing() {
    let (mut server, mut client) = narrow(1000);
    let messages: Vec<_> = (0..50).map(|i| Message::binary(vec![i; 300])).collect();
    let sending = async {
        for message in &messages {
            client.send(message.clone()).await.unwrap();
        }
    };
    let receiving = async {
        for message in &messages {
            let received = loop {
                // Begun and dropped over and over, mostly in the middle of a frame.
                if let Poll::Ready(received) =
                    pin!(server.recv()).poll(&mut Context::from_waker(Waker::noop()))
                {
                    break received;
                }
                tokio::task::yield_now().await;
            };
            assert_eq!(received.unwrap().as_ref(), Some(message));
        }
    };
    soon(async { tokio::join!(sending, receiving) }).await;
}

#[tokio::test]
async fn a_dropped_close_goes_on_with_its_first_reason() {
    use switchback_ws::{CloseCode, CloseReason};
    let (mut server, mut client) = pair(&Config::new());
    let first = CloseReason::new(CloseCode::SERVICE_RESTART, "first");
    assert!(
        pin!(server.close(first.clone()))
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    let (closed, told) =
        soon(async { tokio::join!(server.close(CloseReason::normal()), client.recv()) }).await;
    closed.unwrap();
    assert_eq!(told.unwrap(), None);
    assert_eq!(client.close_reason(), Some(&first));
}

/// Small payloads are copied out, so that one held message does not keep a read buffer.
#[tokio::test]
async fn payloads_of_all_sizes_are_independent() {
    let (mut server, mut client) = pair(&Config::new());
    let sizes = [1, 1023, 1024, 1025, 5000, 1, 60_000, 2];
    let mut held = Vec::new();
    for size in sizes {
        let message = Message::binary(vec![size as u8; size]);
        let (sent, received) =
            soon(async { tokio::join!(client.send(message), server.recv()) }).await;
        sent.unwrap();
        held.extend(received.unwrap());
    }
    for (message, size) in held.iter().zip(sizes) {
        assert_eq!(message.as_bytes(), vec![size as u8; size]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_written_is_not_given_back() {
    let (mut server, mut client) = narrow(100_000);
    let message = Message::binary(vec![7; 50_000]);
    assert!(take(&mut server, &message));
    // The client does not read for longer than the ping interval.
    let resting = tokio::time::timeout(Duration::from_secs(30), server.recv());
    assert!(resting.await.is_err());
    let received = tokio::select! {
        end = server.recv() => panic!("{end:?}"),
        received = async {
            // The server flushes only pings by itself; those go behind the message.
            client.recv().await
        } => received,
    };
    assert_eq!(received.unwrap(), Some(message));
}

/// A connection at rest gives its buffers back, in whatever state it is.
#[tokio::test(start_paused = true)]
async fn buffers_given_back_lose_nothing() {
    let config = Config::new().limits(Limits::new().max_message_size(200_000));
    let (mut near, far) = half(Role::Server, &config);
    let (mut reading, mut writing) = tokio::io::split(far);
    // The far end only takes what comes, pings included.
    let reading = tokio::spawn(async move {
        let mut written = Vec::new();
        reading.read_to_end(&mut written).await.unwrap();
        written
    });
    let payload = vec![b'x'; 60_000];
    let large = [&[0x81, 0xfe, 0xea, 0x60, 0, 0, 0, 0][..], &payload].concat();
    let parts = [
        // A large message in one go, and in pieces with silence between them.
        large.clone(),
        large[..5].to_vec(),
        large[5..30_000].to_vec(),
        large[30_000..].to_vec(),
        // Large fragments with silence between them, and half a header.
        [&[0x01], &large[1..]].concat(),
        [&[0x80], &large[1..3]].concat(),
        large[3..].to_vec(),
        frame(0x81, true, b"small"),
    ];
    let mut received = Vec::new();
    let rested = Duration::from_secs(30);
    for part in parts {
        writing.write_all(&part).await.unwrap();
        while let Ok(message) = tokio::time::timeout(rested, near.recv()).await {
            let message = message.unwrap().unwrap();
            near.send(message.clone()).await.unwrap();
            received.push(message.as_text().unwrap().to_owned());
        }
    }
    let large = String::from_utf8(payload).unwrap();
    let expected = [
        large.clone(),
        large.clone(),
        format!("{large}{large}"),
        "small".to_owned(),
    ];
    assert!(received == expected, "{} messages", received.len());
    drop((near, writing));
    // All echoes were written, whatever rest there was between them.
    let written = reading.await.unwrap();
    let pings = 2 * 8;
    let headers = 4 + 4 + 10 + 2;
    let echoes: usize = expected.iter().map(String::len).sum();
    assert!(
        written.len() >= echoes + headers && written.len() <= echoes + headers + pings,
        "{} bytes",
        written.len()
    );
}

/// What arrives together is taken apart, what arrives in pieces is put together, in whatever pieces.
#[tokio::test]
async fn frames_arrive_in_any_pieces() {
    let large = "é".repeat(20_000);
    let middle = "x".repeat(1000);
    let masked = |first: u8, payload: &[u8]| {
        let mask = [1, 20, 200, 255];
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        frame
    };
    let (first, second) = middle.as_bytes().split_at(300);
    let stream = [
        masked(0x81, b"one"),
        masked(0x82, b""),
        masked(0x81, large.as_bytes()),
        // A message in three fragments, a ping and a pong between them.
        masked(0x01, first),
        masked(0x89, b"ping"),
        masked(0x00, b""),
        masked(0x8a, b"pong"),
        masked(0x80, second),
        masked(0x82, &[7; 126]),
        masked(0x81, b"end"),
    ]
    .concat();
    let expected = [
        Message::text("one"),
        Message::binary(Vec::new()),
        Message::text(large),
        Message::text(middle),
        Message::binary(vec![7; 126]),
        Message::text("end"),
    ];
    for size in [1, 2, 3, 7, 100, 4096, 16 * 1024, stream.len()] {
        let (near, mut far) = tokio::io::duplex(size.max(16));
        let mut near = WebSocket::from_stream(near, Role::Server, &Config::new());
        let sending = async {
            for piece in stream.chunks(size) {
                far.write_all(piece).await.unwrap();
                if size < 100 {
                    tokio::task::yield_now().await;
                }
            }
            let mut pong = [0; 6];
            far.read_exact(&mut pong).await.unwrap();
            assert_eq!(pong, *b"\x8a\x04ping");
            far
        };
        let receiving = async {
            for message in &expected {
                let received = near.recv().await.unwrap();
                assert!(received.as_ref() == Some(message), "in pieces of {size}");
            }
        };
        let (far, ()) = soon(async { tokio::join!(sending, receiving) }).await;
        drop(far);
        assert!(soon(near.recv()).await.is_err(), "no close");
    }
}

/// Shared or copied, in one write or many: the order stays.
#[tokio::test]
async fn messages_of_all_sizes_keep_their_order() {
    for role in [Role::Server, Role::Client] {
        let (server, client) = narrow(20_000);
        let (mut from, mut to) = match role {
            Role::Server => (server, client),
            Role::Client => (client, server),
        };
        let sizes = [
            0, 3000, 125, 126, 2047, 2048, 70_000, 1, 30_000, 65_535, 65_536,
        ];
        let messages: Vec<_> = (0..sizes.len() * 2)
            .map(|number| {
                let message = Message::binary(vec![number as u8; sizes[number % sizes.len()]]);
                if number < sizes.len() {
                    message
                } else {
                    message.prepare()
                }
            })
            .collect();
        let sending = async {
            for message in &messages {
                poll_fn(|cx| from.poll_send(cx, message)).await.unwrap();
            }
            from.flush().await.unwrap();
        };
        let receiving = async {
            for message in &messages {
                let received = to.recv().await.unwrap();
                assert!(received.as_ref() == Some(message), "{message:?}");
            }
        };
        soon(async { tokio::join!(sending, receiving) }).await;
    }
}

/// Who sends on what it receives needs no memory for what comes next.
#[tokio::test]
async fn what_is_sent_on_makes_place_for_the_next() {
    let (mut server, mut client) = pair(&Config::new());
    let mut places = Vec::new();
    let mut others = Vec::new();
    for text in ["one", "two", "six"] {
        client.send(text).await.unwrap();
        let message = soon(server.recv()).await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some(text));
        places.push(message.as_bytes().as_ptr());
        server.send(message).await.unwrap();
        // What is free is taken by others.
        others.extend((0..100).map(|_| text.as_bytes().to_vec()));
    }
    assert_eq!(places, [places[0]; 3]);
}
