//! What a client says on an attachment that opens, and what it takes.

use super::*;

/// A session whose only attachment has been accepted this moment.
fn accepted() -> Bench {
    let mut bench = Bench::new(ClientConfig::new());
    bench.actions();
    bench.accept(1);
    assert_eq!(bench.sends(1), [""; 0]);
    bench
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
fn a_strange_answer_fails_the_try_only() {
    for text in ["hello", "^ack 0", "^opened {}", "^"] {
        let mut bench = Bench::new(ClientConfig::new());
        bench.actions();
        bench.session.opened(bench.now, 1);
        assert_eq!(bench.gets(1, text), None);
        assert_eq!(bench.actions(), ["x1 1000", "+2 sse"], "{text}");
    }
}
