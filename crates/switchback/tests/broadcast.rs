//! What is published on a broadcast reaches everybody who has subscribed, once and in order.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{Server, client, refuse, within};
use switchback::{
    Broadcast, Client, CloseCode, Config, Connection, ErrorKind, Event, Incoming, Message,
    TransportKind, Why,
};
use switchback_chaos::{Cut, Faults, Proxy};

async fn accept(incoming: &mut Incoming) -> Connection {
    within("a connection", incoming.accept()).await.unwrap()
}

/// Connects, and returns both ends, the client's first.
async fn pair(client: Client, incoming: &mut Incoming) -> (Connection, Connection) {
    let (client, server) = tokio::join!(client.connect(), accept(incoming));
    (client.unwrap(), server)
}

/// A client that loses no time in tests.
fn quick(client: Client) -> Client {
    client
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(20))
        .max_starts(1000, Duration::from_secs(10))
}

/// Has a connection live while the test looks elsewhere.
fn attend(mut connection: Connection) {
    tokio::spawn(async move { while let Ok(Some(_)) = connection.recv().await {} });
}

async fn text(connection: &mut Connection) -> String {
    let message = within("a message", connection.recv()).await.unwrap();
    message.unwrap().into_text().unwrap()
}

/// Takes events until one of a kind.
async fn event(connection: &mut Connection, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = within("an event", connection.next_event()).await.unwrap();
        let event = event.expect("open");
        if wanted(&event) {
            return event;
        }
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    within(what, poll).await;
}

#[tokio::test]
async fn everybody_gets_everything_in_order_through_cuts() {
    const MESSAGES: usize = 1000;
    let (server, mut incoming) = Server::start(Config::new()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let broadcast = Broadcast::new();
    let mut clients = Vec::new();
    for kind in TransportKind::ALL {
        for _ in 0..2 {
            let client = quick(client(proxy.local_addr(), kind));
            let (client, server) = pair(client, &mut incoming).await;
            server.subscribe(&broadcast).unwrap();
            server.sender().subscribe(&broadcast).unwrap();
            attend(server);
            clients.push(client);
        }
    }
    assert_eq!(broadcast.subscribers(), clients.len());
    // How far the first of them is.
    let first = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let first = first.clone();
            tokio::spawn(async move {
                for n in 0..MESSAGES {
                    let text = text(&mut client).await;
                    let expected = match n % 50 {
                        7 => format!("\u{1}{n}"),
                        _ => n.to_string(),
                    };
                    assert_eq!(text, expected);
                    first.fetch_max(n + 1, Ordering::Relaxed);
                }
                client
            })
        })
        .collect();
    for n in 0..MESSAGES {
        let message = match n % 50 {
            7 => format!("\u{1}{n}"),
            _ => n.to_string(),
        };
        assert_eq!(broadcast.publish(message), readers.len());
        if n % 100 == 50 {
            // While messages are under way to the others.
            until("somebody reads", || first.load(Ordering::Relaxed) + 60 > n).await;
            proxy.cut(Cut::Reset);
        }
    }
    for reader in readers {
        let mut client = reader.await.unwrap();
        client.close(CloseCode::NORMAL).await.unwrap();
    }
    until("all unsubscribe", || broadcast.subscribers() == 0).await;
}

/// Connects through a proxy, on any transport, and returns both ends.
async fn through(proxy: &Proxy, incoming: &mut Incoming) -> (Connection, Connection) {
    let url = format!("http://{}/rt", proxy.local_addr());
    pair(quick(Client::new(&url).unwrap()), incoming).await
}

/// Has a connection parked, until the faults of the proxy end.
async fn park(proxy: &Proxy, connection: &mut Connection) {
    proxy.set(refuse(&TransportKind::ALL)).await;
    proxy.cut(Cut::Reset);
    event(connection, |event| matches!(event, Event::Reconnecting)).await;
}

#[tokio::test]
async fn nothing_goes_behind_what_was_missed() {
    for way in 0..3 {
        let (server, mut incoming) = Server::start(Config::new()).await;
        let broadcast = Broadcast::with_capacity(100, 1 << 20);
        let client = quick(client(server.addr, TransportKind::WebSocket));
        let (mut client, mut connection) = pair(client, &mut incoming).await;
        client.send("ready").await.unwrap();
        assert_eq!(text(&mut connection).await, "ready");
        connection.subscribe(&broadcast).unwrap();
        // In one go, so that nobody reads it.
        for n in 0..1000 {
            broadcast.publish(n.to_string());
        }
        let _ = match way {
            0 => connection.send("behind").await,
            1 => connection.try_send("behind"),
            _ => connection.sender().try_send("behind"),
        };
        let new = event(&mut client, |event| {
            assert!(!matches!(event, Event::Message(_)), "{event:?}");
            matches!(event, Event::StartedAnew { .. })
        });
        let (received, _new, _) = tokio::join!(connection.recv(), accept(&mut incoming), new);
        assert_eq!(received.unwrap_err().kind(), ErrorKind::Full);
    }
}

