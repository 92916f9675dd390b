mod heartbeat;

use super::*;
use crate::{Ended, Why};

const SECOND: Duration = Duration::from_secs(1);

/// Bytes that are easily told apart.
struct Counter(u8);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        bytes.fill(self.0);
    }
}

/// A session under test and its clock.
struct Bench {
    now: Instant,
    session: ServerSession,
    entropy: Counter,
}

/// The next message, to a transport that has room for one.
fn take_one(session: &mut ServerSession, now: Instant, attachment: u64) -> Option<Message> {
    let mut taken = None;
    session.transmit(now, attachment, |message| {
        let room = taken.is_none();
        if room {
            taken = Some(message.clone());
        }
        room
    });
    taken
}

impl Bench {
    fn new(config: Config) -> Self {
        let now = Instant::now();
        let id = SessionId::from_bytes([0; 16]);
        Self {
            now,
            session: ServerSession::new(now, config, id),
            entropy: Counter(0),
        }
    }

    fn hello(&self, rest: &str) -> Hello {
        let id = self.session.id();
        let text = match rest.split_once(' ') {
            Some(("new", numbers)) => format!("1.new.{id}.{numbers}"),
            Some((token, numbers)) => format!("1.resume.{id}.{token}.{numbers}"),
            None => panic!("{rest}"),
        };
        text.parse().unwrap()
    }

    /// Attaches by `new ATTACHMENT.FENCE` or `TOKEN ATTACHMENT.FENCE.RECEIVED`, and returns what
    /// `opened` says.
    fn attach(&mut self, hello: &str) -> Opened {
        let hello = self.hello(hello);
        let number = self
            .session
            .attach(self.now, &hello, &mut self.entropy)
            .unwrap();
        let first = take_one(&mut self.session, self.now, number).unwrap();
        let Ok(Frame::Control(Control::Opened(opened))) = Frame::decode(first.clone()) else {
            panic!("{first:?}");
        };
        opened
    }

    /// Returns what is to be put onto an attachment, `^` for U+0001.
    fn sends(&mut self, attachment: u64) -> Vec<String> {
        let mut texts = Vec::new();
        self.session.transmit(self.now, attachment, |message| {
            texts.push(message.as_text().unwrap().replace('\u{1}', "^"));
            true
        });
        texts
    }

    fn try_gets(&mut self, attachment: u64, text: &str) -> Result<Option<Message>, ProtocolError> {
        let message = Message::text(text.replace('^', "\u{1}"));
        self.session.receive(self.now, attachment, message)
    }

    fn gets(&mut self, attachment: u64, text: &str) -> Option<Message> {
        self.try_gets(attachment, text).unwrap()
    }

    fn events(&mut self) -> Vec<ServerEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
    }
}

fn dropped(events: &[ServerEvent]) -> Vec<(u64, u16)> {
    let dropped = events.iter().filter_map(|event| match event {
        ServerEvent::Drop { attachment, why } => Some((*attachment, why.code().as_u16())),
        _ => None,
    });
    dropped.collect()
}

fn closed(events: &[ServerEvent]) -> Option<(u16, ClosedBy)> {
    match events.last() {
        Some(ServerEvent::Closed { reason, by }) => Some((reason.code().as_u16(), *by)),
        _ => None,
    }
}

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
fn a_hand_over_pauses_nothing_and_says_where_it_goes_on() {
    let mut bench = Bench::new(Config::new());
    let first = bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    bench.session.send("1".into()).unwrap();
    assert_eq!(bench.sends(1), ["1"]);
    let second = bench.attach(&format!("{} 2.1.1", first.token));
    assert_eq!(second.next, 2);
    // Until `select` everything goes on where it was, both ways.
    bench.session.send("2".into()).unwrap();
    bench.session.send("3".into()).unwrap();
    assert_eq!(bench.sends(2), [""; 0]);
    assert_eq!(bench.sends(1), ["2", "3"]);
    assert_eq!(bench.gets(1, "a"), Some("a".into()));
    bench.gets(1, "^ack 2");
    bench.events();
    bench.gets(2, "^select 2");
    assert_eq!(dropped(&bench.events()), [(1, 4000)]);
    // The client goes on where it was until it hears that.
    assert_eq!(bench.sends(2), ["^selected 1", "^seq 3", "3"]);
    // The client had sent two on the old one, and begins with the first that is not confirmed.
    assert_eq!(bench.gets(2, "a"), None);
    assert_eq!(bench.gets(2, "b"), Some("b".into()));
    // `opened` had promised 1; `seq` can say otherwise.
    bench.gets(2, "^seq 2");
    assert_eq!(bench.gets(2, "b"), None);
}

