use std::sync::{Arc, Mutex};
use std::task::Waker;

use switchback_core::{Broadcast, Listener, TransportInfo};
use switchback_session::{Config, ServerSession, SessionId};

use super::super::batch::Batch;
use super::super::outbox::Bound;
use super::*;
use crate::entropy::OsEntropy;

const SECOND: Duration = Duration::from_secs(1);

/// What a [`Line`] does, and what went over it.
#[derive(Debug, Default)]
struct Wire {
    full: bool,
    sent: Vec<String>,
    comes: VecDeque<String>,
    closed: Option<u16>,
}

/// A transport whose other end is the test. Control frames are written with `^` for U+0001.
#[derive(Debug)]
struct Line {
    info: TransportInfo,
    wire: Arc<Mutex<Wire>>,
}

impl Transport for Line {
    fn info(&self) -> &TransportInfo {
        &self.info
    }

    fn has_buffered(&self) -> Option<bool> {
        Some(!self.wire.lock().unwrap().comes.is_empty())
    }

    fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        match self.wire.lock().unwrap().comes.pop_front() {
            Some(text) => Poll::Ready(Ok(Some(text.replace('^', "\u{1}").into()))),
            None => Poll::Pending,
        }
    }

    /// Gives all that came in one go.
    fn poll_recv_each(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Message) -> bool,
    ) -> Poll<Result<bool, Error>> {
        let mut any = false;
        while let Poll::Ready(Ok(Some(message))) = self.poll_recv(cx) {
            any = true;
            if !take(message) {
                break;
            }
        }
        if any {
            Poll::Ready(Ok(true))
        } else {
            Poll::Pending
        }
    }

    fn poll_send(&mut self, _: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>> {
        let mut wire = self.wire.lock().unwrap();
        if wire.full {
            return Poll::Pending;
        }
        let text = message.as_text().unwrap();
        wire.sent.push(text.replace('\u{1}', "^"));
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>> {
        self.wire.lock().unwrap().closed = Some(why.code().as_u16());
        Poll::Ready(Ok(()))
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        None
    }
}

/// A driver, its clock, and the other end of its only transport.
struct Bench {
    now: Instant,
    driver: Driver,
    outbox: Outbox,
    wire: Arc<Mutex<Wire>>,
}

impl Bench {
    fn new(machine: Machine) -> Self {
        let mut bench = Self {
            now: Instant::now(),
            driver: Driver::new(machine, None, 1 << 16),
            outbox: Outbox::new(usize::MAX, 1 << 16, 1 << 20),
            wire: Arc::default(),
        };
        let transport = Box::new(Line {
            info: TransportInfo::new(TransportKind::WebSocket),
            wire: bench.wire.clone(),
        });
        match *bench.driver.machine {
            Machine::Plain(_) => bench.driver.plug_plain(transport),
            _ => {
                let hello = "1.new.AAAAAAAAAAAAAAAAAAAAAA.1.1".parse().unwrap();
                let (now, entropy) = (bench.now, &mut OsEntropy);
                let attached = bench.driver.attach(now, &hello, transport, entropy);
                assert!(attached.is_ok());
            }
        }
        bench
    }

    /// A session that holds two messages until they are acknowledged.
    fn session() -> Self {
        let config = Config::new().with_replay_messages(2);
        let id = SessionId::from_bytes([0; 16]);
        let session = ServerSession::new(Instant::now(), config, id);
        let mut bench = Self::new(Machine::Server(Box::new(session)));
        bench.gets(&["^select 0"]);
        bench.wire.lock().unwrap().sent.clear();
        bench
    }

    fn queue(&self, texts: &[&'static str]) {
        for text in texts {
            let message = Message::from_static(text);
            self.outbox.push(message, Bound::Hard).unwrap();
        }
    }

    fn close(&mut self, code: u16) {
        let why = CloseReason::new(CloseCode::new(code).unwrap(), "");
        self.driver.close(self.now, why, &self.outbox);
        self.outbox.close(false);
        self.drive();
    }

    fn drive(&mut self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.driver
            .drive(&mut cx, self.now, &self.outbox, true, true);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.drive();
    }

    fn gets(&mut self, texts: &[&str]) {
        let texts = texts.iter().map(|text| (*text).to_owned());
        self.wire.lock().unwrap().comes.extend(texts);
        self.drive();
    }

    /// What was sent since the last time, pings aside.
    fn sent(&self) -> Vec<String> {
        let mut sent = std::mem::take(&mut self.wire.lock().unwrap().sent);
        sent.retain(|text| text != "^ping");
        sent
    }

    /// How the close ended for the application, and what the transport was closed with.
    fn end(&mut self) -> (Option<Result<(), ErrorKind>>, Option<u16>) {
        let end = self.driver.closed();
        let end = end.map(|end| end.map_err(|error| error.kind()));
        (end, self.wire.lock().unwrap().closed)
    }
}

#[test]
fn a_close_says_when_messages_before_it_were_dropped() {
    // (what the application closes with, what the peer is told)
    for (code, told) in [(1000, 4003), (1012, 1012), (4100, 4100)] {
        let mut bench = Bench::session();
        bench.queue(&["1", "2", "3"]);
        bench.close(code);
        assert_eq!(bench.sent(), ["1", "2"]);
        bench.wait(DRAIN_TIMEOUT - SECOND);
        assert_eq!(bench.sent(), [""; 0]);
        bench.wait(SECOND);
        let [close] = &bench.sent()[..] else {
            panic!("one close");
        };
        assert!(close.starts_with(&format!("^close {{\"code\":{told},")));
        assert!(close.ends_with(",\"sent\":2}"));
        assert_eq!(bench.end(), (None, None));
        // The peer takes what there is, and confirms.
        bench.gets(&["^ack 2", &format!("^close {{\"code\":{told},\"sent\":0}}")]);
        assert_eq!(bench.end(), (Some(Err(ErrorKind::TimedOut)), Some(told)));
        match bench.driver.take() {
            Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::TimedOut),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_close_that_finds_room_in_time_is_what_it_was() {
    let mut bench = Bench::session();
    bench.queue(&["1", "2", "3"]);
    bench.close(1000);
    bench.wait(DRAIN_TIMEOUT - SECOND);
    bench.sent();
    bench.gets(&["^ack 2"]);
    let close = "^close {\"code\":1000,\"reason\":\"\",\"sent\":3}";
    assert_eq!(bench.sent(), ["3", close]);
    bench.gets(&["^ack 3", "^close {\"code\":1000,\"sent\":0}"]);
    assert_eq!(bench.end(), (Some(Ok(())), Some(1000)));
    assert!(matches!(bench.driver.take(), Poll::Ready(Ok(None))));
}

#[test]
fn a_plain_close_says_when_messages_before_it_were_dropped() {
    for (full, end, told) in [
        (false, Ok(()), 1000),
        (true, Err(ErrorKind::TimedOut), 4003),
    ] {
        let mut bench = Bench::new(Machine::Plain(Box::default()));
        bench.wire.lock().unwrap().full = true;
        bench.queue(&["1", "2"]);
        bench.close(1000);
        assert_eq!(bench.end(), (None, None));
        bench.wait(20 * SECOND);
        bench.wire.lock().unwrap().full = full;
        bench.drive();
        bench.wait(10 * SECOND);
        assert_eq!(bench.end(), (Some(end), Some(told)));
        assert_eq!(bench.sent().len(), if full { 0 } else { 2 });
    }
}

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
        assert_eq!(bench.driver.send_short(cx, now, message, false), Ok(true));
        assert!(bench.driver.is_short());
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

#[test]
fn an_event_is_queued_behind_all_messages_that_a_peer_may_send_ahead() {
    let config = Config::new();
    let session = ServerSession::new(Instant::now(), config, SessionId::from_bytes([0; 16]));
    let driver = &mut Bench::new(Machine::Server(Box::new(session))).driver;
    let ahead = MAX_INBOUND + driver.machine.window().0;
    for _ in 0..ahead {
        driver.push(Event::Message(Message::from_static("")));
    }
    driver.push(Event::Reconnecting);
    assert!(matches!(driver.inbound.back(), Some(Event::Reconnecting)));
    // But not without end, for an application that never reads.
    for _ in 0..10 * MAX_EVENTS {
        driver.push(Event::Reconnecting);
    }
    assert!(driver.inbound.len() <= ahead + MAX_EVENTS);
}

/// A machine of each kind, on whose bench the short way is open.
fn short_benches(config: &Config) -> [Bench; 2] {
    let id = SessionId::from_bytes([0; 16]);
    let session = ServerSession::new(Instant::now(), config.clone(), id);
    let mut session = Bench::new(Machine::Server(Box::new(session)));
    session.gets(&["^select 0"]);
    let mut plain = Bench::new(Machine::Plain(Box::default()));
    plain.drive();
    for bench in [&session, &plain] {
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
        if let Err(message) = self.driver.send_next(cx, now, message, more) {
            assert_eq!(self.driver.send_short(cx, now, message, more), Ok(true));
        }
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
        let sent = match bench.driver.send_next(cx, now, message, true) {
            Ok(()) => Ok(true),
            Err(message) => bench.driver.send_short(cx, now, message, true),
        };
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
    assert!(bench.driver.send_next(cx, now, message, true).is_err());
}

struct Deaf;

impl Listener for Deaf {
    fn published(self: Arc<Self>) {}
}

/// What was published before a reply goes before it, also where the session would allow the reply.
#[test]
fn a_reply_does_not_overtake_what_was_published_before() {
    for mut bench in short_benches(&Config::new()) {
        let broadcast = Broadcast::new();
        let subscribed = bench
            .driver
            .subscribe(&broadcast, Arc::new(Deaf), &bench.outbox);
        subscribed.unwrap();
        bench.comes(&["1", "2"]);
        assert_eq!(bench.receives(), 2);
        broadcast.publish("news");
        let (cx, now) = (&mut Context::from_waker(Waker::noop()), bench.now);
        let reply = Message::from_static("reply");
        assert!(bench.driver.send_next(cx, now, reply, true).is_err());
    }
}
