//! Every transport, with and without sessions, carries every message as it was sent.

mod support;

use std::sync::Arc;

use support::{Server, awkward, client, echo, large, within};
use switchback::{CloseCode, CloseReason, Config, Event, State, TransportKind};
use switchback_core::{Transport, TransportExt};
use switchback_longpoll::LongPollClient;
use switchback_sse::SseClient;

#[tokio::test]
async fn sessions_echo_on_every_transport() {
    let server = Server::echo(Config::new().limits(large())).await;
    for kind in TransportKind::ALL {
        let mut connection = within("connect", client(server.addr, kind).connect())
            .await
            .unwrap();
        assert_eq!(connection.transport(), Some(kind));
        assert!(!connection.is_plain());
        for message in awkward() {
            within("send", connection.send(message.clone()))
                .await
                .unwrap();
            let reply = within(&format!("{kind}: {message:?}"), connection.recv()).await;
            assert_eq!(reply.unwrap(), Some(message), "{kind}");
        }
        within("close", connection.close(CloseReason::normal()))
            .await
            .unwrap();
        assert_eq!(connection.state(), State::Closed(CloseReason::normal()));
        assert!(connection.recv().await.unwrap().is_none());
        let error = connection.send("late").await.unwrap_err();
        assert_eq!(error.into_message().as_text(), Some("late"));
    }
}

