mod hand_over;
mod rate;

use switchback_core::CloseCode;

use super::*;
use crate::{Ended, Opened, Why};
use TransportKind::{LongPoll, Sse, WebSocket};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The same bytes again and again: delays are always the same, and short.
#[derive(Debug)]
struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

/// A session under test and its clock.
struct Bench {
    now: Instant,
    session: ClientSession,
}

impl Bench {
    fn new(config: ClientConfig) -> Self {
        Self::with_memory(Instant::now(), config, None)
    }

    fn with_memory(now: Instant, config: ClientConfig, memory: Option<Memory>) -> Self {
        let session = ClientSession::new(now, config, memory, Box::new(Fixed(0)));
        Self { now, session }
    }

    /// A session that is open on attachment 1, and has selected it.
    fn open(config: ClientConfig) -> Self {
        let mut bench = Self::new(config);
        bench.actions();
        bench.accept(1);
        bench.session.links[0].link.owe_select(None);
        assert_eq!(bench.sends(1), ["^select 0"]);
        bench.events();
        bench.actions();
        bench
    }

    fn opened(&self, attachment: u64) -> Opened {
        Opened {
            session: *self.session.id(),
            token: format!("token{attachment}").parse().unwrap(),
            resumed: self.session.token.is_some(),
            why: None,
            ended: None,
            received: 0,
            next: 1,
            heartbeat: 25 * SECOND,
            timeout: 35 * SECOND,
            park: 120 * SECOND,
            ack_messages: 2,
            ack_bytes: 1000,
            ack_delay: SECOND,
        }
    }

    /// The transport opens and the server accepts it.
    fn accept(&mut self, attachment: u64) {
        let opened = self.opened(attachment);
        self.accept_as(attachment, opened);
    }

    fn accept_as(&mut self, attachment: u64, opened: Opened) {
        self.session.opened(self.now, attachment);
        let opened = Control::Opened(opened).encode();
        let taken = self.session.receive(self.now, attachment, opened);
        assert_eq!(taken, Ok(None));
    }

    fn fail(&mut self, attachment: u64, kind: TransportKind, why: FailureWhy) {
        let failure = Failure::new(kind, why, "no");
        self.session.failed(self.now, attachment, failure);
    }

    fn sends(&mut self, attachment: u64) -> Vec<String> {
        let mut texts = Vec::new();
        self.session.transmit(self.now, attachment, |message| {
            texts.push(message.as_text().unwrap().replace('\u{1}', "^"));
            true
        });
        texts
    }

    fn gets(&mut self, attachment: u64, text: &str) -> Option<Message> {
        let message = Message::text(text.replace('^', "\u{1}"));
        self.session.receive(self.now, attachment, message).unwrap()
    }

    fn detach(&mut self, attachment: u64, clean: Option<u16>) {
        let clean = clean.map(|code| CloseReason::new(CloseCode::new(code).unwrap(), ""));
        self.session.detach(self.now, attachment, clean);
    }

    /// Returns what is to be done: `+` start, `-` cancel, `x` close.
    fn actions(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.session.poll_action())
            .map(|action| match action {
                Action::Start {
                    attachment,
                    kind,
                    hello,
                } => {
                    assert_eq!(hello.attachment(), attachment);
                    format!("+{attachment} {kind}")
                }
                Action::Cancel { attachment } => format!("-{attachment}"),
                Action::Close { attachment, why } => format!("x{attachment} {}", why.code()),
            })
            .collect()
    }

    fn hello(&mut self) -> String {
        match self.session.poll_action() {
            Some(Action::Start { hello, .. }) => hello.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        let until = self.now + time;
        while let Some(at) = self.session.deadline().filter(|at| *at <= until) {
            self.now = at;
            self.session.handle_timeout(at);
        }
        self.now = until;
        self.actions()
    }
}

fn closed(events: &[ClientEvent]) -> Option<(u16, ClosedBy)> {
    match events.last() {
        Some(ClientEvent::Closed { reason, by }) => Some((reason.code().as_u16(), *by)),
        _ => None,
    }
}

