//! Which transport is tried when, and what is remembered of it.

use super::*;

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
