//! Sessions that end, in order and otherwise, and what remains of them.

use super::*;

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
