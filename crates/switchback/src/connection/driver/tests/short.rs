//! The short way, step by step.

use super::*;

/// Sends a message on the short way while the wire is full, then makes room. What had none goes then, and
/// not when the next timer is due.
#[test]
fn what_had_no_room_goes_when_there_is_room() {
    let config = Config::new();
    let session = ServerSession::new(Instant::now(), config, SessionId::from_bytes([0; 16]));
    for machine in [
        Machine::Plain(Box::default()),
        Machine::Server(Box::new(session)),
    ] {
        let mut bench = Bench::new(machine);
        if let Machine::Server(_) = *bench.driver.machine {
            bench.gets(&["^select 0"]);
        }
        bench.sent();
        assert!(bench.driver.is_short());
        let cx = &mut Context::from_waker(Waker::noop());
        let now = bench.now;
        bench.wire.lock().unwrap().full = true;
        let message = Message::from_static("1");
        assert_eq!(bench.driver.send_short(cx, now, message), Ok(true));
        assert!(bench.driver.flush_short(cx) && bench.driver.is_short());
        assert_eq!(bench.sent(), [""; 0]);
        bench.wire.lock().unwrap().full = false;
        bench.driver.note_readable(true);
        let received = bench.driver.recv_short(cx, now, &mut Batch::default());
        assert!(matches!(received, Received::Drained));
        assert!(bench.driver.rest_short(cx, now));
        assert_eq!(bench.sent(), ["1"]);
    }
}

/// One read brings messages and control frames in turn. Each finds all that came before it counted: the
/// `close`, which says how many messages there were, most of all.
#[test]
fn messages_of_one_read_count_before_what_is_behind_them() {
    let mut bench = Bench::session();
    assert!(bench.driver.is_short());
    let comes = ["a", "b", "^^c", "d", "^pong", "e"];
    let close = "^close {\"code\":1000,\"sent\":5}";
    let comes = comes.into_iter().chain([close]);
    bench.wire.lock().unwrap().comes = comes.map(str::to_owned).collect();
    bench.driver.note_readable(true);
    let (cx, mut batch) = (&mut Context::from_waker(Waker::noop()), Batch::default());
    let mut texts = Vec::new();
    while let Received::Messages = bench.driver.recv_short(cx, bench.now, &mut batch) {
        let messages = std::iter::from_fn(|| batch.pop());
        texts.extend(messages.map(|message| message.as_text().unwrap().to_owned()));
    }
    assert_eq!(texts, ["a", "b", "\u{1}c", "d", "e"]);
    bench.drive();
    let sent = bench.sent();
    assert_eq!(sent[0], "^ack 5");
    assert!(sent[1].starts_with("^close {\"code\":1000,"), "{sent:?}");
}

/// A machine of each kind, on whose bench the short way is open.
pub(super) fn short_benches(config: &Config) -> [Bench; 2] {
    let id = SessionId::from_bytes([0; 16]);
    let session = ServerSession::new(Instant::now(), config.clone(), id);
    let mut session = Bench::new(Machine::Server(Box::new(session)));
    session.gets(&["^select 0"]);
    let mut plain = Bench::new(Machine::Plain(Box::default()));
    plain.drive();
    for bench in [&mut session, &mut plain] {
        bench.sent();
        assert!(bench.driver.is_short());
    }
    [session, plain]
}

impl Bench {
    /// Has the application receive what has come, the short way, and wait for more where there is none.
    /// Returns how many messages it got.
    fn receives(&mut self) -> usize {
        let (cx, mut batch) = (&mut Context::from_waker(Waker::noop()), Batch::default());
        match self.driver.recv_short(cx, self.now, &mut batch) {
            Received::Messages => std::iter::from_fn(|| batch.pop()).count(),
            Received::Drained => {
                assert!(self.driver.rest_short(cx, self.now));
                0
            }
            Received::Other => panic!("it is nothing else"),
        }
    }

    /// Has the application send as it does between two `recv`.
    fn sends(&mut self, text: &'static str, more: bool) {
        let (cx, now) = (&mut Context::from_waker(Waker::noop()), self.now);
        let message = Message::from_static(text);
        assert_eq!(self.driver.send_short(cx, now, message), Ok(true));
        assert!(self.driver.may_linger(more) || self.driver.flush_short(cx));
    }

    fn comes(&mut self, texts: &[&str]) {
        let texts = texts.iter().map(|text| (*text).to_owned());
        self.wire.lock().unwrap().comes.extend(texts);
        self.driver.note_readable(true);
    }
}

/// There was more in the transport's buffer behind the messages of one read, but that brought none. From
/// then on nobody comes to flush what is sent.
#[test]
fn what_is_sent_when_all_is_read_is_flushed() {
    let [mut bench, _] = short_benches(&Config::new());
    bench.comes(&["1", "2", "3", "4", "5", "6", "7"]);
    bench.comes(&["^pong"]);
    assert_eq!(bench.receives(), 7);
    bench.sends("a", false);
    assert!(bench.driver.links[0].unflushed, "there may be more replies");
    assert_eq!(bench.receives(), 0);
    for text in ["b", "c", "d"] {
        bench.sends(text, false);
        assert!(!bench.driver.links[0].unflushed, "{text} waits for nothing");
    }
}

/// The same where the driver read what was behind the messages.
#[test]
fn what_is_sent_when_the_driver_has_read_all_is_flushed() {
    for mut bench in short_benches(&Config::new()) {
        bench.comes(&["1", "2", "3", "4", "5", "6", "7", "8"]);
        assert_eq!(bench.receives(), 7);
        bench.drive();
        assert!(matches!(bench.driver.take(), Poll::Ready(Ok(Some(_)))));
        bench.drive();
        assert!(bench.driver.is_short());
        for text in ["b", "c", "d"] {
            bench.sends(text, false);
            assert!(!bench.driver.links[0].unflushed, "{text} waits for nothing");
        }
    }
}

