//! Transports and sessions that end, and whether the client comes back.

use super::*;
use crate::Ended;

#[test]
fn resumes_with_the_last_token_and_replays_from_the_acknowledgement() {
    let mut bench = Bench::open(ClientConfig::new());
    for text in ["1", "2", "3"] {
        bench.session.send(text.into()).unwrap();
    }
    assert_eq!(bench.sends(1), ["1", "2", "3"]);
    bench.gets(1, "a");
    bench.detach(1, None);
    bench.session.send("4".into()).unwrap();
    let events = bench.events();
    assert!(
        matches!(&events[..], [ClientEvent::Reconnecting { failures, .. }]
        if failures[0].why == FailureWhy::Cut)
    );
    bench.session.handle_timeout(bench.now);
    let id = *bench.session.id();
    assert_eq!(bench.hello(), format!("1.resume.{id}.token1.2.2.1"));
    let opened = Opened {
        received: 2,
        next: 2,
        ..bench.opened(2)
    };
    bench.accept_as(2, opened);
    assert_eq!(bench.sends(2), ["^select 1", "3", "4"]);
    assert_eq!(bench.gets(2, "b"), Some("b".into()));
    assert_eq!(bench.gets(1, "late"), None);
}

#[test]
fn a_session_that_is_lost_gives_back_what_was_not_acknowledged() {
    let mut bench = Bench::open(ClientConfig::new());
    for text in ["1", "\u{1}2"] {
        bench.session.send(text.into()).unwrap();
    }
    bench.sends(1);
    bench.gets(1, "a");
    bench.gets(1, "^ack 1");
    bench.detach(1, None);
    bench.session.send("3".into()).unwrap();
    bench.wait(Duration::ZERO);
    bench.events();
    let anew = Opened {
        session: SessionId::from_bytes([7; 16]),
        resumed: false,
        why: Some(Why::Overflow),
        ..bench.opened(2)
    };
    bench.accept_as(2, anew);
    assert_eq!(
        bench.events(),
        [
            ClientEvent::StartedAnew {
                why: Why::Overflow,
                unacknowledged: vec!["\u{1}2".into(), "3".into()]
            },
            ClientEvent::Open {
                attachment: 2,
                kind: WebSocket,
                resumed: false
            }
        ]
    );
    // Numbers begin again, both ways.
    bench.session.send("new".into()).unwrap();
    assert_eq!(bench.sends(2), ["^select 0", "new"]);
    assert_eq!(bench.gets(2, "b"), Some("b".into()));
    bench.gets(2, "^ack 1");
}

#[test]
fn silence_is_death() {
    let mut bench = Bench::open(ClientConfig::new().with_transports([WebSocket]));
    bench.wait(34 * SECOND);
    bench.gets(1, "^ping");
    assert_eq!(bench.wait(34 * SECOND), [""; 0]);
    assert_eq!(bench.wait(SECOND), ["-1", "+2 websocket"]);
}

#[test]
fn codes_tell_whether_to_come_back() {
    // (code of the transport's close, what ends the session)
    for (code, end) in [
        (1000, None),
        (1001, None),
        (1011, None),
        (1012, None),
        (4002, None),
        (4003, None),
        (1002, Some(ClosedBy::Aborted)),
        (1009, Some(ClosedBy::Aborted)),
        (4000, Some(ClosedBy::Superseded)),
        (4400, Some(ClosedBy::Aborted)),
    ] {
        let mut bench = Bench::open(ClientConfig::new());
        bench.detach(1, Some(code));
        let events = bench.events();
        assert_eq!(closed(&events), end.map(|by| (code, by)), "{code}");
    }
}

#[test]
fn closes_when_everything_is_delivered() {
    let mut bench = Bench::open(ClientConfig::new());
    bench.session.send("1".into()).unwrap();
    bench.session.close(bench.now, CloseReason::normal());
    assert_eq!(bench.session.send("2".into()), Err("2".into()));
    let close = "^close {\"code\":1000,\"reason\":\"\",\"sent\":1}";
    assert_eq!(bench.sends(1), ["1", close]);
    assert_eq!(bench.gets(1, "a"), Some("a".into()));
    // Cut before the answer: resumed to finish.
    bench.detach(1, None);
    assert_eq!(bench.wait(Duration::ZERO), ["+2 websocket"]);
    let opened = Opened {
        received: 1,
        next: 2,
        ..bench.opened(2)
    };
    bench.accept_as(2, opened);
    assert_eq!(bench.sends(2), ["^select 1", close]);
    bench.gets(2, "b");
    bench.gets(2, "^close {\"code\":1000,\"sent\":2}");
    assert_eq!(bench.sends(2), ["^ack 2"]);
    assert_eq!(bench.actions(), ["x2 1000"]);
    assert_eq!(closed(&bench.events()), Some((1000, ClosedBy::Local)));
}

