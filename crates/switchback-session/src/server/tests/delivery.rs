//! Numbers, acknowledgements and replay.

use super::*;

#[test]
fn a_session_from_connect_to_close() {
    let mut bench = Bench::new(Config::new().with_ack_messages(2));
    let opened = bench.attach("new 1.1");
    assert_eq!((opened.received, opened.next), (0, 1));
    assert!(!opened.resumed);
    bench.gets(1, "^select 0");
    bench.session.send("hello".into()).unwrap();
    bench.session.send("\u{1}ping".into()).unwrap();
    assert_eq!(bench.sends(1), ["hello", "^^ping"]);
    assert_eq!(bench.gets(1, "a"), Some("a".into()));
    assert_eq!(bench.sends(1), [""; 0]);
    assert_eq!(bench.gets(1, "^^b"), Some("\u{1}b".into()));
    assert_eq!(bench.sends(1), ["^ack 2"]);
    assert_eq!(bench.session.unacknowledged(), (2, 11));
    bench.gets(1, "^ack 2");
    assert_eq!(bench.session.unacknowledged(), (0, 0));
    bench.gets(1, "c");
    bench.gets(1, "^close {\"code\":1000,\"sent\":3}");
    assert_eq!(
        bench.sends(1),
        [
            "^ack 3",
            "^close {\"code\":1000,\"reason\":\"\",\"sent\":2}"
        ]
    );
    let events = bench.events();
    assert_eq!(dropped(&events), [(1, 1000)]);
    assert_eq!(closed(&events), Some((1000, ClosedBy::Peer)));
    assert!(bench.session.is_closed());
    assert_eq!(bench.session.deadline(), None);
}

#[test]
fn a_resume_replays_what_was_not_received_and_nothing_else() {
    let mut bench = Bench::new(Config::new());
    let first = bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    for text in ["1", "2", "3"] {
        bench.session.send(text.into()).unwrap();
    }
    assert_eq!(bench.sends(1), ["1", "2", "3"]);
    bench.gets(1, "a");
    bench.session.detach(bench.now, 1, None);
    bench.session.send("4".into()).unwrap();
    assert!(bench.session.is_parked());
    let resume = format!("{} 2.2.2", first.token);
    let second = bench.attach(&resume);
    assert!(second.resumed);
    assert_eq!((second.received, second.next), (1, 3));
    // It is the carrier before it is selected, and `next` has said where it begins.
    assert_eq!(bench.sends(2), ["3", "4"]);
    bench.gets(2, "^select 2");
    assert_eq!(bench.gets(2, "b"), Some("b".into()));
    let events = bench.events();
    assert!(events.contains(&ServerEvent::Parked));
    assert!(events.contains(&ServerEvent::Resumed { attachment: 2 }));
}

#[test]
fn a_replay_is_acknowledged_again() {
    let mut bench = Bench::new(Config::new());
    bench.attach("new 1.1");
    bench.gets(1, "a");
    bench.wait(SECOND);
    assert_eq!(bench.sends(1), ["^ack 1"]);
    bench.gets(1, "^seq 1");
    assert_eq!(bench.gets(1, "a"), None);
    bench.wait(SECOND);
    assert_eq!(bench.sends(1), ["^ack 1"]);
    bench.wait(SECOND);
    assert_eq!(bench.sends(1), [""; 0]);
}

#[test]
fn a_full_replay_buffer_gives_the_message_back() {
    let mut bench = Bench::new(Config::new().with_replay_messages(2));
    bench.session.send("1".into()).unwrap();
    bench.session.send("2".into()).unwrap();
    assert!(!bench.session.is_writable());
    assert_eq!(bench.session.send("3".into()), Err("3".into()));
    bench.attach("new 1.1");
    bench.sends(1);
    bench.gets(1, "^ack 1");
    assert!(bench.session.is_writable());
}

#[test]
fn acknowledgements_are_withheld_while_the_application_is_slow_but_not_from_a_close() {
    let config = Config::new().with_ack_messages(2);
    let mut bench = Bench::new(config);
    bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    bench.session.hold_acks(true);
    for text in ["a", "b", "c"] {
        assert!(bench.gets(1, text).is_some());
    }
    bench.wait(2 * SECOND);
    assert!(bench.sends(1).is_empty());
    // What the peer acknowledges is heard all the same.
    bench.session.send("1".into()).unwrap();
    assert_eq!(bench.sends(1), ["1"]);
    bench.gets(1, "^ack 1");
    assert_eq!(bench.session.unacknowledged(), (0, 0));
    bench.session.hold_acks(false);
    assert_eq!(bench.sends(1), ["^ack 3"]);

    bench.session.hold_acks(true);
    bench.gets(1, "d");
    bench.gets(1, "^close {\"code\":1000,\"sent\":4}");
    let sent = bench.sends(1);
    assert_eq!(sent[0], "^ack 4");
    assert!(sent[1].starts_with("^close "));
}