#[test]
fn the_carrier_is_the_selected_one_while_it_lives_and_else_the_newest() {
    let mut bench = Bench::new(Config::new());
    bench.attach("new 2.1");
    assert_eq!(bench.session.carrier(), Some(2));
    bench.session.send("1".into()).unwrap();
    bench.session.send("2".into()).unwrap();
    assert_eq!(bench.sends(2), ["1", "2"]);
    bench.attach("new 3.1");
    assert_eq!(bench.session.carrier(), Some(3));
    assert_eq!(bench.sends(3), ["1", "2"]);
    bench.session.send("3".into()).unwrap();
    bench.attach("new 1.1");
    assert_eq!(bench.sends(3), ["3"]);
    // It has the first two already, if it lives.
    bench.session.detach(bench.now, 3, None);
    assert_eq!(bench.session.carrier(), Some(2));
    assert_eq!(bench.sends(2), ["3"]);
    bench.gets(1, "^select 0");
    assert_eq!(bench.session.carrier(), Some(1));
    assert_eq!(bench.sends(1), ["1", "2", "3"]);
}

#[test]
fn whoever_is_not_welcome_disturbs_nobody() {
    let mut bench = Bench::new(Config::new());
    let first = bench.attach("new 2.2");
    bench.gets(2, "^select 0");
    let second = bench.attach(&format!("{} 5.2.0", first.token));
    bench.events();
    for (hello, refused) in [
        ("new 9.9".to_owned(), Refused::Unknown),
        ("guessed 9.9.0".to_owned(), Refused::Unknown),
        ("guessed 1.1.0".to_owned(), Refused::Unknown),
        (format!("{} 1.1.0", first.token), Refused::Superseded),
        (format!("{} 2.2.0", first.token), Refused::Superseded),
        (format!("{} 5.2.0", second.token), Refused::Superseded),
        (format!("{} 6.6.1", first.token), Refused::Invalid),
    ] {
        let hello = bench.hello(&hello);
        assert_eq!(bench.session.authorize(&hello), Err(refused), "{hello:?}");
        let result = bench.session.attach(bench.now, &hello, &mut bench.entropy);
        assert_eq!(result, Err(refused));
    }
    assert_eq!(bench.events(), []);
    assert_eq!(bench.session.live().collect::<Vec<_>>(), [2, 5]);
    // Selected: the token before it is worthless, and so are lower numbers.
    bench.gets(5, "^select 0");
    let old = bench.hello(&format!("{} 6.6.0", first.token));
    assert_eq!(bench.session.authorize(&old), Err(Refused::Unknown));
    let late = bench.hello(&format!("{} 4.1.0", second.token));
    assert_eq!(bench.session.authorize(&late), Err(Refused::Superseded));
    let next = bench.hello(&format!("{} 6.6.0", second.token));
    assert_eq!(bench.session.authorize(&next), Ok(()));
}

#[test]
fn a_fence_ends_what_the_client_has_given_up() {
    let mut bench = Bench::new(Config::new());
    let first = bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    bench.events();
    bench.attach(&format!("{} 3.3.0", first.token));
    assert_eq!(dropped(&bench.events()), [(1, 4000)]);
    assert_eq!(bench.session.carrier(), Some(3));
    // What arrives late on the old one is nobody's.
    assert_eq!(bench.gets(1, "late"), None);
    assert_eq!(bench.gets(3, "new"), Some("new".into()));
}