#[tokio::test]
async fn what_is_read_ahead_is_bounded() {
    let (server, mut incoming) = Server::start(Config::new()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let (_client, mut connection) = through(&proxy, &mut incoming).await;
    let broadcast = Broadcast::new();
    connection.subscribe(&broadcast).unwrap();
    park(&proxy, &mut connection).await;
    let mut published = 0;
    while broadcast.publish(Message::binary(vec![0; 100_000])) > 0 {
        published += 1;
        assert!(published < 15, "more than a megabyte and a half");
        let _ = connection.try_send("in between");
    }
    assert!(published > 5);
}

#[tokio::test]
async fn who_is_closing_subscribes_to_nothing() {
    let (server, mut incoming) = Server::start(Config::new()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let (_client, mut connection) = through(&proxy, &mut incoming).await;
    let broadcast = Broadcast::new();
    park(&proxy, &mut connection).await;
    let sender = connection.sender();
    sender.close(CloseCode::NORMAL);
    let refused = sender.subscribe(&broadcast).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    assert_eq!(broadcast.subscribers(), 0);
}

/// How the message of a number is sent.
#[derive(PartialEq)]
enum Way {
    First,
    Second,
    Sender,
    Owner,
}

impl Way {
    fn of(number: usize) -> Self {
        match number * 7 % 13 {
            0..4 => Self::First,
            4..6 => Self::Second,
            6..9 => Self::Sender,
            _ => Self::Owner,
        }
    }
}

#[tokio::test]
async fn what_one_task_publishes_and_sends_keeps_its_order() {
    let (server, mut incoming) = Server::start(Config::new()).await;
    let broadcasts = [Broadcast::new(), Broadcast::new()];
    for kind in TransportKind::ALL {
        let client = client(server.addr, kind);
        let (mut client, mut connection) = pair(client, &mut incoming).await;
        for broadcast in &broadcasts {
            connection.subscribe(broadcast).unwrap();
        }
        let sender = connection.sender();
        client.send("ready").await.unwrap();
        assert_eq!(text(&mut connection).await, "ready");
        let reader = tokio::spawn(async move {
            let mut received: Vec<usize> = Vec::new();
            for _ in 0..2000 {
                received.push(text(&mut client).await.parse().unwrap());
            }
            // Only those of different broadcasts may change places.
            for other in [Way::First, Way::Second] {
                let left = received.iter().filter(|n| Way::of(**n) != other);
                assert!(left.is_sorted());
            }
            client
        });
        for n in 0..2000 {
            let message = n.to_string();
            match Way::of(n) {
                Way::First => assert_eq!(broadcasts[0].publish(message), 1),
                Way::Second => assert_eq!(broadcasts[1].publish(message), 1),
                Way::Sender if n % 2 == 0 => sender.try_send(message).unwrap(),
                Way::Sender => sender.send(message).await.unwrap(),
                Way::Owner if n % 2 == 0 => connection.try_send(message).unwrap(),
                Way::Owner => connection.send(message).await.unwrap(),
            }
            if n % 250 == 249 {
                tokio::task::yield_now().await;
            }
        }
        drop(reader.await.unwrap());
        drop(connection);
        until("it unsubscribes", || broadcasts[0].subscribers() == 0).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_too_far_behind_is_closed() {
    let config = Config::new().replay(16, 1 << 16);
    let (server, mut incoming) = Server::start(config).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let broadcast = Broadcast::with_capacity(100, 1 << 20);
    let (mut client, mut connection) = through(&proxy, &mut incoming).await;
    connection.subscribe(&broadcast).unwrap();
    // What it misses while it is away is kept, up to the capacity.
    for count in [100, 1000] {
        park(&proxy, &mut connection).await;
        for n in 0..count {
            assert_eq!(broadcast.publish(n.to_string()), 1);
        }
        proxy.set(Faults::new()).await;
        if count == 100 {
            let read = tokio::spawn(async move {
                for n in 0..count {
                    assert_eq!(text(&mut client).await, n.to_string());
                }
                client
            });
            event(&mut connection, |event| {
                matches!(event, Event::Resumed { .. })
            })
            .await;
            // The connection goes on in the background.
            client = read.await.unwrap();
        }
    }
    let (end, anew, _new) = tokio::join!(
        async {
            loop {
                if let Err(error) = within("the end", connection.next_event()).await {
                    return error;
                }
            }
        },
        event(&mut client, |event| {
            matches!(event, Event::StartedAnew { .. })
        }),
        accept(&mut incoming),
    );
    assert_eq!(end.kind(), ErrorKind::Full);
    assert_eq!(end.close_code(), CloseCode::SLOW_CONSUMER);
    let overflow = |event| matches!(event, Event::StartedAnew { why, .. } if why == Why::Overflow);
    assert!(overflow(anew));
    assert_eq!(broadcast.subscribers(), 0);
}

#[tokio::test]
async fn who_unsubscribes_or_closes_gets_what_was_published_before() {
    let (server, mut incoming) = Server::start(Config::new()).await;
    let broadcast = Broadcast::new();
    for kind in TransportKind::ALL {
        let client = client(server.addr, kind);
        let (mut client, mut connection) = pair(client, &mut incoming).await;
        assert!(!connection.unsubscribe(&broadcast));
        connection.subscribe(&broadcast).unwrap();
        broadcast.publish("1");
        assert!(connection.unsubscribe(&broadcast));
        assert_eq!(broadcast.publish("not this"), 0);
        connection.subscribe(&broadcast).unwrap();
        broadcast.publish("2");
        broadcast.publish("3");
        let closing = tokio::spawn(async move {
            let closed = connection.close(CloseCode::NORMAL).await;
            (connection, closed)
        });
        for n in 1..4 {
            assert_eq!(text(&mut client).await, n.to_string());
        }
        assert_eq!(within("the close", client.recv()).await.unwrap(), None);
        let (connection, closed) = closing.await.unwrap();
        closed.unwrap();
        let refused = connection.subscribe(&broadcast).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Closed);
        assert_eq!(broadcast.subscribers(), 0);
    }
}

#[tokio::test]
async fn plain_clients_get_what_is_published() {
    use switchback_core::TransportExt;
    let (server, mut incoming) = Server::start(Config::new()).await;
    let broadcast = Broadcast::new();
    let url = format!("ws://{}/rt", server.addr);
    let config = switchback_ws::ClientConfig::new();
    let socket = switchback_ws::connect(&url, &config);
    let (socket, connection) = tokio::join!(socket, accept(&mut incoming));
    let mut socket = socket.unwrap();
    assert!(connection.is_plain());
    connection.subscribe(&broadcast).unwrap();
    attend(connection);
    for n in 0..500 {
        broadcast.publish(Message::text(n.to_string()));
    }
    for n in 0..500 {
        let message = within("a message", socket.recv()).await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some(n.to_string().as_str()));
    }
}

#[tokio::test]
async fn a_plain_client_that_is_too_far_behind_is_closed() {
    use switchback_core::{Transport, TransportExt};
    let (server, mut incoming) = Server::start(Config::new()).await;
    let broadcast = Broadcast::with_capacity(64, 1 << 20);
    let url = format!("ws://{}/rt", server.addr);
    let config = switchback_ws::ClientConfig::new();
    let socket = switchback_ws::connect(&url, &config);
    let (socket, connection) = tokio::join!(socket, accept(&mut incoming));
    let (mut socket, mut connection) = (socket.unwrap(), connection);
    connection.subscribe(&broadcast).unwrap();
    let client = async {
        // More than the sockets hold.
        for _ in 0..3000 {
            broadcast.publish(Message::binary(vec![0; 16 * 1024]));
            tokio::task::yield_now().await;
        }
        let mut count = 0;
        while within("the end", socket.recv()).await.unwrap().is_some() {
            count += 1;
        }
        (count, socket.close_reason().cloned())
    };
    let (client, received) = tokio::join!(client, within("the end", connection.recv()));
    let (count, close) = client;
    assert!(count < 2900, "{count}");
    assert_eq!(close.unwrap().code(), CloseCode::SLOW_CONSUMER);
    let error = received.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(error.close_code(), CloseCode::SLOW_CONSUMER);
}

/// Many threads publish, and connections that are busy with other things all get the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost() {
    const PUBLISHERS: usize = 3;
    const EACH: usize = 300;
    let heartbeat = Duration::from_secs(300);
    let (server, mut incoming) = Server::start(Config::new().heartbeat(heartbeat, heartbeat)).await;
    let broadcast = Broadcast::new();
    let mut clients = Vec::new();
    for n in 0..12 {
        let client = client(server.addr, TransportKind::ALL[n % 3]);
        let (client, connection) = pair(client, &mut incoming).await;
        connection.subscribe(&broadcast).unwrap();
        tokio::spawn(support::echo(connection));
        clients.push(client);
    }
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let (mut published, mut echoed) = (Vec::new(), 0);
                client.send("echo").await.unwrap();
                while published.len() < PUBLISHERS * EACH || echoed < 50 {
                    match text(&mut client).await {
                        text if text == "echo" => {
                            echoed += 1;
                            if echoed < 50 {
                                client.send(text).await.unwrap();
                            }
                        }
                        text => published.push(text),
                    }
                }
                published
            })
        })
        .collect();
    for publisher in 0..PUBLISHERS {
        let broadcast = broadcast.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                broadcast.publish(format!("{publisher} {n}"));
                if n % 3 == publisher {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    let mut all = Vec::new();
    for reader in readers {
        all.push(reader.await.unwrap());
    }
    for publisher in 0..PUBLISHERS {
        let prefix = format!("{publisher} ");
        let of = all[0].iter().filter(|text| text.starts_with(&prefix));
        let expected: Vec<_> = (0..EACH).map(|n| format!("{prefix}{n}")).collect();
        assert!(of.eq(&expected));
    }
    assert!(all.iter().all(|published| *published == all[0]));
}