/// A session whose only attachment has been accepted this moment.
fn accepted() -> Bench {
    let mut bench = Bench::new(ClientConfig::new());
    bench.actions();
    bench.accept(1);
    assert_eq!(bench.sends(1), [""; 0]);
    bench
}

#[test]
fn a_select_that_decides_nothing_goes_with_what_follows_it() {
    let mut bench = accepted();
    bench.session.send("hello".into()).unwrap();
    assert_eq!(bench.sends(1), ["^select 0", "hello"]);

    let mut bench = accepted();
    bench.gets(1, "^ping");
    assert_eq!(bench.sends(1), ["^select 0", "^pong"]);

    let mut bench = accepted();
    bench.gets(1, "a");
    bench.gets(1, "b");
    assert_eq!(bench.sends(1), ["^select 2"]);

    let mut bench = accepted();
    bench.session.close(bench.now, CloseReason::normal());
    let close = "^close {\"code\":1000,\"reason\":\"\",\"sent\":0}";
    assert_eq!(bench.sends(1), ["^select 0", close]);
}

#[test]
fn a_select_that_decides_nothing_does_not_wait_for_long() {
    let mut bench = accepted();
    bench.wait(49 * MS);
    assert_eq!(bench.sends(1), [""; 0]);
    assert_eq!(bench.session.deadline(), Some(bench.now + MS));
    bench.wait(MS);
    assert_ne!(bench.session.deadline(), Some(bench.now));
    assert_eq!(bench.sends(1), ["^select 0"]);
    // A driver that is late, and has not said so.
    let mut bench = accepted();
    bench.now += 50 * MS;
    assert_eq!(bench.sends(1), ["^select 0"]);
}

#[test]
fn a_select_that_decides_something_goes_at_once() {
    // Two race: one is open, or may be open on the server.
    for opened in [false, true] {
        let mut bench = Bench::new(ClientConfig::new());
        bench.wait(300 * MS);
        if opened {
            bench.session.opened(bench.now, 1);
        }
        bench.accept(2);
        assert_eq!(bench.sends(2), ["^select 0"]);
    }
    // One that was begun later has failed here, and may arrive there.
    let mut bench = Bench::new(ClientConfig::new());
    bench.wait(300 * MS);
    bench.fail(2, Sse, FailureWhy::Cut);
    bench.session.opened(bench.now, 1);
    bench.accept(1);
    assert_eq!(bench.sends(1), ["^select 0"]);
    // A hand-over: WebSocket was refused at first.
    let mut bench = Bench::new(ClientConfig::new().with_probe(SECOND, SECOND));
    bench.fail(1, WebSocket, FailureWhy::Refused);
    bench.accept(2);
    bench.wait(50 * MS);
    assert_eq!(bench.sends(2), ["^select 0"]);
    bench.wait(2 * SECOND);
    bench.accept(3);
    assert_eq!(bench.sends(3), ["^select 0"]);
}

#[test]
fn connects_and_selects_and_sends_what_was_queued() {
    let mut bench = Bench::new(ClientConfig::new());
    bench.session.send("early".into()).unwrap();
    let id = *bench.session.id();
    assert_eq!(bench.hello(), format!("1.new.{id}.1.1"));
    bench.session.opened(bench.now, 1);
    // Nothing before `opened`: nobody would know whether it was received.
    assert_eq!(bench.sends(1), [""; 0]);
    bench.accept(1);
    assert_eq!(
        bench.events(),
        [ClientEvent::Open {
            attachment: 1,
            kind: WebSocket,
            resumed: false
        }]
    );
    assert_eq!(bench.sends(1), ["^select 0", "early"]);
    assert_eq!(bench.gets(1, "a"), Some("a".into()));
    bench.gets(1, "^ping");
    bench.gets(1, "b");
    assert_eq!(bench.sends(1), ["^pong", "^ack 2"]);
    bench.gets(1, "^ack 1");
    assert_eq!(bench.session.unacknowledged(), (0, 0));
}