/// Time alone makes an acknowledgement due, and nobody has asked the session since.
#[test]
fn an_acknowledgement_that_is_due_goes_before_the_application_waits() {
    let delay = Duration::from_millis(1);
    let [mut bench, _] = short_benches(&Config::new().with_ack_delay(delay));
    bench.comes(&["1"]);
    assert_eq!(bench.receives(), 1);
    bench.sends("a", true);
    bench.now += delay;
    assert_eq!(bench.receives(), 0);
    assert_eq!(bench.sent(), ["a", "^ack 1"]);
}

/// That messages may be counted is void once a control frame has come, which may tell that they come again.
#[test]
fn what_is_replayed_is_not_received_again() {
    let [mut bench, _] = short_benches(&Config::new());
    bench.comes(&["1", "2", "^seq 1", "1", "2", "3"]);
    assert_eq!(bench.receives(), 3);
    bench.comes(&["^seq 2", "2"]);
    assert_eq!(bench.receives(), 0);
    bench.comes(&["3", "4"]);
    assert_eq!(bench.receives(), 1);
}

/// An application that receives without end, and neither replies nor waits, has its peer know how far it was
/// received; what it replies takes that along.
#[test]
fn who_always_finds_more_acknowledges() {
    let [mut bench, _] = short_benches(&Config::new().with_ack_messages(7));
    bench.comes(&["x"; 21]);
    assert_eq!(bench.receives(), 7);
    assert_eq!(bench.sent(), ["^ack 7"]);
    assert!(!bench.driver.links[0].unflushed);
    bench.sends("a", true);
    assert_eq!(bench.receives(), 7);
    assert!(bench.driver.links[0].unflushed && bench.driver.has_deferred());
    bench.sends("b", true);
    assert_eq!(bench.sent(), ["a", "^ack 14", "b"]);
}

/// Replies wait for others up to a bound.
#[test]
fn replies_that_are_many_are_flushed_though_there_is_more() {
    for mut bench in short_benches(&Config::new()) {
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..DEFERRED / 1000 {
            let message = Message::text("x".repeat(999));
            assert!(bench.driver.may_linger(true) && !bench.driver.may_linger(false));
            let sent = bench.driver.send_short(cx, bench.now, message);
            assert_eq!(sent, Ok(true));
        }
        bench.sends("the last", true);
        let message = Message::text("x".repeat(999));
        assert_eq!(bench.driver.send_short(cx, bench.now, message), Ok(true));
        assert!(!bench.driver.may_linger(true));
    }
}

/// Where the transport fails to take something, the long way finds out why: whoever sends or is about to wait
/// is told to go it.
#[test]
fn who_meets_a_failure_goes_the_long_way() {
    for waits in [false, true] {
        for mut bench in short_benches(&Config::new()) {
            let cx = &mut Context::from_waker(Waker::noop());
            bench.comes(&["1"]);
            assert_eq!(bench.receives(), 1);
            let message = Message::from_static("a");
            if waits {
                // There is no room at first.
                bench.wire.lock().unwrap().full = true;
                let sent = bench.driver.send_short(cx, bench.now, message.clone());
                assert!(sent == Ok(true) && bench.driver.flush_short(cx));
            }
            bench.wire.lock().unwrap().broken = true;
            if waits {
                let received = bench
                    .driver
                    .recv_short(cx, bench.now, &mut Batch::default());
                assert!(matches!(received, Received::Drained));
                assert!(!bench.driver.rest_short(cx, bench.now));
            } else {
                let sent = bench.driver.send_short(cx, bench.now, message);
                assert_eq!(sent, Ok(false));
            }
            assert!(!bench.driver.flush_short(cx));
            bench.drive();
            assert!(bench.driver.links.is_empty());
        }
    }
}

/// What was allowed is no more than the replay buffer holds, and void once anything else has happened.
#[test]
fn no_more_is_sent_than_was_allowed() {
    let config = Config::new().with_replay_messages(4);
    let [mut bench, _] = short_benches(&config);
    bench.comes(&["1"]);
    assert_eq!(bench.receives(), 1);
    for text in ["a", "b", "c", "d", "e", "f"] {
        let (cx, now) = (&mut Context::from_waker(Waker::noop()), bench.now);
        let message = Message::from_static(text);
        let sent = bench.driver.send_short(cx, now, message);
        assert_eq!(sent.is_ok(), text < "e", "{text}");
    }
    assert_eq!(bench.sent(), ["a", "b", "c", "d"]);
    bench.comes(&["^ack 4", "2"]);
    assert_eq!(bench.receives(), 1);
    bench.sends("e", true);
    assert_eq!(bench.sent(), ["e"]);
    // An acknowledgement that is due goes first.
    bench.now += SECOND;
    bench.driver.machine.handle_timeout(bench.now);
    bench.sends("f", true);
    assert_eq!(bench.sent(), ["^ack 2", "f"]);
    // A message that begins like a control frame is escaped.
    bench.sends("\u{1}g", true);
    assert_eq!(bench.sent(), ["^^g"]);
    // A session that closes sends nothing any more.
    let why = CloseReason::normal();
    bench.driver.machine.close(bench.now, why, None);
    let (cx, now) = (&mut Context::from_waker(Waker::noop()), bench.now);
    let message = Message::from_static("h");
    assert!(bench.driver.send_short(cx, now, message).is_err());
}