#[test]
fn a_close_finds_the_session_gone_or_nobody_at_all() {
    let mut bench = Bench::open(ClientConfig::new());
    bench.session.send("1".into()).unwrap();
    bench.sends(1);
    bench.detach(1, None);
    bench.session.close(bench.now, CloseReason::normal());
    bench.wait(Duration::ZERO);
    let anew = Opened {
        session: SessionId::from_bytes([7; 16]),
        resumed: false,
        ..bench.opened(2)
    };
    bench.accept_as(2, anew);
    // The server is not to keep the new one for nobody.
    assert_eq!(bench.actions(), ["x2 1000"]);
    assert_eq!(closed(&bench.events()), Some((1000, ClosedBy::TimedOut)));
    assert_eq!(bench.session.take_unacknowledged(), ["1".into()]);

    let mut bench = Bench::open(ClientConfig::new());
    bench.detach(1, None);
    bench.session.close(bench.now, CloseReason::normal());
    bench.wait(5 * SECOND);
    assert_eq!(closed(&bench.events()), Some((1000, ClosedBy::TimedOut)));

    let mut bench = Bench::new(ClientConfig::new());
    bench.actions();
    bench.session.close(bench.now, CloseReason::normal());
    assert_eq!(bench.actions(), ["-1"]);
    assert_eq!(closed(&bench.events()), Some((1000, ClosedBy::Local)));
}

#[test]
fn a_close_whose_confirmation_was_lost_is_complete_if_each_has_everything() {
    use ClosedBy::{Local, TimedOut};
    for (why, received, sent, by, left) in [
        (Why::Closed, 2, 1, Local, 0),
        // The client misses a message of the server.
        (Why::Closed, 2, 2, TimedOut, 0),
        // Somebody else has closed it, and may have sent.
        (Why::Closed, 1, 1, TimedOut, 1),
        (Why::Closed, 3, 1, TimedOut, 2),
        // All has arrived, but not the close.
        (Why::Expired, 2, 1, TimedOut, 0),
        (Why::Overflow, 0, 1, TimedOut, 2),
    ] {
        let mut bench = Bench::open(ClientConfig::new());
        bench.session.send("1".into()).unwrap();
        bench.session.send("2".into()).unwrap();
        assert_eq!(bench.gets(1, "a"), Some("a".into()));
        bench.session.close(bench.now, CloseReason::normal());
        assert_eq!(bench.sends(1).len(), 4);
        bench.detach(1, None);
        bench.wait(Duration::ZERO);
        let anew = Opened {
            session: SessionId::from_bytes([7; 16]),
            resumed: false,
            why: Some(why),
            ended: Some(Ended { received, sent }),
            ..bench.opened(2)
        };
        bench.accept_as(2, anew);
        assert_eq!(bench.actions(), ["x2 1000"]);
        assert_eq!(closed(&bench.events()), Some((1000, by)), "{why}");
        assert_eq!(bench.session.take_unacknowledged().len(), left, "{why}");
    }
}

#[test]
fn what_the_server_had_received_of_a_session_that_is_gone_is_not_given_back() {
    let mut bench = Bench::open(ClientConfig::new());
    for text in ["1", "2", "3"] {
        bench.session.send(text.into()).unwrap();
    }
    bench.sends(1);
    bench.detach(1, None);
    bench.wait(Duration::ZERO);
    bench.events();
    let anew = Opened {
        session: SessionId::from_bytes([7; 16]),
        resumed: false,
        why: Some(Why::Expired),
        ended: Some(Ended {
            received: 2,
            sent: 0,
        }),
        ..bench.opened(2)
    };
    bench.accept_as(2, anew);
    let told = ClientEvent::StartedAnew {
        why: Why::Expired,
        unacknowledged: vec!["3".into()],
    };
    assert_eq!(bench.events().first(), Some(&told));
}

#[test]
fn comes_back_when_the_server_asks_for_it_and_not_before() {
    let mut bench = Bench::open(ClientConfig::new());
    bench.session.send("1".into()).unwrap();
    bench.sends(1);
    bench.gets(1, "^ack 1");
    bench.gets(
        1,
        "^close {\"code\":1012,\"reason\":\"\",\"sent\":0,\"reconnect\":3000}",
    );
    assert!(!bench.session.is_writable() && !bench.session.is_closing());
    bench.sends(1);
    let events = bench.events();
    assert!(
        matches!(&events[..], [
            ClientEvent::Closing { .. },
            ClientEvent::StartedAnew { why: Why::Ended, unacknowledged },
            ClientEvent::Reconnecting { delay, .. },
        ] if unacknowledged.is_empty() && *delay == 3 * SECOND),
        "{events:?}"
    );
    assert_eq!(bench.actions(), ["x1 1012"]);
    bench.session.send("new".into()).unwrap();
    bench.session.wake(bench.now);
    assert_eq!(bench.wait(2999 * MS), [""; 0]);
    bench.now += MS;
    bench.session.handle_timeout(bench.now);
    let hello = bench.hello();
    assert!(hello.starts_with("1.new.") && hello.ends_with(".2.2"));
}

#[test]
fn whoever_closes_meanwhile_does_not_come_back() {
    let mut bench = Bench::open(ClientConfig::new());
    bench.gets(1, "^close {\"code\":1001,\"sent\":0,\"reconnect\":0}");
    bench.session.close(bench.now, CloseReason::normal());
    bench.sends(1);
    assert_eq!(closed(&bench.events()), Some((1001, ClosedBy::Peer)));
}

#[test]
fn breaking_the_protocol_ends_the_session() {
    for text in ["^ack 1", "^select 0", "^pong", "^opened {}", "^seq 5"] {
        let mut bench = Bench::open(ClientConfig::new());
        let message = Message::text(text.replace('^', "\u{1}"));
        let result = bench.session.receive(bench.now, 1, message);
        let result = result.and_then(|_| bench.session.receive(bench.now, 1, "x".into()));
        assert!(result.is_err(), "{text}");
        let end = closed(&bench.events());
        assert_eq!(end, Some((1002, ClosedBy::ProtocolError)));
        assert_eq!(bench.actions(), [""; 0], "the caller closes it");
    }
}
