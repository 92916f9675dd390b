//! How connections end, byte by byte.

use crate::common::{Server, close_payload, frame, half, pair, parse, soon};
use switchback_ws::{
    ClientConfig, CloseCode, CloseReason, Config, ErrorKind, Limits, Message, Role, Transport,
    TransportExt, Url, WebSocket, connect_over,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::Instant;

const CLOSE: u8 = 0x88;
const ROLES: [Role; 2] = [Role::Server, Role::Client];

/// Whether the peer of this end masks.
fn peer_masks(role: Role) -> bool {
    role == Role::Server
}

/// Reads what the WebSocket writes until it ends its half.
async fn rest(far: &mut DuplexStream, role: Role) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    soon(far.read_to_end(&mut bytes)).await.unwrap();
    parse(&bytes, !peer_masks(role))
}

/// Sends bytes, lets the end receive, and returns how that ended and what it wrote.
async fn end_of(
    role: Role,
    config: &Config,
    input: &[u8],
) -> (
    WebSocket,
    Result<Option<Message>, switchback_ws::Error>,
    Vec<(u8, Vec<u8>)>,
) {
    let (mut near, mut far) = half(role, config);
    far.write_all(input).await.unwrap();
    let (received, written) = soon(async {
        tokio::join!(
            async {
                loop {
                    match near.recv().await {
                        Ok(Some(_)) => {}
                        end => return end,
                    }
                }
            },
            async {
                // A client waits for its server to hang up; a server hangs up itself.
                if role == Role::Client {
                    let mut head = [0; 6];
                    far.read_exact(&mut head).await.unwrap();
                    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
                    far.read_exact(&mut payload).await.unwrap();
                    drop(far);
                    parse(&[&head[..], &payload].concat(), true)
                } else {
                    rest(&mut far, role).await
                }
            }
        )
    })
    .await;
    (near, received, written)
}

#[tokio::test]
async fn the_peers_close_is_answered_and_told() {
    for role in ROLES {
        for (payload, code, reason) in [
            (close_payload(1000, ""), 1000, ""),
            (close_payload(1001, "away"), 1001, "away"),
            (close_payload(1011, "é€😀"), 1011, "é€😀"),
            (
                close_payload(3000, &"x".repeat(123)),
                3000,
                &"x".repeat(123),
            ),
            (close_payload(4999, "\0"), 4999, "\0"),
            (Vec::new(), 1005, ""),
        ] {
            let input = frame(CLOSE, peer_masks(role), &payload);
            let (near, end, written) = end_of(role, &Config::new(), &input).await;
            assert_eq!(end.unwrap(), None, "{role:?} {code}");
            let told = near.close_reason().unwrap();
            assert_eq!((told.code().as_u16(), told.reason()), (code, reason));
            // The answer is an echo.
            assert_eq!(written, [(CLOSE, payload)], "{role:?} {code}");
        }
    }
}