#[test]
fn races_with_head_starts_and_cancels_the_losers() {
    let mut bench = Bench::new(ClientConfig::new());
    assert_eq!(bench.actions(), ["+1 websocket"]);
    assert_eq!(bench.wait(299 * MS), [""; 0]);
    assert_eq!(bench.wait(MS), ["+2 sse"]);
    assert_eq!(bench.wait(300 * MS), ["+3 longpoll"]);
    bench.accept(2);
    assert_eq!(bench.actions(), ["-1", "-3"]);
    // The better one had not failed: it is tried again soon, beside the one in use.
    assert_eq!(bench.wait(SECOND), ["+4 websocket"]);
}

#[test]
fn a_refusal_starts_the_next_at_once() {
    let mut bench = Bench::new(ClientConfig::new());
    bench.actions();
    bench.fail(1, WebSocket, FailureWhy::Refused);
    assert_eq!(bench.actions(), ["+2 sse"]);
    bench.fail(2, Sse, FailureWhy::Refused);
    assert_eq!(bench.actions(), ["+3 longpoll"]);
    bench.fail(3, LongPoll, FailureWhy::Cut);
    let events = bench.events();
    let [ClientEvent::GaveUp { failures }] = &events[..] else {
        panic!("{events:?}");
    };
    let kinds: Vec<_> = failures.iter().map(|f| (f.kind, f.why)).collect();
    assert_eq!(
        kinds,
        [
            (WebSocket, FailureWhy::Refused),
            (Sse, FailureWhy::Refused),
            (LongPoll, FailureWhy::Cut)
        ]
    );
    assert!(bench.session.is_closed());
}

#[test]
fn what_opens_and_delivers_nothing_is_given_up_and_demoted() {
    let mut bench = Bench::new(ClientConfig::new().with_transports([Sse, LongPoll]));
    assert_eq!(bench.actions(), ["+1 sse"]);
    bench.session.opened(bench.now, 1);
    bench.wait(300 * MS);
    assert_eq!(bench.wait(1700 * MS), ["-1"]);
    let memory = bench.session.memory();
    assert!(memory.demoted_until(Sse, bench.now).is_some());
    bench.accept(2);
    bench.actions();
    // Not probed as long as it is demoted.
    let mut probed = false;
    while memory.demoted_until(Sse, bench.now).is_some() {
        assert!(!probed);
        bench.gets(2, "^ping");
        probed = bench.wait(20 * SECOND) == ["+3 sse"];
    }
    bench.gets(2, "^ping");
    bench.wait(30 * SECOND);
    bench.gets(2, "^ping");
    assert!(probed || bench.wait(30 * SECOND) == ["+3 sse"]);
}

