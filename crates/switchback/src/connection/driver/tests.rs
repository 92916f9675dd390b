mod random;
mod short;

use std::sync::{Arc, Mutex};
use std::task::Waker;

use switchback_core::TransportInfo;
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
    /// It is, when it has taken so many more.
    full_after: Option<usize>,
    broken: bool,
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
        if wire.broken {
            return Poll::Ready(Err(ErrorKind::Reset.into()));
        }
        if wire.full {
            return Poll::Pending;
        }
        let text = message.as_text().unwrap();
        wire.sent.push(text.replace('\u{1}', "^"));
        if let Some(left) = &mut wire.full_after {
            *left -= 1;
            if *left == 0 {
                wire.full_after = None;
                wire.full = true;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.wire.lock().unwrap().full {
            return Poll::Pending;
        }
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