#[test]
fn a_gap_is_an_error_and_a_message_after_close_too() {
    let mut bench = Bench::new(Config::new());
    bench.attach("new 1.1");
    bench.gets(1, "^seq 2");
    let gap = ProtocolError::Gap {
        expected: 1,
        number: 2,
    };
    assert_eq!(bench.try_gets(1, "x"), Err(gap));
    let mut bench = Bench::new(Config::new());
    bench.attach("new 1.1");
    bench.gets(1, "^close {\"code\":1000,\"sent\":0}");
    assert_eq!(bench.try_gets(1, "x"), Err(ProtocolError::AfterClose));
}

#[test]
fn breaking_the_protocol_ends_the_session() {
    for text in [
        "^",
        "^ack 2",
        "^select 2",
        "^close {\"code\":1000,\"sent\":1}",
        "^ping",
        "^opened {}",
    ] {
        let mut bench = Bench::new(Config::new());
        bench.attach("new 1.1");
        bench.attach("new 2.1");
        bench.session.send("1".into()).unwrap();
        bench.session.send("never transmitted".into()).unwrap();
        let sent = take_one(&mut bench.session, bench.now, 2);
        assert_eq!(sent, Some("1".into()));
        let error = bench.try_gets(2, text).unwrap_err();
        assert_eq!(error.close_reason().code(), CloseCode::PROTOCOL_ERROR);
        let events = bench.events();
        // The caller closes the transport that did it.
        assert_eq!(dropped(&events), [(1, 1002)], "{text}");
        assert_eq!(closed(&events), Some((1002, ClosedBy::ProtocolError)));
        let left = bench.session.take_unacknowledged();
        assert_eq!(left, ["1".into(), "never transmitted".into()]);
    }
}

/// Counts messages, and hands the tally over. Returns how many of them counted.
fn tally(bench: &mut Bench, attachment: u64, texts: &[&str]) -> usize {
    let mut tally = Tally::default();
    let counts = |text: &&&str| tally.push(&Message::text(text.replace('^', "\u{1}")));
    let counted = texts.iter().take_while(counts).count();
    assert_eq!(tally.is_empty(), counted == 0);
    bench.session.receive_tally(bench.now, attachment, tally);
    counted
}

#[test]
fn a_tally_counts_as_its_messages_do() {
    let mut bench = Bench::new(Config::new().with_ack_messages(4));
    bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    assert!(bench.session.may_tally(1));
    // Neither control frames nor what is to be unescaped are only for the application.
    assert_eq!(tally(&mut bench, 1, &["^ack 0"]), 0);
    assert_eq!(bench.session.ack_deadline(), None);
    assert_eq!(tally(&mut bench, 1, &["a", "", "^^b", "c"]), 2);
    assert!(bench.session.ack_deadline().is_some());
    assert_eq!(bench.gets(1, "^^b"), Some("\u{1}b".into()));
    assert_eq!(bench.sends(1), [""; 0]);
    assert_eq!(tally(&mut bench, 1, &["c", "d"]), 2);
    assert_eq!(bench.sends(1), ["^ack 5"]);
    bench.gets(1, "^close {\"code\":1000,\"sent\":5}");
    assert!(!bench.session.may_tally(1));
}

#[test]
fn what_came_before_or_leaves_a_gap_is_not_tallied() {
    let mut bench = Bench::new(Config::new());
    bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    assert_eq!(tally(&mut bench, 1, &["a", "b"]), 2);
    assert!(!bench.session.may_tally(2));
    bench.gets(1, "^seq 2");
    assert!(!bench.session.may_tally(1));
    assert_eq!(bench.gets(1, "b"), None);
    assert!(bench.session.may_tally(1));
    bench.gets(1, "^seq 4");
    assert!(!bench.session.may_tally(1));
    assert!(bench.try_gets(1, "d").is_err());
}

