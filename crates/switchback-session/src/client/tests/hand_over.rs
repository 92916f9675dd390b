use super::*;

/// A session on server-sent events, and attachment 3 is about to open: a WebSocket.
fn probing() -> Bench {
    let mut bench = Bench::new(ClientConfig::new());
    bench.fail(1, WebSocket, FailureWhy::Refused);
    bench.accept(2);
    bench.sends(2);
    for _ in 0..4 {
        bench.gets(2, "^ping");
        bench.wait(15 * SECOND);
    }
    bench.sends(2);
    bench.events();
    bench
}

/// The same, and it is open and selected.
fn on_trial() -> Bench {
    let mut bench = probing();
    bench.accept(3);
    assert_eq!(bench.sends(3), ["^select 0"]);
    bench
}

fn moved() -> [ClientEvent; 1] {
    [ClientEvent::Moved {
        from: 2,
        to: 3,
        kind: WebSocket,
    }]
}

#[test]
fn a_better_transport_takes_over_without_a_pause() {
    let mut bench = probing();
    for text in ["1", "2"] {
        bench.session.send(text.into()).unwrap();
    }
    assert_eq!(bench.sends(2), ["1", "2"]);
    let opened = Opened {
        received: 1,
        ..bench.opened(3)
    };
    bench.gets(2, "^ack 2");
    bench.accept_as(3, opened);
    assert_eq!(bench.sends(3), ["^select 0"]);
    // Until the server has confirmed it, everything goes on where it was, both ways.
    bench.session.send("3".into()).unwrap();
    assert_eq!(bench.sends(3), [""; 0]);
    assert_eq!(bench.sends(2), ["3"]);
    assert_eq!(bench.gets(2, "a"), Some("a".into()));
    assert_eq!(bench.events(), []);
    bench.gets(3, "^selected 2");
    assert_eq!(bench.events(), moved());
    // More was acknowledged since it opened: it says where it begins.
    assert_eq!(bench.sends(3), ["^ack 1", "^seq 3", "3"]);
    assert_eq!(bench.sends(2), [""; 0]);
    // What is under way on the old one still counts.
    assert_eq!(bench.gets(2, "b"), Some("b".into()));
    assert_eq!(bench.gets(3, "a"), None);
    assert_eq!(bench.gets(3, "b"), None);
    assert_eq!(bench.gets(3, "c"), Some("c".into()));
    bench.detach(2, Some(4000));
    assert_eq!(bench.events(), []);
    assert_eq!(bench.session.carrier(), Some(3));
}

#[test]
fn the_transport_left_behind_is_closed_if_the_server_does_not() {
    let mut bench = on_trial();
    bench.gets(3, "^selected 0");
    bench.actions();
    assert_eq!(bench.wait(5 * SECOND), ["x2 4004"]);
}

#[test]
fn the_end_of_the_other_confirms_too() {
    // The server ends all others when it gets `select`.
    let mut bench = on_trial();
    bench.detach(2, Some(4000));
    assert_eq!(bench.events(), moved());
    // Here is one that is open.
    let mut bench = on_trial();
    bench.detach(2, None);
    assert_eq!(bench.events(), moved());
}

#[test]
fn a_transport_that_carries_nothing_upwards_changes_nothing() {
    let mut bench = probing();
    bench.session.send("1".into()).unwrap();
    bench.sends(2);
    bench.gets(2, "a");
    let opened = Opened {
        next: 2,
        ..bench.opened(3)
    };
    bench.accept_as(3, opened);
    assert_eq!(bench.sends(3), ["^select 1"]);
    // The server may send there because it has lost the other one.
    bench.gets(3, "^ping");
    bench.gets(3, "^ack 0");
    assert_eq!(bench.gets(3, "b"), Some("b".into()));
    assert_eq!(bench.sends(3), ["^pong"]);
    assert_eq!(bench.wait(10 * SECOND), ["-3"]);
    assert_eq!(bench.events(), []);
    assert_eq!(bench.session.carrier(), Some(2));
    // The acknowledgement in `select` was lost; the message was not sent there.
    assert_eq!(bench.sends(2), ["^ack 2"]);
    // It is on probation, and not tried again for now.
    let memory = bench.session.memory();
    assert!(memory.demoted_until(WebSocket, bench.now).is_some());
}

#[test]
fn a_trial_that_is_cut_or_closed_changes_nothing() {
    for end in [None, Some(1000), Some(4000), Some(4400)] {
        let mut bench = on_trial();
        bench.detach(3, end);
        assert_eq!(bench.events(), []);
        assert_eq!(bench.session.carrier(), Some(2));
    }
}

#[test]
fn a_select_that_arrives_late_is_not_taken_for_somebody_else() {
    let mut bench = on_trial();
    bench.wait(10 * SECOND);
    // Only now the server reads it, and ends the one in use.
    bench.detach(2, Some(4000));
    let events = bench.events();
    assert!(matches!(&events[..], [ClientEvent::Reconnecting { .. }]));
    bench.session.handle_timeout(bench.now);
    let id = *bench.session.id();
    // The token of the one selected last is good whether that `select` has arrived or not.
    assert_eq!(bench.hello(), format!("1.resume.{id}.token3.4.4.0"));
}

#[test]
fn a_close_waits_for_the_end_of_the_trial() {
    let mut bench = on_trial();
    bench.session.close(bench.now, CloseReason::normal());
    let close = "^close {\"code\":1000,\"reason\":\"\",\"sent\":0}";
    assert_eq!(bench.sends(2), [close]);
    bench.gets(2, close);
    // The server may have moved to the other, and would not know how it ended.
    assert_eq!(closed(&bench.events()), None);
    bench.gets(3, "^selected 0");
    assert_eq!(bench.events(), moved());
    assert_eq!(bench.sends(3), ["^ack 0", close]);
    let events = bench.events();
    assert_eq!(closed(&events), Some((1000, ClosedBy::Local)));
    assert_eq!(bench.actions(), ["x2 4004", "x3 1000"]);
}

#[test]
fn a_probe_that_leads_elsewhere_changes_nothing() {
    let mut bench = probing();
    bench.session.send("1".into()).unwrap();
    bench.sends(2);
    bench.actions();
    let elsewhere = Opened {
        session: SessionId::from_bytes([7; 16]),
        resumed: false,
        why: Some(Why::Unknown),
        ..bench.opened(3)
    };
    bench.accept_as(3, elsewhere);
    assert_eq!(bench.actions(), ["x3 1000"]);
    assert_eq!(bench.events(), []);
    assert_eq!(bench.session.carrier(), Some(2));
    assert_eq!(bench.session.unacknowledged(), (1, 1));
}