#[test]
fn the_number_of_attachments_is_bounded() {
    let mut bench = Bench::new(Config::new().with_max_attachments(2));
    for hello in ["new 1.1", "new 2.1", "new 3.1"] {
        bench.attach(hello);
    }
    assert_eq!(dropped(&bench.events()), [(1, 1013)]);
    assert_eq!(bench.session.live().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn instead_of_a_session_that_is_not_known_a_new_one_begins() {
    let mut bench = Bench::new(Config::new());
    let hello: Hello = "1.resume.AQEBAQEBAQEBAQEBAQEBAQ.old.7.7.42"
        .parse()
        .unwrap();
    let id = *bench.session.id();
    bench.session = ServerSession::new_instead(bench.now, Config::new(), id, Why::Expired);
    assert_eq!(bench.session.authorize(&hello), Ok(()));
    let attached = bench.session.attach(bench.now, &hello, &mut bench.entropy);
    assert_eq!(attached, Ok(7));
    let sends = bench.sends(7);
    assert!(sends[0].contains("\"resumed\":false,\"why\":\"expired\",\"received\":0,\"next\":1"));
    // Only once.
    assert_eq!(bench.session.authorize(&hello), Err(Refused::Unknown));
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
fn the_heartbeat_pings_and_drops_whoever_does_not_answer() {
    let mut bench = Bench::new(Config::new());
    bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    bench.events();
    let step = |bench: &mut Bench| {
        let at = bench.session.deadline().unwrap();
        bench.wait(at - bench.now);
        bench.sends(1)
    };
    // The first deadline is for `select`.
    assert_eq!(step(&mut bench), [""; 0]);
    assert_eq!(step(&mut bench), ["^ping"]);
    bench.gets(1, "^pong");
    // The deadline stands for the answer; looked at again it moves to the next ping.
    assert_eq!(step(&mut bench), [""; 0]);
    assert_eq!(step(&mut bench), ["^ping"]);
    step(&mut bench);
    let events = bench.events();
    assert_eq!(dropped(&events), [(1, 4002)]);
    assert_eq!(events.last(), Some(&ServerEvent::Parked));
    bench.wait(Config::new().park());
    assert_eq!(closed(&bench.events()), Some((4002, ClosedBy::Expired)));
}

#[test]
fn a_close_delivers_everything_first_over_a_resume_too() {
    let mut bench = Bench::new(Config::new());
    let first = bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    bench.session.send("1".into()).unwrap();
    let why = CloseReason::new(CloseCode::SERVICE_RESTART, "soon back");
    bench
        .session
        .close(bench.now, why, Some(Duration::from_millis(700)));
    assert_eq!(bench.session.send("2".into()), Err("2".into()));
    let close = "^close {\"code\":1012,\"reason\":\"soon back\",\"sent\":1,\"reconnect\":700}";
    assert_eq!(bench.sends(1), ["1", close]);
    // The client may send until it knows.
    assert_eq!(bench.gets(1, "a"), Some("a".into()));
    bench.session.detach(bench.now, 1, None);
    bench.wait(Config::new().close_timeout());
    assert!(!bench.session.is_closed(), "it waits for a resume");
    bench.attach(&format!("{} 2.2.0", first.token));
    // `opened` has told how far the client was received; the acknowledgement was due all the same.
    assert_eq!(bench.sends(2), ["^ack 1", "1", close]);
    bench.gets(2, "^select 1");
    bench.gets(2, "^close {\"code\":1012,\"sent\":1}");
    let events = bench.events();
    assert_eq!(dropped(&events), [(2, 1012)]);
    assert_eq!(closed(&events), Some((1012, ClosedBy::Local)));
}

#[test]
fn a_close_waits_no_longer_than_it_may() {
    let config = Config::new();
    let mut bench = Bench::new(config.clone());
    bench.attach("new 1.1");
    bench.session.send("1".into()).unwrap();
    bench.session.close(bench.now, CloseReason::normal(), None);
    bench.sends(1);
    bench.wait(config.close_timeout());
    assert_eq!(closed(&bench.events()), Some((1000, ClosedBy::TimedOut)));
    assert_eq!(bench.session.take_unacknowledged(), ["1".into()]);

    let mut bench = Bench::new(config.clone());
    bench.attach("new 1.1");
    bench.session.detach(bench.now, 1, None);
    bench.session.close(bench.now, CloseReason::normal(), None);
    bench.wait(config.park());
    assert_eq!(closed(&bench.events()), Some((1000, ClosedBy::TimedOut)));
}

#[test]
fn a_clean_end_of_a_transport_says_what_the_client_means() {
    // (whether it was selected, code, whether the session goes on)
    for (selected, code, goes_on) in [
        (false, 1000, false),
        (true, 1000, true),
        (true, 1001, true),
        (true, 4004, true),
        (true, 1002, false),
        (true, 4100, false),
    ] {
        let mut bench = Bench::new(Config::new());
        bench.attach("new 1.1");
        if selected {
            bench.gets(1, "^select 0");
        }
        let why = CloseReason::new(CloseCode::new(code).unwrap(), "");
        bench.session.detach(bench.now, 1, Some(why));
        assert_eq!(bench.session.is_parked(), goes_on, "{selected} {code}");
        assert_eq!(bench.session.is_closed(), !goes_on);
    }
}

#[test]
fn a_client_that_leaves_is_not_waited_for() {
    let close = |code: u16| format!("^close {{\"code\":{code},\"sent\":0}}");
    for (code, leaves) in [(1000, false), (1001, true), (3000, false)] {
        let mut bench = Bench::new(Config::new());
        bench.attach("new 1.1");
        bench.gets(1, "^select 0");
        bench.session.send("1".into()).unwrap();
        bench.gets(1, &close(code));
        // What there is to say is said all the same: the client may be there still.
        assert_eq!(bench.sends(1).len(), 2);
        let events = bench.events();
        let expected = leaves.then_some((code, ClosedBy::Peer));
        assert_eq!(closed(&events), expected);
        assert_eq!(dropped(&events).len(), usize::from(leaves));
        assert_eq!(
            bench.session.take_unacknowledged().len(),
            usize::from(leaves)
        );

        // It is cut before anything could be said.
        let mut bench = Bench::new(Config::new());
        bench.attach("new 1.1");
        bench.gets(1, "^select 0");
        bench.gets(1, &close(code));
        bench.session.detach(bench.now, 1, None);
        assert_eq!(bench.session.is_closed(), leaves, "{code}");
        assert_eq!(bench.session.is_parked(), !leaves, "{code}");
    }
    // The other one of two attachments goes on.
    let mut bench = Bench::new(Config::new());
    bench.attach("new 1.1");
    bench.attach("new 2.1");
    bench.gets(2, &close(1001));
    bench.session.detach(bench.now, 2, None);
    assert!(!bench.session.is_closed());
    assert_eq!(bench.sends(1).len(), 1);
    assert_eq!(closed(&bench.events()), Some((1001, ClosedBy::Peer)));
}

#[test]
fn what_remains_tells_why_it_is_gone_to_who_has_the_token() {
    let config = Config::new().with_park(30 * SECOND);
    let mut bench = Bench::new(config.clone());
    let token = bench.attach("new 1.1").token;
    bench.gets(1, "^select 0");
    assert!(bench.session.knows(&token));
    bench.session.detach(bench.now, 1, None);
    assert!(bench.session.remains().is_none());
    bench.wait(30 * SECOND);
    assert_eq!(closed(&bench.events()), Some((4002, ClosedBy::Expired)));
    let remains = bench.session.remains().unwrap();
    assert_eq!(remains.session(), bench.session.id());
    assert_eq!(remains.gone(&token).why(), Why::Expired);
    assert!(!remains.is_closed());
    assert_eq!(remains.gone(&"guess".parse().unwrap()), Why::Unknown.into());

    // Given up while it was parked, and closed while the client was away.
    let mut bench = Bench::new(config.clone());
    let token = bench.attach("new 1.1").token;
    bench.session.detach(bench.now, 1, None);
    bench
        .session
        .abort(CloseCode::TRY_AGAIN_LATER.into(), ClosedBy::Overflow);
    assert_eq!(
        bench.session.remains().unwrap().gone(&token).why(),
        Why::Overflow
    );
    let mut bench = Bench::new(config.clone());
    let token = bench.attach("new 1.1").token;
    bench.session.detach(bench.now, 1, None);
    bench.session.close(bench.now, CloseReason::normal(), None);
    bench.wait(30 * SECOND);
    assert_eq!(
        bench.session.remains().unwrap().gone(&token).why(),
        Why::Expired
    );

    // Ended, not given up.
    let mut bench = Bench::new(config);
    bench.attach("new 1.1");
    bench
        .session
        .detach(bench.now, 1, Some(CloseReason::normal()));
    assert!(bench.session.is_closed());
    assert!(bench.session.remains().is_none());
}

#[test]
fn what_remains_tells_how_far_it_had_come() {
    let config = Config::new().with_park(30 * SECOND);
    let answer = |bench: &mut Bench, token: &Token| {
        let remains = bench.session.remains().unwrap();
        // What the application takes back does not change what was sent.
        bench.session.take_unacknowledged();
        assert_eq!(
            bench.session.remains().unwrap().gone(token),
            remains.gone(token)
        );
        let hello = bench.hello(&format!("{token} 9.9.0"));
        let (now, id, gone) = (
            bench.now,
            SessionId::from_bytes([9; 16]),
            remains.gone(token),
        );
        bench.session = ServerSession::new_instead(now, Config::new(), id, gone);
        let attached = bench.session.attach(now, &hello, &mut bench.entropy);
        assert_eq!(attached, Ok(9));
        let first = take_one(&mut bench.session, now, 9).unwrap();
        match Frame::decode(first) {
            Ok(Frame::Control(Control::Opened(opened))) => (opened.why, opened.ended),
            other => panic!("{other:?}"),
        }
    };
    let ended = |received, sent| Some(Ended { received, sent });

    // The client closes and is told, but perhaps it does not hear it.
    let mut bench = Bench::new(config.clone());
    let token = bench.attach("new 1.1").token;
    bench.gets(1, "^select 0");
    bench.session.send("1".into()).unwrap();
    bench.gets(1, "a");
    bench.gets(1, "b");
    bench.sends(1);
    bench.gets(1, "^ack 1");
    bench.gets(1, "^close {\"code\":1000,\"sent\":2}");
    assert_eq!(bench.sends(1).len(), 2);
    assert_eq!(closed(&bench.events()), Some((1000, ClosedBy::Peer)));
    assert!(bench.session.remains().unwrap().is_closed());
    assert_eq!(answer(&mut bench, &token), (Some(Why::Closed), ended(2, 1)));

    // It is cut before it has everything, and does not come back in time.
    let mut bench = Bench::new(config.clone());
    let token = bench.attach("new 1.1").token;
    bench.gets(1, "^select 0");
    for text in ["1", "2"] {
        bench.session.send(text.into()).unwrap();
    }
    bench.gets(1, "^close {\"code\":1000,\"sent\":0}");
    bench.session.detach(bench.now, 1, None);
    bench.wait(30 * SECOND);
    assert_eq!(closed(&bench.events()), Some((1000, ClosedBy::Peer)));
    assert_eq!(answer(&mut bench, &token), (Some(Why::Closed), ended(0, 2)));

    // Nobody closes.
    let mut bench = Bench::new(config);
    let token = bench.attach("new 1.1").token;
    bench.gets(1, "^select 0");
    bench.session.send("1".into()).unwrap();
    bench.gets(1, "a");
    bench.session.detach(bench.now, 1, None);
    bench.wait(30 * SECOND);
    assert_eq!(
        answer(&mut bench, &token),
        (Some(Why::Expired), ended(1, 1))
    );
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
fn the_answer_to_a_server_that_goes_away_is_not_a_client_that_leaves() {
    let mut bench = Bench::new(Config::new());
    bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    bench
        .session
        .close(bench.now, CloseCode::GOING_AWAY.into(), None);
    assert_eq!(bench.sends(1).len(), 1);
    assert!(bench.gets(1, "under way").is_some());
    bench.gets(1, "^close {\"code\":1001,\"sent\":1}");
    assert_eq!(closed(&bench.events()), None);
    // The client learns that its last message was received.
    assert_eq!(bench.sends(1), ["^ack 1"]);
    assert_eq!(closed(&bench.events()), Some((1001, ClosedBy::Local)));
}

#[test]
fn a_message_sent_right_after_a_hand_over_says_its_number() {
    let mut bench = Bench::new(Config::new());
    let token = bench.attach("new 1.1").token;
    bench.gets(1, "^select 0");
    bench.attach(&format!("{token} 2.1.0"));
    bench.session.send("1".into()).unwrap();
    assert_eq!(bench.sends(1), ["1"]);
    bench.gets(1, "^ack 1");
    bench.gets(2, "^select 1");
    bench.events();
    bench.sends(2);
    let mut texts = Vec::new();
    let mut messages = std::iter::once(Message::from("2"));
    let now = bench.now;
    bench
        .session
        .transmit_from(now, 2, &mut messages, |message| {
            texts.push(message.as_text().unwrap().replace('\u{1}', "^"));
            true
        });
    assert_eq!(texts, ["^seq 2", "2"]);
}
