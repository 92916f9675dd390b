//! Many messages each way through a network that cuts every few hundred milliseconds: none is
//! lost, none doubled, none out of order.
//!
//! `SWITCHBACK_MESSAGES` sets the number each way, 20,000 by default; the test command runs a million
//! with optimisation.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::Server;
use switchback::{Client, Config, Connection, Event, Message, TransportKind};
use switchback_chaos::{Action, Faults, Proxy, Rule};

use TransportKind::{LongPoll, Sse, WebSocket};

fn count() -> u64 {
    let count = std::env::var("SWITCHBACK_MESSAGES")
        .ok()
        .and_then(|count| count.parse().ok());
    count.unwrap_or(20_000)
}

fn cuts(seed: u64) -> Faults {
    Faults::new().cut_every(Duration::from_millis(50)..=Duration::from_millis(300), seed)
}

/// Text and binary of several sizes, with its number.
fn numbered(number: u64) -> Message {
    let text = format!(
        "{number} {}",
        ".".repeat(usize::try_from(number % 97).unwrap_or(0))
    );
    if number.is_multiple_of(3) {
        Message::binary(text.into_bytes())
    } else {
        Message::text(text)
    }
}

/// Sends and receives all messages at the same time; returns how often the session was resumed.
async fn exchange(connection: &mut Connection, who: &str) -> u64 {
    let sender = connection.sender();
    let sending = tokio::spawn(async move {
        for number in 0..count() {
            sender.send(numbered(number)).await.unwrap();
        }
    });
    let mut resumed = 0;
    let mut number = 0;
    while number < count() {
        match connection.next_event().await {
            Ok(Some(Event::Message(message))) => {
                assert_eq!(message, numbered(number), "{who}: message {number}");
                number += 1;
            }
            Ok(Some(Event::Resumed { .. })) => resumed += 1,
            Ok(Some(Event::StartedAnew { why, .. })) => panic!("{who} {number}: anew: {why}"),
            Ok(Some(_)) => {}
            other => panic!("{who}: ended after {number} messages: {other:?}"),
        }
    }
    sending.await.unwrap();
    resumed
}

/// The server waits for the client's close: until then the client may miss something.
async fn serve(mut connection: Connection) {
    exchange(&mut connection, "server").await;
    while let Some(event) = connection.next_event().await.unwrap() {
        assert!(!matches!(event, Event::Message(_)), "one message too many");
    }
}

/// The client closes once it has everything, which delivers what the server misses.
async fn connect(mut connection: Connection) -> u64 {
    let resumed = exchange(&mut connection, "client").await;
    connection
        .close(switchback::CloseReason::normal())
        .await
        .unwrap();
    resumed
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
    let (connected, accepted) = tokio::join!(client.connect(), incoming.accept());
    let (client_end, server_end) = (connected.unwrap(), accepted.unwrap());
    proxy.set(faults[0].clone()).await;
    let client_end = tokio::spawn(connect(client_end));
    let server_end = tokio::spawn(serve(server_end));
    let changing = async {
        let mut tick = tokio::time::interval(Duration::from_millis(700));
        for faults in faults.iter().cycle() {
            tick.tick().await;
            proxy.set(faults.clone()).await;
        }
    };
    let finished = async {
        let resumed = client_end.await.unwrap();
        server_end.await.unwrap();
        resumed
    };
    let resumed = tokio::select! {
        () = changing => unreachable!(),
        resumed = tokio::time::timeout(Duration::from_secs(900), finished) => {
            resumed.expect("it ends")
        }
    };
    assert!(
        resumed > 0 || kinds == [LongPoll] || count() < 100_000,
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

/// The network refuses one transport after the other, so that the session moves up and down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_transports_in_turn() {
    let refuse = |name: &'static str| {
        Rule::new(
            move |head| head.target().contains(name),
            Action::Answer(502),
        )
    };
    let faults = vec![
        cuts(4),
        cuts(5).rule(Rule::websocket(Action::Answer(502))),
        cuts(6)
            .rule(Rule::websocket(Action::Answer(502)))
            .rule(refuse("transport=sse")),
        cuts(7).rule(Rule::websocket(Action::BlackHole)),
    ];
    endure(&TransportKind::ALL, faults).await;
}