/// Sends messages past the session, as long as that is allowed. Returns how many.
fn at_once(bench: &mut Bench, attachment: u64, texts: &[&'static str]) -> usize {
    let mut allowance = bench.session.allowance(bench.now, attachment);
    let messages = texts.iter().map(|text| Message::from_static(text));
    let allowed = messages.take_while(|message| allowance.take(message));
    let sent = |message| bench.session.sent(bench.now, attachment, message);
    allowed.map(sent).count()
}

#[test]
fn what_is_sent_at_once_is_kept_and_numbered_as_the_rest_is() {
    let mut bench = Bench::new(Config::new());
    let first = bench.attach("new 1.1");
    assert_eq!(at_once(&mut bench, 2, &["a"]), 0);
    bench.gets(1, "^select 0");
    assert_eq!(at_once(&mut bench, 1, &["1", "2", "\u{1}3"]), 2);
    // The peer knows the number of the next.
    bench.session.send("\u{1}3".into()).unwrap();
    assert_eq!(at_once(&mut bench, 1, &["4"]), 0);
    assert_eq!(bench.sends(1), ["^^3"]);
    assert_eq!(at_once(&mut bench, 1, &["4", "5"]), 2);
    assert_eq!(bench.session.unacknowledged(), (5, 7));
    bench.gets(1, "^ack 1");
    assert_eq!(bench.session.unacknowledged(), (4, 6));
    bench.session.detach(bench.now, 1, None);
    assert_eq!(at_once(&mut bench, 1, &["6"]), 0);
    bench.attach(&format!("{} 2.2.2", first.token));
    assert_eq!(at_once(&mut bench, 2, &["6"]), 0);
    assert_eq!(bench.sends(2), ["^^3", "4", "5"]);
    bench.gets(2, "^select 2");
    bench.gets(2, "^ack 5");
    assert_eq!(bench.session.unacknowledged(), (0, 0));
    assert_eq!(at_once(&mut bench, 2, &["6"]), 1);
    assert_eq!(bench.sends(2), [""; 0]);
}

#[test]
fn nothing_is_sent_at_once_before_what_is_due_or_when_there_is_no_room() {
    let config = Config::new().with_replay_messages(3).with_replay_bytes(10);
    let mut bench = Bench::new(config.with_ack_messages(4));
    bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    assert_eq!(at_once(&mut bench, 1, &["1", "2", "3", "4"]), 3);
    assert_eq!(at_once(&mut bench, 1, &["4"]), 0);
    bench.gets(1, "^ack 3");
    // The last may be larger than what is left.
    assert_eq!(at_once(&mut bench, 1, &["123456789", "long", ""]), 2);
    bench.gets(1, "^ack 5");
    // An acknowledgement goes along, here from two messages on, or when its time has come.
    bench.gets(1, "a");
    assert_eq!(at_once(&mut bench, 1, &["6"]), 1);
    bench.gets(1, "b");
    assert_eq!(at_once(&mut bench, 1, &["7"]), 0);
    bench.session.hold_acks(true);
    assert_eq!(at_once(&mut bench, 1, &["7"]), 1);
    bench.session.hold_acks(false);
    bench.session.send("8".into()).unwrap();
    assert_eq!(bench.sends(1), ["^ack 2", "8"]);
    bench.gets(1, "^ack 8");
    bench.gets(1, "c");
    bench.now += SECOND;
    assert_eq!(at_once(&mut bench, 1, &["9"]), 0);
    assert_eq!(bench.sends(1), ["^ack 3"]);
    assert_eq!(at_once(&mut bench, 1, &["9"]), 1);
    bench.session.close(bench.now, CloseReason::normal(), None);
    assert_eq!(at_once(&mut bench, 1, &["10"]), 0);
}

#[test]
fn a_tally_tells_whether_messages_may_go_on_without_an_acknowledgement() {
    let config = Config::new().with_ack_messages(6).with_ack_bytes(200);
    let mut bench = Bench::new(config.with_ack_delay(SECOND));
    bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    let came = |bench: &mut Bench, count, len| {
        let mut tally = Tally::default();
        for _ in 0..count {
            assert!(tally.push(&Message::text("x".repeat(len))));
        }
        let holds = bench.session.receive_tally(bench.now, 1, tally);
        assert_eq!(holds, !bench.session.allowance(bench.now, 1).is_none());
        holds
    };
    assert!(came(&mut bench, 0, 0) && came(&mut bench, 2, 1));
    assert!(!came(&mut bench, 1, 1), "half of what makes it due");
    bench.session.send("a".into()).unwrap();
    assert_eq!(bench.sends(1), ["^ack 3", "a"]);
    assert!(came(&mut bench, 1, 99));
    assert!(!came(&mut bench, 1, 1), "half of the bytes");
    bench.session.hold_acks(true);
    assert!(came(&mut bench, 1, 1), "none is sent");
    bench.session.hold_acks(false);
    bench.session.send("b".into()).unwrap();
    assert_eq!(bench.sends(1), ["^ack 6", "b"]);
    assert!(came(&mut bench, 1, 1));
    bench.now += SECOND;
    assert!(!came(&mut bench, 1, 1), "the first has waited for long");
}

/// In an exchange nobody waits for the time after which an acknowledgement is due, also where the server keeps
/// much more than the client.
#[test]
fn a_client_that_gets_replies_need_not_keep_much() {
    let large = Config::new()
        .with_replay_messages(1 << 16)
        .with_replay_bytes(8 << 20);
    let large = large.with_ack_messages(1 << 15).with_ack_bytes(4 << 20);
    for config in [Config::new(), large] {
        for size in [0, 125, 4096, 16 * 1024] {
            let mut bench = Bench::new(config.clone());
            bench.attach("new 1.1");
            bench.gets(1, "^select 0");
            let (text, mut acked) = ("x".repeat(size), 0);
            for sent in 1..=2000 {
                bench.gets(1, &text);
                bench.session.send("reply".into()).unwrap();
                let frames = bench.sends(1);
                let ack = frames.iter().find_map(|frame| frame.strip_prefix("^ack "));
                acked = ack.map_or(acked, |number| number.parse().unwrap());
                let kept = sent - acked;
                assert!(kept < 256 && kept * size < 64 * 1024, "{kept} of {size} B");
                bench.gets(1, &format!("^ack {sent}"));
            }
            assert!(acked > 1000);
        }
    }
}
