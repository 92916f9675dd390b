//! The best transport that works is found, and something better later.

use std::time::Duration;

use switchback::{Config, Event, State, TransportFailure, TransportKind};
use switchback_chaos::{Action, Faults, Proxy, Rule};

use TransportKind::{LongPoll, Sse, WebSocket};

use super::support::{Server, refuse, within};
use super::{message, quick};

#[tokio::test]
async fn a_live_session_moves_up_without_a_pause() {
    let server = Server::echo(Config::new()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    proxy.set(refuse(&[WebSocket, Sse])).await;
    let mut connection = quick(&proxy)
        .upgrade_probe(Duration::from_millis(100), Duration::from_millis(400))
        .connect()
        .await
        .unwrap();
    assert_eq!(connection.transport(), Some(LongPoll));
    let sender = connection.sender();
    let sending = tokio::spawn(async move {
        let mut number = 0;
        while sender.send(format!("{number}")).await.is_ok() {
            number += 1;
            tokio::task::yield_now().await;
        }
    });
    let mut expected = 0;
    let mut moved = false;
    let mut after = 0;
    while after < 500 {
        if expected == 500 {
            proxy.set(Faults::new()).await;
        }
        match within("an event", connection.next_event())
            .await
            .unwrap()
            .unwrap()
        {
            Event::Message(message) => {
                assert_eq!(message.as_text(), Some(&*expected.to_string()));
                expected += 1;
                after += usize::from(moved);
            }
            Event::Moved { transport } => moved = transport == WebSocket,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        connection.state(),
        State::Open {
            transport: WebSocket
        }
    );
    drop(connection);
    sending.await.unwrap();
}

#[tokio::test]
async fn a_refused_websocket_falls_back_at_once() {
    let server = Server::echo(Config::new()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    proxy.set(refuse(&[WebSocket])).await;
    // A head start that nobody could wait for.
    let client = quick(&proxy).head_start(Duration::from_secs(3600));
    let connection = within("connect", client.connect()).await.unwrap();
    assert_eq!(connection.transport(), Some(Sse));

    proxy.set(refuse(&[WebSocket, Sse])).await;
    let client = quick(&proxy).head_start(Duration::from_secs(3600));
    let connection = within("connect", client.connect()).await.unwrap();
    assert_eq!(connection.transport(), Some(LongPoll));
}

#[tokio::test]
async fn after_a_refused_websocket_the_same_connection_carries_the_event_stream() {
    let server = Server::echo(Config::new().transports([Sse, LongPoll])).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let mut connection = within("connect", quick(&proxy).connect()).await.unwrap();
    assert_eq!(connection.transport(), Some(Sse));
    connection.send("and it works").await.unwrap();
    assert_eq!(
        message(&mut connection).await.as_text(),
        Some("and it works")
    );
    // One for the refused handshake and the stream, and one for the POSTs.
    assert_eq!(proxy.counters().accepted, 2);
}

#[tokio::test]
async fn a_black_holed_websocket_falls_back_after_its_head_start() {
    let server = Server::echo(Config::new()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    proxy
        .set(Faults::new().rule(Rule::websocket(Action::BlackHole)))
        .await;
    let client = quick(&proxy).head_start(Duration::from_millis(50));
    let mut connection = within("connect", client.connect()).await.unwrap();
    assert_eq!(connection.transport(), Some(Sse));
    connection.send("through").await.unwrap();
    assert_eq!(message(&mut connection).await.as_text(), Some("through"));
    assert_eq!(server.endpoint.connections(), 1, "the race is one session");
}

#[tokio::test]
async fn when_nothing_works_the_error_says_why_for_each() {
    let server = Server::echo(Config::new()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    proxy
        .set(Faults::new().rule(Rule::all(Action::Answer(503))))
        .await;
    let error = within("connect", quick(&proxy).connect())
        .await
        .unwrap_err();
    let kinds: Vec<_> = error
        .failures()
        .iter()
        .map(TransportFailure::kind)
        .collect();
    assert_eq!(kinds, TransportKind::ALL);
    for failure in error.failures() {
        assert!(failure.why().contains("503"), "{error}");
    }

    let error = switchback::connect("gopher://example.com")
        .await
        .unwrap_err();
    assert!(error.failures().is_empty());
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("http"),
        "{error:?}"
    );
}