#[tokio::test]
async fn plain_clients_are_served_without_a_session() {
    let server = Server::echo(Config::new().limits(large())).await;
    let url = server.url().parse().unwrap();
    let ws = switchback_ws::ClientConfig::new().limits(large());
    let sse = switchback_sse::ClientConfig::new().limits(large());
    let longpoll = switchback_longpoll::ClientConfig::new().limits(large());
    let transports: [Box<dyn Transport>; 3] = [
        Box::new(switchback_ws::connect_to(&url, &ws).await.unwrap()),
        Box::new(SseClient::connect(&url, &sse).await.unwrap()),
        Box::new(LongPollClient::connect(&url, &longpoll).await.unwrap()),
    ];
    for mut transport in transports {
        let kind = transport.info().kind();
        for message in awkward() {
            within("send", transport.send(message.clone()))
                .await
                .unwrap();
            let reply = within(&format!("{kind}: {message:?}"), transport.recv()).await;
            assert_eq!(reply.unwrap(), Some(message), "{kind}");
        }
        within("close", transport.close(CloseReason::normal()))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_flood_each_way_arrives_in_order() {
    let server = Server::echo(Config::new()).await;
    for kind in TransportKind::ALL {
        let mut connection = within("connect", client(server.addr, kind).connect())
            .await
            .unwrap();
        let sender = connection.sender();
        let sending = tokio::spawn(async move {
            for number in 0..5000 {
                sender.send(format!("message {number}")).await.unwrap();
            }
        });
        for number in 0..5000 {
            let message = within(&format!("{kind} {number}"), connection.recv())
                .await
                .unwrap();
            assert_eq!(
                message.unwrap().as_text(),
                Some(&*format!("message {number}")),
                "{kind}"
            );
        }
        sending.await.unwrap();
    }
}

#[tokio::test]
async fn the_server_sees_who_connects_and_closes_with_a_reason() {
    let (server, mut incoming) = Server::start(Config::new()).await;
    for kind in TransportKind::ALL {
        let connector = client(server.addr, kind).header("x-test", "yes").unwrap();
        let (connected, accepted) = tokio::join!(connector.connect(), incoming.accept());
        let mut client = connected.unwrap();
        let mut server = accepted.unwrap();
        assert_eq!(server.transport(), Some(kind));
        assert_eq!(server.uri().path(), "/rt");
        assert_eq!(server.headers()["x-test"], "yes");
        assert!(!server.headers().contains_key("switchback-session"));
        assert!(server.peer_addr().unwrap().ip().is_loopback());
        assert!(!server.id().is_empty());

        server.send("last words").await.unwrap();
        let why = CloseReason::new(CloseCode::new(4123).unwrap(), "go away");
        let (closed, first) = within("close", async {
            tokio::join!(server.close(why.clone()), async {
                let first = client.recv().await.unwrap();
                assert!(client.recv().await.unwrap().is_none());
                first
            })
        })
        .await;
        closed.unwrap();
        assert_eq!(first.unwrap().as_text(), Some("last words"));
        assert_eq!(client.state(), State::Closed(why));
    }
    assert_eq!(server.endpoint.connections(), 0);
}

#[tokio::test]
async fn dropping_a_connection_delivers_what_was_sent_and_closes_it() {
    let (server, mut incoming) = Server::start(Config::new()).await;
    for kind in TransportKind::ALL {
        let connector = client(server.addr, kind);
        let (connected, accepted) = tokio::join!(connector.connect(), incoming.accept());
        let mut client = connected.unwrap();
        let mut server = accepted.unwrap();
        for number in 0..100 {
            server.send(format!("{number}")).await.unwrap();
        }
        drop(server);
        for number in 0..100 {
            let message = within("a message", client.recv()).await.unwrap().unwrap();
            assert_eq!(message.as_text(), Some(&*number.to_string()), "{kind}");
        }
        assert!(within("the close", client.recv()).await.unwrap().is_none());
        let State::Closed(why) = client.state() else {
            panic!("{:?}", client.state())
        };
        assert_eq!(why.code(), CloseCode::NORMAL);
    }
}

/// Nobody waits for this connection on the server while it is busy elsewhere, and yet it sends,
/// acknowledges and answers heartbeats.
#[tokio::test]
async fn a_connection_makes_progress_while_its_application_is_busy() {
    let (server, mut incoming) = Server::start(Config::new()).await;
    for kind in TransportKind::ALL {
        let connector = client(server.addr, kind);
        let (connected, accepted) = tokio::join!(connector.connect(), incoming.accept());
        let mut client = connected.unwrap();
        let server = accepted.unwrap();
        // More than the replay buffer holds: it can only be sent when acknowledgements are read,
        // and nobody calls `recv` here.
        let sender = server.sender();
        tokio::spawn(async move {
            for number in 0..2000 {
                sender.send(format!("{number}")).await.unwrap();
            }
        });
        for number in 0..2000 {
            let message = within(&format!("{kind} {number}"), client.recv())
                .await
                .unwrap();
            assert_eq!(
                message.unwrap().as_text(),
                Some(&*number.to_string()),
                "{kind}"
            );
        }
        drop(server);
    }
}

#[tokio::test]
async fn a_broadcast_reaches_everybody_on_every_transport() {
    let (server, mut incoming) = Server::start(Config::new()).await;
    let mut clients = Vec::new();
    let mut senders = Vec::new();
    for index in 0..30 {
        let connector = client(server.addr, TransportKind::ALL[index % 3]);
        let (connected, accepted) = tokio::join!(connector.connect(), incoming.accept());
        clients.push(connected.unwrap());
        let connection = accepted.unwrap();
        senders.push(connection.sender());
        tokio::spawn(echo(connection));
    }
    for number in 0..50 {
        let message = switchback::Message::text(format!("{number}")).prepare();
        for sender in &senders {
            sender.try_send(message.clone()).unwrap();
        }
        tokio::task::yield_now().await;
    }
    for client in &mut clients {
        for number in 0..50 {
            let message = within("a broadcast", client.recv()).await.unwrap().unwrap();
            assert_eq!(message.as_text(), Some(&*number.to_string()));
        }
    }
}

#[tokio::test]
async fn recv_and_next_are_cancel_safe() {
    let server = Server::echo(Config::new()).await;
    let mut connection = client(server.addr, TransportKind::WebSocket)
        .connect()
        .await
        .unwrap();
    let sender = Arc::new(connection.sender());
    for number in 0..200 {
        sender.try_send(format!("{number}")).unwrap();
    }
    let mut got = 0;
    while got < 200 {
        // Polled once, then dropped, again and again.
        let polled = std::future::poll_fn(|cx| {
            let mut next = std::pin::pin!(connection.next_event());
            std::task::Poll::Ready(next.as_mut().poll(cx))
        })
        .await;
        match polled {
            std::task::Poll::Ready(event) => {
                let Some(Event::Message(message)) = event.unwrap() else {
                    panic!("not a message")
                };
                assert_eq!(message.as_text(), Some(&*got.to_string()));
                got += 1;
            }
            std::task::Poll::Pending => tokio::task::yield_now().await,
        }
    }
}
