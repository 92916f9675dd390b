//! Many messages each way through a network that cuts every few hundred milliseconds: none is
//! lost, none doubled, none out of order.
//!
//! `SWITCHBACK_MESSAGES` sets the number each way, 20,000 by default; the test command runs a million
//! with optimisation.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ops::RangeInclusive;
use std::time::Duration;

use support::flow::{Flow, messages};
use support::{Server, refuse};
use switchback::{Client, Config, TransportKind};
use switchback_chaos::{Action, Faults, Proxy, Rule};

use TransportKind::{LongPoll, Sse, WebSocket};

const EVERY: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_millis(300);

fn cuts(seed: u64) -> Faults {
    Faults::new().cut_every(EVERY, seed)
}

/// Runs one pair through a proxy that does what `faults` says, and changes it now and then.
async fn endure(kinds: &[TransportKind], faults: Vec<Faults>) {
    let (server, mut incoming) = Server::start(Config::new()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let client = Client::new(&format!("http://{}/rt", proxy.local_addr()))
        .unwrap()
        .transports(kinds.iter().copied())
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(20))
        .head_start(Duration::from_millis(20))
        .upgrade_probe(Duration::from_millis(100), Duration::from_millis(400))
        .max_starts(10_000, Duration::from_secs(10));
    let messages = messages(20_000);
    // A client that may move up begins at the bottom.
    proxy.set(refuse(&kinds[..kinds.len() - 1])).await;
    let flow = Flow::open("a flow", &client, &mut incoming, messages).await;
    proxy.set(Faults::new()).await;
    flow.allow(messages / 2);
    if kinds.len() > 1 {
        flow.moved().await;
    }
    flow.allow(messages);
    let changing = async {
        let mut tick = tokio::time::interval(Duration::from_millis(700));
        for faults in faults.iter().cycle() {
            tick.tick().await;
            proxy.set(faults.clone()).await;
        }
    };
    let resumed = tokio::select! {
        () = changing => unreachable!(),
        resumed = flow.finish() => resumed,
    };
    assert!(
        resumed > 0 || kinds == [LongPoll] || messages < 100_000,
        "no cut was noticed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket() {
    endure(&[WebSocket], vec![cuts(1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sse() {
    endure(&[Sse], vec![cuts(2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn longpoll() {
    endure(&[LongPoll], vec![cuts(3)]).await;
}

/// The session moves up while messages flow. Then the network refuses one transport after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_transports_in_turn() {
    let faults = vec![
        cuts(4),
        refuse(&[WebSocket]).cut_every(EVERY, 5),
        refuse(&[WebSocket, Sse]).cut_every(EVERY, 6),
        cuts(7).rule(Rule::websocket(Action::BlackHole)),
    ];
    endure(&TransportKind::ALL, faults).await;
}
