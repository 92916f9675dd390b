//! Whatever the network does, what was sent arrives, once and in order.

use std::time::Duration;

use switchback::{Config, Event, State, TransportKind};
use switchback_chaos::{Cut, Faults, Flow, Proxy};

use TransportKind::{LongPoll, WebSocket};

use super::support::{Server, echo, refuse, within};
use super::{message, quick, until};

#[tokio::test]
async fn a_session_survives_cuts_on_every_transport() {
    // Many replay buffers, so that a cut finds messages on their way.
    const MESSAGES: usize = 12_000;
    const REPLAY: (usize, usize) = (1024, 256 * 1024);
    let server = Server::echo(Config::new().replay(REPLAY.0, REPLAY.1)).await;
    for kind in TransportKind::ALL {
        let proxy = Proxy::start(server.addr).await.unwrap();
        let client = quick(&proxy).replay(REPLAY.0, REPLAY.1);
        let mut connection = client.transports([kind]).connect().await.unwrap();
        let sender = connection.sender();
        tokio::spawn(async move {
            for number in 0..MESSAGES {
                sender.send(format!("{number}")).await.unwrap();
            }
        });
        let mut resumed = 0;
        let mut number = 0;
        while number < MESSAGES {
            match within(&format!("{kind} {number}"), connection.next_event())
                .await
                .unwrap()
                .unwrap()
            {
                Event::Message(message) => {
                    assert_eq!(message.as_text(), Some(&*number.to_string()), "{kind}");
                    number += 1;
                    if number % 1000 == 0 {
                        proxy.cut(if number % 2000 == 0 {
                            Cut::Reset
                        } else {
                            Cut::Fin
                        });
                    }
                }
                Event::Resumed { transport } => {
                    assert_eq!(transport, kind);
                    resumed += 1;
                }
                Event::StartedAnew { why, .. } => panic!("{kind}: started anew: {why}"),
                _ => {}
            }
        }
        // A long-poll asks again by itself: to the session nothing happened.
        assert!(
            resumed >= 3 || kind == LongPoll,
            "{kind}: resumed {resumed} times"
        );
        assert_eq!(server.endpoint.connections(), 1, "{kind}");
        drop(connection);
        within("the end", async {
            while server.endpoint.connections() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_session_moves_between_any_two_transports() {
    let server = Server::echo(Config::new()).await;
    for from in TransportKind::ALL {
        for to in TransportKind::ALL {
            if from == to {
                continue;
            }
            let proxy = Proxy::start(server.addr).await.unwrap();
            proxy.set(refuse(&[to])).await;
            let mut connection = quick(&proxy)
                .transports([from, to])
                .connect()
                .await
                .unwrap();
            assert_eq!(connection.transport(), Some(from));
            connection.send("one").await.unwrap();
            assert_eq!(message(&mut connection).await.as_text(), Some("one"));

            connection.send("two").await.unwrap();
            proxy.set(refuse(&[from])).await;
            proxy.cut(Cut::Reset);
            connection.send("three").await.unwrap();
            let mut got = Vec::new();
            let mut carrier = None;
            while got.len() < 2 || carrier != Some(to) {
                match within(&format!("{from} to {to}"), connection.next_event())
                    .await
                    .unwrap()
                    .unwrap()
                {
                    Event::Message(message) => got.push(message.into_text().unwrap()),
                    Event::Resumed { transport } => carrier = Some(transport),
                    Event::StartedAnew { why, .. } => panic!("started anew: {why}"),
                    _ => {}
                }
            }
            assert_eq!(got, ["two", "three"], "{from} to {to}");
            assert_eq!(connection.transport(), Some(to));
        }
    }
}

#[tokio::test]
async fn messages_sent_while_offline_are_delivered_up_to_the_limit() {
    let (server, mut incoming) = Server::start(Config::new()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let connector = quick(&proxy).queue(1000, 2000).replay(4, 1 << 20);
    let (connected, accepted) = tokio::join!(connector.connect(), incoming.accept());
    let mut client = connected.unwrap();
    let mut server_end = accepted.unwrap();
    proxy.set(Faults::new().refuse(true)).await;
    proxy.cut(Cut::Reset);
    until(&mut client, "the cut", |event| {
        matches!(event, Event::Reconnecting)
    })
    .await;
    let mut queued = 0;
    let rejected = loop {
        match client.try_send(format!("{queued}")) {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
    };
    assert!(rejected.is_full());
    assert_eq!(
        rejected.into_message().as_text(),
        Some(&*queued.to_string())
    );
    assert!((4..200).contains(&queued), "{queued}");
    proxy.set(Faults::new()).await;
    let receiving = async {
        for number in 0..queued {
            let message = message(&mut server_end).await;
            assert_eq!(message.as_text(), Some(&*number.to_string()));
        }
    };
    tokio::select! {
        () = receiving => {}
        end = client.recv() => panic!("{end:?}"),
    }
}

#[tokio::test]
async fn a_slow_and_a_truncating_network_lose_nothing() {
    let server = Server::echo(Config::new()).await;
    for kind in TransportKind::ALL {
        let proxy = Proxy::start(server.addr).await.unwrap();
        let slow = || Flow::new().delay(Duration::from_millis(5)).truncate(20_000);
        proxy.set(Faults::new().up(slow()).down(slow())).await;
        let mut connection = quick(&proxy).transports([kind]).connect().await.unwrap();
        let sender = connection.sender();
        tokio::spawn(async move {
            for number in 0..120 {
                sender.send(format!("{number:0>500}")).await.unwrap();
            }
        });
        for number in 0..120 {
            let what = format!("{kind} {number}");
            let message = within(&what, connection.recv())
                .await
                .unwrap()
                .expect("open");
            assert_eq!(
                message.as_text(),
                Some(&*format!("{number:0>500}")),
                "{kind}"
            );
        }
    }
}

#[tokio::test]
async fn watching_sees_the_states() {
    let (server, mut incoming) = Server::start(Config::new()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let mut connection = quick(&proxy).connect().await.unwrap();
    tokio::spawn(echo(incoming.accept().await.unwrap()));
    let mut watch = connection.watch();
    assert_eq!(
        watch.current(),
        State::Open {
            transport: WebSocket
        }
    );
    proxy.set(Faults::new().refuse(true)).await;
    proxy.cut(Cut::Fin);
    until(&mut connection, "the cut", |event| {
        matches!(event, Event::Reconnecting)
    })
    .await;
    assert!(matches!(
        within("a change", watch.changed()).await,
        Some(State::Reconnecting { .. })
    ));
    proxy.set(Faults::new()).await;
    until(&mut connection, "the resume", |event| {
        matches!(event, Event::Resumed { .. })
    })
    .await;
    assert!(matches!(
        within("a change", watch.changed()).await,
        Some(State::Open { .. })
    ));
    connection
        .close(switchback::CloseReason::normal())
        .await
        .unwrap();
    assert!(matches!(
        within("a change", watch.changed()).await,
        Some(State::Closed(_))
    ));
    drop(connection);
    drop(incoming);
}