#[test]
fn a_try_takes_no_longer_than_it_may() {
    let config = ClientConfig::new().with_transports([WebSocket]);
    let mut bench = Bench::new(config);
    bench.actions();
    assert_eq!(bench.wait(10 * SECOND), ["-1"]);
    let events = bench.events();
    let [ClientEvent::GaveUp { failures }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(failures[0].why, FailureWhy::TimedOut);
}

#[test]
fn what_opens_and_dies_goes_on_probation_and_the_others_take_over() {
    let mut bench = Bench::open(ClientConfig::new());
    bench.now += 200 * MS;
    bench.detach(1, None);
    assert_eq!(bench.wait(Duration::ZERO), ["+2 websocket"]);
    bench.accept(2);
    bench.now += 200 * MS;
    bench.detach(2, None);
    assert_eq!(bench.wait(Duration::ZERO), ["+3 sse"]);
    let until = bench.session.memory().demoted_until(WebSocket, bench.now);
    assert_eq!(until, Some(bench.now + 300 * SECOND));
    // Still raced, last, should nothing else work.
    assert_eq!(bench.wait(600 * MS), ["+4 longpoll", "+5 websocket"]);
}

#[test]
fn what_carries_nothing_up_is_demoted() {
    // (code, how long it lived, whether the next race begins with it all the same)
    for (code, seconds, again) in [(4002, 15, false), (4002, 36, true), (1001, 15, true)] {
        let mut bench = Bench::open(ClientConfig::new());
        // It is trusted by now.
        bench.wait(6 * SECOND);
        bench.gets(1, "^ping");
        bench.wait(seconds * SECOND - 6 * SECOND);
        bench.gets(1, "^ping");
        bench.detach(1, Some(code));
        let first = bench.wait(Duration::ZERO).remove(0);
        assert_eq!(first == "+2 websocket", again, "{code} {seconds}: {first}");
        assert_eq!(first == "+2 sse", !again);
    }
    // The only one that is allowed is tried for ever.
    let mut bench = Bench::open(ClientConfig::new().with_transports([WebSocket]));
    bench.wait(15 * SECOND);
    bench.detach(1, Some(4002));
    assert_eq!(bench.wait(Duration::ZERO), ["+2 websocket"]);
}

#[test]
fn the_winner_is_tried_first_the_next_time() {
    let config = ClientConfig::new();
    let mut bench = Bench::new(config.clone());
    bench.fail(1, WebSocket, FailureWhy::Refused);
    bench.fail(2, Sse, FailureWhy::Refused);
    bench.accept(3);
    bench.wait(5 * SECOND);
    let memory = bench.session.memory();
    assert_eq!(memory.winner(bench.now), Some(LongPoll));
    let mut next = Bench::with_memory(bench.now, config, Some(memory));
    assert_eq!(next.actions(), ["+1 longpoll"]);
    assert_eq!(next.wait(300 * MS), ["+2 websocket"]);
}

#[test]
fn the_winner_is_remembered_from_its_end_on() {
    let config = ClientConfig::new();
    let remembered = |bench: &Bench| {
        let memory = bench.session.memory();
        let last = bench.now + config.remember() - MS;
        memory.winner(last).is_some() && memory.winner(last + MS).is_none()
    };
    let close = "^close {\"code\":1000,\"sent\":0}";
    let ends: [fn(&mut Bench); 3] = [
        |bench| bench.detach(1, None),
        |bench| bench.detach(1, Some(4400)),
        |bench| {
            let why = CloseReason::normal();
            bench.session.abort(bench.now, why, ClosedBy::Local);
        },
    ];
    for end in ends {
        let mut bench = Bench::open(config.clone());
        bench.wait(20 * SECOND);
        assert!(!remembered(&bench));
        end(&mut bench);
        assert!(remembered(&bench));
    }
    let mut bench = Bench::open(config.clone());
    bench.wait(20 * SECOND);
    bench.session.close(bench.now, CloseReason::normal());
    bench.sends(1);
    bench.gets(1, close);
    assert!(bench.session.is_closed());
    assert!(remembered(&bench));
    // What has not proved itself is no winner.
    let mut bench = Bench::open(config.clone());
    bench.wait(4 * SECOND);
    ends[2](&mut bench);
    assert_eq!(bench.session.memory().winner(bench.now), None);
}

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
fn retry_after_delays_the_next_round() {
    let config = ClientConfig::new()
        .with_transports([WebSocket])
        .with_give_up_after(None);
    let mut bench = Bench::new(config);
    bench.actions();
    let failure = Failure::new(WebSocket, FailureWhy::Refused, "busy").with_retry_after(9 * SECOND);
    bench.session.failed(bench.now, 1, failure);
    assert_eq!(bench.wait(8 * SECOND), [""; 0]);
    assert_eq!(bench.wait(2 * SECOND), ["+2 websocket"]);
}

#[test]
fn a_strange_answer_fails_the_try_only() {
    for text in ["hello", "^ack 0", "^opened {}", "^"] {
        let mut bench = Bench::new(ClientConfig::new());
        bench.actions();
        bench.session.opened(bench.now, 1);
        assert_eq!(bench.gets(1, text), None);
        assert_eq!(bench.actions(), ["x1 1000", "+2 sse"], "{text}");
    }
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