/// Wrong input, how receiving ends, and the code that the peer is told.
#[tokio::test]
async fn what_is_wrong_is_answered_by_its_code() {
    const PROTOCOL: (ErrorKind, u16) = (ErrorKind::Protocol, 1002);
    const UTF8: (ErrorKind, u16) = (ErrorKind::InvalidUtf8, 1007);
    const SIZE: (ErrorKind, u16) = (ErrorKind::TooLarge, 1009);
    let long = [&[0xff; 8][..]].concat();
    for role in ROLES {
        let config = Config::new().limits(Limits::new().max_message_size(10));
        let masked = peer_masks(role);
        let frames = |frames: &[(u8, &[u8])]| {
            frames
                .iter()
                .flat_map(|(first, payload)| frame(*first, masked, payload))
                .collect::<Vec<u8>>()
        };
        let header = |first: u8, length: u8, extended: &[u8]| {
            let mask = if masked { 0x80 } else { 0 };
            [&[first, length | mask], extended, &[0; 4]].concat()
        };
        for (what, input, (kind, code)) in [
            ("the wrong masking", frame(0x81, !masked, b"a"), PROTOCOL),
            ("rsv1", frames(&[(0xc1, b"a")]), PROTOCOL),
            ("rsv2", frames(&[(0xa1, b"a")]), PROTOCOL),
            ("rsv3 on a ping", frames(&[(0x99, b"a")]), PROTOCOL),
            ("opcode 3", frames(&[(0x83, b"a")]), PROTOCOL),
            ("opcode 15", frames(&[(0x8f, b"a")]), PROTOCOL),
            (
                "a continuation of nothing",
                frames(&[(0x80, b"a")]),
                PROTOCOL,
            ),
            (
                "text in a text",
                frames(&[(0x01, b"a"), (0x81, b"a")]),
                PROTOCOL,
            ),
            (
                "binary in a text",
                frames(&[(0x01, b"a"), (0x82, b"a")]),
                PROTOCOL,
            ),
            ("a fragmented ping", frames(&[(0x09, b"a")]), PROTOCOL),
            (
                "a ping of 126 bytes",
                [header(0x89, 126, &[0, 126]), vec![0; 126]].concat(),
                SIZE,
            ),
            ("a close of one byte", frames(&[(CLOSE, &[3])]), PROTOCOL),
            (
                "a close with 999",
                frames(&[(CLOSE, &close_payload(999, ""))]),
                PROTOCOL,
            ),
            (
                "a close with 1004",
                frames(&[(CLOSE, &close_payload(1004, ""))]),
                PROTOCOL,
            ),
            (
                "a close with 1005",
                frames(&[(CLOSE, &close_payload(1005, ""))]),
                PROTOCOL,
            ),
            (
                "a close with 1006",
                frames(&[(CLOSE, &close_payload(1006, ""))]),
                PROTOCOL,
            ),
            (
                "a close with 1015",
                frames(&[(CLOSE, &close_payload(1015, ""))]),
                PROTOCOL,
            ),
            (
                "a close with 2999",
                frames(&[(CLOSE, &close_payload(2999, ""))]),
                PROTOCOL,
            ),
            (
                "a close with 5000",
                frames(&[(CLOSE, &close_payload(5000, ""))]),
                PROTOCOL,
            ),
            (
                "a reason not UTF-8",
                frames(&[(CLOSE, b"\x03\xe8\xff")]),
                UTF8,
            ),
            ("text not UTF-8", frames(&[(0x81, b"a\xff")]), UTF8),
            ("text that breaks off", frames(&[(0x81, b"\xe2\x82")]), UTF8),
            ("a surrogate", frames(&[(0x81, b"\xed\xa0\x80")]), UTF8),
            (
                "fragments not UTF-8",
                frames(&[(0x01, b"\xe2"), (0x80, b"a")]),
                UTF8,
            ),
            ("11 bytes", frames(&[(0x82, &[0; 11])]), SIZE),
            ("126 bytes", header(0x82, 126, &[0, 126]), SIZE),
            (
                "65,536 bytes",
                header(0x82, 127, &[0, 0, 0, 0, 0, 1, 0, 0]),
                SIZE,
            ),
            ("2^64 - 1 bytes", header(0x82, 127, &long), SIZE),
            (
                "11 bytes in fragments",
                frames(&[(0x02, &[0; 6]), (0x80, &[0; 5])]),
                SIZE,
            ),
        ] {
            // Something good before, so that the failure is not the first thing read.
            let input = [frames(&[(0x81, b"good")]), input].concat();
            let (mut near, end, written) = end_of(role, &config, &input).await;
            let error = end.unwrap_err();
            assert_eq!(error.kind(), kind, "{role:?}, {what}: {error:?}");
            let [(CLOSE, payload)] = &written[..] else {
                panic!("{role:?}, {what}: {written:?}");
            };
            assert_eq!(payload[..2], code.to_be_bytes(), "{role:?}, {what}");
            assert_eq!(near.close_reason(), None, "{role:?}, {what}");
            assert_eq!(soon(near.recv()).await.unwrap_err().kind(), kind);
            assert_eq!(soon(near.send("late")).await.unwrap_err().kind(), kind);
            soon(near.close(CloseReason::normal())).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_just_right_is_received() {
    for role in ROLES {
        let config = Config::new().limits(Limits::new().max_message_size(10));
        let masked = peer_masks(role);
        let (mut near, mut far) = half(role, &config);
        for input in [
            frame(0x82, masked, &[1; 10]),
            frame(0x02, masked, &[1; 6]),
            frame(0x89, masked, &[7; 125]),
            frame(0x00, masked, &[]),
            frame(0x80, masked, &[1; 4]),
            frame(0x01, masked, b"\xe2"),
            frame(0x8a, masked, b"never asked for"),
            frame(0x80, masked, b"\x82\xac"),
        ] {
            far.write_all(&input).await.unwrap();
        }
        for expected in [
            Message::binary(vec![1; 10]),
            Message::binary(vec![1; 10]),
            Message::text("€"),
        ] {
            assert_eq!(soon(near.recv()).await.unwrap(), Some(expected));
        }
    }
}

#[tokio::test]
async fn our_close_follows_all_messages() {
    for role in ROLES {
        let (mut near, mut far) = half(role, &Config::new());
        let masked = peer_masks(role);
        far.write_all(&frame(0x81, masked, b"dropped"))
            .await
            .unwrap();
        far.write_all(&frame(CLOSE, masked, &close_payload(1000, "")))
            .await
            .unwrap();
        let closing = async {
            std::future::poll_fn(|cx| near.poll_send(cx, &Message::text("a"))).await?;
            std::future::poll_fn(|cx| near.poll_send(cx, &Message::binary(vec![1]))).await?;
            near.close(CloseReason::new(CloseCode::GOING_AWAY, "why"))
                .await
        };
        let hanging_up = async {
            // A client waits for its server to do that.
            if role == Role::Client {
                far.shutdown().await.unwrap();
            }
        };
        let (closed, ()) = soon(async { tokio::join!(closing, hanging_up) }).await;
        let written = rest(&mut far, role).await;
        closed.unwrap();
        assert_eq!(
            written,
            [
                (0x81, b"a".to_vec()),
                (0x82, vec![1]),
                (CLOSE, close_payload(1001, "why")),
            ]
        );
        assert_eq!(near.close_reason(), Some(&CloseReason::normal()));
        assert_eq!(soon(near.recv()).await.unwrap(), None);
        assert!(soon(near.send("late")).await.unwrap_err().is_closed());
    }
}

/// Every code that may be sent arrives; some are newer than the engine.
#[tokio::test]
async fn all_codes_pass_both_ways() {
    for code in (1000..=1015).chain([2999, 3000, 4000, 4004, 4999, 5000]) {
        let Some(code) = CloseCode::new(code) else {
            continue;
        };
        let why = CloseReason::new(code, "why");
        let (mut server, mut client) = pair(&Config::new());
        let (closed, told) =
            soon(async { tokio::join!(server.close(why.clone()), client.recv()) }).await;
        closed.unwrap();
        assert_eq!(told.unwrap(), None, "{code}");
        assert_eq!(client.close_reason(), Some(&why));

        let (mut server, mut client) = pair(&Config::new());
        let (closed, told) =
            soon(async { tokio::join!(client.close(why.clone()), server.recv()) }).await;
        closed.unwrap();
        assert_eq!(told.unwrap(), None, "{code}");
        assert_eq!(server.close_reason(), Some(&why));
    }
}

#[tokio::test]
async fn a_peer_that_says_we_broke_the_protocol_has_closed() {
    let input = frame(CLOSE, true, &close_payload(1002, "Protocol violation"));
    let (near, end, _) = end_of(Role::Server, &Config::new(), &input).await;
    assert_eq!(end.unwrap(), None);
    assert_eq!(near.close_reason().unwrap().reason(), "Protocol violation");
}

#[tokio::test]
async fn a_code_that_must_not_be_sent_is_not() {
    let (mut near, mut far) = half(Role::Server, &Config::new());
    far.write_all(&frame(CLOSE, true, &[])).await.unwrap();
    let (closed, written) = soon(async {
        tokio::join!(
            near.close(CloseCode::ABNORMAL),
            rest(&mut far, Role::Server)
        )
    })
    .await;
    closed.unwrap();
    assert_eq!(written, [(CLOSE, Vec::new())]);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_not_answered_times_out() {
    for role in ROLES {
        let (mut near, _far) = half(role, &Config::new());
        let begun = Instant::now();
        let error = near.close(CloseReason::normal()).await.unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        assert_eq!(begun.elapsed(), Limits::new().close_time());
        assert!(near.recv().await.unwrap_err().is_timeout());
        near.close(CloseReason::normal()).await.unwrap();
    }
}

/// A peer that neither reads nor answers cannot hold a close up, wherever it is stuck.
#[tokio::test(start_paused = true)]
async fn a_close_that_cannot_be_written_times_out() {
    for role in ROLES {
        let (near, _far) = tokio::io::duplex(16);
        let mut near = WebSocket::from_stream(near, role, &Config::new());
        let full = Message::binary(vec![0; 1000]);
        std::future::poll_fn(|cx| near.poll_send(cx, &full))
            .await
            .unwrap();
        let begun = Instant::now();
        let error = near.close(CloseReason::normal()).await.unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        assert_eq!(begun.elapsed(), Limits::new().close_time());
    }
}

/// A peer in the middle of sending a message that is too large still gets to read the close: hanging
/// up at once would have the operating system reset the connection.
#[tokio::test]
async fn a_peer_that_still_sends_can_read_why_it_failed() {
    let mut server = Server::start(Config::new()).await;
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let url: Url = server.url().parse().unwrap();
    let config = ClientConfig::new().limits(Limits::new().send_buffer_size(8 << 20));
    let mut client = soon(connect_over(stream, &url, &config)).await.unwrap();
    let mut server = server.accept().await;
    let (sent, received) = soon(async {
        tokio::join!(client.send(vec![0; 8 << 20]), async {
            let received = server.recv().await;
            drop(server);
            received
        })
    })
    .await;
    sent.unwrap();
    assert_eq!(received.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(soon(client.recv()).await.unwrap(), None);
    let told = client.close_reason().unwrap();
    assert_eq!(told.code(), CloseCode::MESSAGE_TOO_BIG);
}

/// The peer breaks the protocol and then does nothing: the error is not held back for long.
#[tokio::test(start_paused = true)]
async fn a_failure_lingers_for_a_second() {
    for role in ROLES {
        let (mut near, mut far) = half(role, &Config::new());
        far.write_all(&frame(0x83, peer_masks(role), b""))
            .await
            .unwrap();
        let begun = Instant::now();
        assert_eq!(near.recv().await.unwrap_err().kind(), ErrorKind::Protocol);
        assert_eq!(begun.elapsed().as_secs(), 1);
    }
}

/// The server is to hang up first, but one that never does so does not keep its client.
#[tokio::test(start_paused = true)]
async fn a_client_waits_a_second_for_the_hang_up() {
    let (mut near, mut far) = half(Role::Client, &Config::new());
    far.write_all(&frame(CLOSE, false, &close_payload(1001, "")))
        .await
        .unwrap();
    let begun = Instant::now();
    assert_eq!(near.recv().await.unwrap(), None);
    assert_eq!(begun.elapsed().as_secs(), 1);
}

/// What the send buffer holds when the close begins is written first, though nobody flushes it.
#[tokio::test]
async fn a_close_writes_what_is_buffered() {
    let (near, far) = tokio::io::duplex(16);
    let mut near = WebSocket::from_stream(near, Role::Server, &Config::new());
    let mut far = WebSocket::from_stream(far, Role::Client, &Config::new());
    let message = Message::binary(vec![7; 50_000]);
    std::future::poll_fn(|cx| near.poll_send(cx, &message))
        .await
        .unwrap();
    let (closed, received) = soon(async {
        tokio::join!(near.close(CloseReason::normal()), async {
            let first = far.recv().await.unwrap();
            (first, far.recv().await.unwrap())
        })
    })
    .await;
    closed.unwrap();
    assert_eq!(received, (Some(message), None));
}

#[tokio::test]
async fn both_close_at_once() {
    let (mut server, mut client) = pair(&Config::new());
    let (one, other) = soon(async {
        tokio::join!(
            server.close(CloseReason::new(CloseCode::GOING_AWAY, "s")),
            client.close(CloseReason::new(CloseCode::NORMAL, "c"))
        )
    })
    .await;
    one.unwrap();
    other.unwrap();
    assert_eq!(server.close_reason().unwrap().reason(), "c");
    assert_eq!(client.close_reason().unwrap().reason(), "s");
}

#[tokio::test]
async fn a_cut_is_an_error_also_in_the_middle_of_a_message() {
    for role in ROLES {
        let whole = frame(0x81, peer_masks(role), b"hello");
        for length in [0, 1, whole.len() - 1] {
            let (mut near, mut far) = half(role, &Config::new());
            far.write_all(&whole[..length]).await.unwrap();
            drop(far);
            let error = soon(near.recv()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Reset, "{length} bytes: {error:?}");
            assert_eq!(near.close_reason(), None);
        }
    }
}

/// A peer that closes and is gone before our answer has closed cleanly all the same.
#[tokio::test]
async fn a_close_is_told_though_the_answer_cannot_be_sent() {
    for role in ROLES {
        let masked = peer_masks(role);
        let (mut near, mut far) = half(role, &Config::new());
        for input in [
            frame(0x89, masked, b"a pong for this cannot be sent either"),
            frame(0x81, masked, b"last"),
            frame(CLOSE, masked, &close_payload(1001, "gone")),
        ] {
            far.write_all(&input).await.unwrap();
        }
        drop(far);
        assert_eq!(
            soon(near.recv()).await.unwrap(),
            Some(Message::text("last"))
        );
        assert_eq!(soon(near.recv()).await.unwrap(), None);
        assert_eq!(near.close_reason().unwrap().reason(), "gone");
    }
}
