//! Nothing that happens makes a client start more transports than it may.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Input {
    Wait(u16),
    Opened,
    Accepted,
    Failed(u8),
    Cut,
    Closed(u8),
    Wake,
    Ended(u16),
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let input = prop_oneof![
        any::<u16>().prop_map(Input::Wait),
        Just(Input::Wait(1)),
        Just(Input::Opened),
        Just(Input::Accepted),
        any::<u8>().prop_map(Input::Failed),
        Just(Input::Cut),
        any::<u8>().prop_map(Input::Closed),
        Just(Input::Wake),
        any::<u16>().prop_map(Input::Ended),
    ];
    proptest::collection::vec(input, 1..400)
}

proptest! {
    #[test]
    fn starts_are_limited_in_every_window(
        inputs in inputs(), byte: u8, limit in 1..8usize, window in 1..20_000u64,
    ) {
        let window = Duration::from_millis(window);
        let config = ClientConfig::new()
            .with_starts(limit, window)
            .with_give_up_after(None);
        let mut bench = Bench::new(config);
        bench.session.entropy = Box::new(Fixed(byte));
        let mut starts = VecDeque::from([bench.now]);
        let mut live = vec![1];
        prop_assert_eq!(bench.actions(), ["+1 websocket"]);
        for input in inputs {
            let last = live.last().copied().unwrap_or(0);
            match input {
                Input::Wait(millis) => {
                    bench.now += Duration::from_millis(millis.into());
                    bench.session.handle_timeout(bench.now);
                }
                Input::Opened => bench.session.opened(bench.now, last),
                Input::Accepted if bench.session.position(last).is_some() => {
                    let opened = bench.opened(last);
                    let opened = Control::Opened(opened).encode();
                    let _ = bench.session.receive(bench.now, last, opened);
                }
                Input::Accepted => {}
                Input::Failed(hint) => {
                    let hint = (hint < 50).then_some(Duration::from_millis(hint.into()));
                    let failure = Failure::new(WebSocket, FailureWhy::Refused, "no");
                    bench.session.failed(bench.now, last, failure.with_retry_after(hint));
                }
                Input::Cut => bench.detach(last, None),
                Input::Closed(code) => bench.detach(last, Some(1000 + u16::from(code) % 3)),
                Input::Wake => bench.session.wake(bench.now),
                Input::Ended(millis) => {
                    let text = format!("\u{1}close {{\"code\":1001,\"sent\":0,\"reconnect\":{millis}}}");
                    let _ = bench.session.receive(bench.now, last, text.into());
                    bench.sends(last);
                }
            }
            if bench.session.is_closed() {
                break;
            }
            while let Some(action) = bench.session.poll_action() {
                if let Action::Start { attachment, .. } = action {
                    live.push(attachment);
                    starts.push_back(bench.now);
                    starts.retain(|at| *at + window > bench.now);
                    prop_assert!(starts.len() <= limit);
                }
            }
            bench.events();
            let next = bench.session.deadline();
            prop_assert!(next.is_some(), "nothing would ever happen again");
        }
    }
}
