//! Nothing is lost or doubled, whatever the network does, and the best transport is found.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::{Server, client, echo, raw, within};
use switchback::{
    Client, CloseCode, Config, Connection, ErrorKind, Event, Message, State, TransportFailure,
    TransportKind, Why,
};
use switchback_chaos::{Action, Cut, Faults, Flow, Proxy, Rule};
use switchback_core::{Transport, TransportExt};

use TransportKind::{LongPoll, Sse, WebSocket};

/// A client that loses no time in tests.
fn quick(proxy: &Proxy) -> Client {
    Client::new(&format!("http://{}/rt", proxy.local_addr()))
        .unwrap()
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(20))
        .max_starts(1000, Duration::from_secs(10))
}

/// Refuses the opening requests of one kind, as a proxy that dislikes it would.
fn refuse(kind: TransportKind) -> Rule {
    match kind {
        WebSocket => Rule::websocket(Action::Answer(502)),
        kind => {
            let parameter = format!("transport={}", kind.name());
            Rule::new(
                move |head| head.target().contains(&parameter),
                Action::Answer(502),
            )
        }
    }
}

async fn message(connection: &mut Connection) -> Message {
    within("a message", connection.recv())
        .await
        .unwrap()
        .expect("open")
}

/// Takes events until one of a kind; messages on the way are a failure.
async fn until(connection: &mut Connection, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = within(what, connection.next_event())
            .await
            .unwrap()
            .expect(what);
        if wanted(&event) {
            return event;
        }
        assert!(
            !matches!(event, Event::Message(_)),
            "{event:?} while waiting for {what}"
        );
    }
}

#[tokio::test]
async fn a_session_survives_cuts_on_every_transport() {
    let server = Server::echo(Config::new()).await;
    for kind in TransportKind::ALL {
        let proxy = Proxy::start(server.addr).await.unwrap();
        let mut connection = quick(&proxy).transports([kind]).connect().await.unwrap();
        let sender = connection.sender();
        tokio::spawn(async move {
            for number in 0..3000 {
                sender.send(format!("{number}")).await.unwrap();
            }
        });
        let mut resumed = 0;
        let mut number = 0;
        while number < 3000 {
            match within(&format!("{kind} {number}"), connection.next_event())
                .await
                .unwrap()
                .unwrap()
            {
                Event::Message(message) => {
                    assert_eq!(message.as_text(), Some(&*number.to_string()), "{kind}");
                    number += 1;
                    if number % 500 == 0 {
                        proxy.cut(if number % 1000 == 0 {
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
            proxy.set(Faults::new().rule(refuse(to))).await;
            let mut connection = quick(&proxy)
                .transports([from, to])
                .connect()
                .await
                .unwrap();
            assert_eq!(connection.transport(), Some(from));
            connection.send("one").await.unwrap();
            assert_eq!(message(&mut connection).await.as_text(), Some("one"));

            connection.send("two").await.unwrap();
            proxy.set(Faults::new().rule(refuse(from))).await;
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

/// An endpoint that takes nobody new still gives its own sessions other transports.
async fn turns_away_all_but_its_own(
    server: &Server,
    proxy: &Proxy,
    own: &mut Connection,
    to: TransportKind,
) {
    for kind in TransportKind::ALL {
        let error = client(server.addr, kind).connect().await.unwrap_err();
        assert!(error.to_string().contains("try again later"), "{error}");
    }
    let request = "GET /rt?transport=sse HTTP/1.1\nHost: x\nConnection: close\n\n";
    let response = raw(server.addr, request).await.to_lowercase();
    assert!(response.starts_with("http/1.1 503 "), "{response}");
    assert!(response.contains("\r\nretry-after: "), "{response}");

    proxy
        .set(Faults::new().rule(refuse(own.transport().unwrap())))
        .await;
    proxy.cut(Cut::Reset);
    let resumed =
        |event: &Event| matches!(event, Event::Resumed { .. } | Event::StartedAnew { .. });
    match until(own, "the resumption", resumed).await {
        Event::Resumed { transport } => assert_eq!(transport, to),
        other => panic!("{other:?}"),
    }
    own.send("still here").await.unwrap();
    assert_eq!(message(own).await.as_text(), Some("still here"));
}

const MOVES: [[TransportKind; 2]; 3] = [[Sse, WebSocket], [LongPoll, Sse], [WebSocket, LongPoll]];

#[tokio::test]
async fn a_full_endpoint_turns_away_all_but_its_own_sessions() {
    for [from, to] in MOVES {
        let server = Server::echo(Config::new().max_connections(1)).await;
        let proxy = Proxy::start(server.addr).await.unwrap();
        proxy.set(Faults::new().rule(refuse(to))).await;
        let mut own = quick(&proxy)
            .transports([from, to])
            .connect()
            .await
            .unwrap();
        turns_away_all_but_its_own(&server, &proxy, &mut own, to).await;
        assert_eq!(server.endpoint.connections(), 1);
    }
}

#[tokio::test]
async fn a_server_that_accepts_no_more_turns_away_all_but_its_own_sessions() {
    for [from, to] in MOVES {
        let (server, mut incoming) = Server::start(Config::new()).await;
        let proxy = Proxy::start(server.addr).await.unwrap();
        proxy.set(Faults::new().rule(refuse(to))).await;
        let mut own = quick(&proxy)
            .transports([from, to])
            .connect()
            .await
            .unwrap();
        let accepted = within("the connection", incoming.accept()).await.unwrap();
        tokio::spawn(echo(accepted));
        drop(incoming);
        turns_away_all_but_its_own(&server, &proxy, &mut own, to).await;
    }
}

#[tokio::test]
async fn a_live_session_moves_up_without_a_pause() {
    let server = Server::echo(Config::new()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    proxy
        .set(Faults::new().rule(refuse(WebSocket)).rule(refuse(Sse)))
        .await;
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
    proxy.set(Faults::new().rule(refuse(WebSocket))).await;
    // A head start that nobody could wait for.
    let client = quick(&proxy).head_start(Duration::from_secs(3600));
    let connection = within("connect", client.connect()).await.unwrap();
    assert_eq!(connection.transport(), Some(Sse));

    proxy
        .set(Faults::new().rule(refuse(WebSocket)).rule(refuse(Sse)))
        .await;
    let client = quick(&proxy).head_start(Duration::from_secs(3600));
    let connection = within("connect", client.connect()).await.unwrap();
    assert_eq!(connection.transport(), Some(LongPoll));
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

#[tokio::test]
async fn a_server_that_lost_the_session_is_noticed_on_both_ends() {
    let (first, mut incoming) = Server::start(Config::new()).await;
    let (second, mut elsewhere) = Server::start(Config::new()).await;
    for kind in TransportKind::ALL {
        let proxy = Proxy::start(first.addr).await.unwrap();
        let connector = quick(&proxy).transports([kind]);
        let (connected, accepted) = tokio::join!(connector.connect(), incoming.accept());
        let mut client = connected.unwrap();
        let mut old = accepted.unwrap();
        client.send("arrives").await.unwrap();
        assert_eq!(message(&mut old).await.as_text(), Some("arrives"));

        proxy.set(Faults::new().refuse(true)).await;
        proxy.cut(Cut::Reset);
        until(&mut client, "the cut", |event| {
            matches!(event, Event::Reconnecting)
        })
        .await;
        client.send("sent while offline").await.unwrap();
        proxy.set_upstream(second.addr);
        proxy.set(Faults::new()).await;
        let anew = until(&mut client, "a new session", |event| {
            matches!(event, Event::StartedAnew { .. })
        })
        .await;
        let Event::StartedAnew {
            why,
            unacknowledged,
        } = anew
        else {
            unreachable!()
        };
        assert_eq!(why, Why::Unknown);
        let texts: Vec<_> = unacknowledged.iter().filter_map(Message::as_text).collect();
        // "arrives" may be among them: its acknowledgement was perhaps not sent yet.
        assert_eq!(texts.last(), Some(&"sent while offline"), "{texts:?}");

        let mut new = within("accept", elsewhere.accept()).await.unwrap();
        client.send("again").await.unwrap();
        assert_eq!(message(&mut new).await.as_text(), Some("again"), "{kind}");
    }
}

#[tokio::test]
async fn a_parked_session_ends_when_its_time_is_up() {
    let (server, mut incoming) =
        Server::start(Config::new().park(Duration::from_millis(100))).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let connector = quick(&proxy);
    let (connected, accepted) = tokio::join!(connector.connect(), incoming.accept());
    let _client = connected.unwrap();
    let mut server_end = accepted.unwrap();
    proxy.set(Faults::new().refuse(true)).await;
    proxy.cut(Cut::Reset);
    let error = within("the end", server_end.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(
        server_end.recv().await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert!(matches!(server_end.state(), State::Closed(_)));
    assert_eq!(server.endpoint.connections(), 0);
}

#[tokio::test]
async fn too_many_parked_sessions_make_the_oldest_go() {
    let (server, mut incoming) = Server::start(Config::new().max_parked(2, 1 << 20)).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let mut ends = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let connector = quick(&proxy);
        let (connected, accepted) = tokio::join!(connector.connect(), incoming.accept());
        clients.push(connected.unwrap());
        ends.push(accepted.unwrap());
    }
    proxy.set(Faults::new().refuse(true)).await;
    proxy.cut(Cut::Reset);
    within("the eviction", async {
        while server.endpoint.connections() != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Cuts a client off until the server has given its session up, and returns what it is told then.
async fn why_anew(proxy: &Proxy, client: &mut Connection, gone: impl AsyncFnOnce()) -> Why {
    proxy.set(Faults::new().refuse(true)).await;
    proxy.cut(Cut::Reset);
    gone().await;
    proxy.set(Faults::new()).await;
    let anew = until(client, "a new session", |event| {
        matches!(event, Event::StartedAnew { .. })
    });
    match anew.await {
        Event::StartedAnew { why, .. } => why,
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn a_client_learns_that_its_session_has_expired() {
    for (remembered, why) in [(10, Why::Expired), (0, Why::Unknown)] {
        let config = Config::new()
            .park(Duration::from_millis(100))
            .max_departed(remembered);
        let (server, mut incoming) = Server::start(config).await;
        let proxy = Proxy::start(server.addr).await.unwrap();
        let connector = quick(&proxy);
        let (connected, accepted) = tokio::join!(connector.connect(), incoming.accept());
        let (mut client, mut server_end) = (connected.unwrap(), accepted.unwrap());
        let told = why_anew(&proxy, &mut client, async || {
            within("the end", server_end.recv()).await.unwrap_err();
        });
        assert_eq!(told.await, why);
    }
}

#[tokio::test]
async fn a_client_learns_that_its_session_was_in_the_way_of_others() {
    let (server, mut incoming) = Server::start(Config::new().max_parked(0, 1 << 20)).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let connector = quick(&proxy);
    let (connected, accepted) = tokio::join!(connector.connect(), incoming.accept());
    let (mut client, mut server_end) = (connected.unwrap(), accepted.unwrap());
    let told = why_anew(&proxy, &mut client, async || {
        let error = within("the end", server_end.recv()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
    });
    assert_eq!(told.await, Why::Overflow);
}

#[tokio::test]
async fn a_close_whose_confirmation_was_cut_off_is_complete() {
    for (remembered, told) in [(10, Ok(())), (0, Err(ErrorKind::TimedOut))] {
        let (server, mut incoming) = Server::start(Config::new().max_departed(remembered)).await;
        let proxy = Proxy::start(server.addr).await.unwrap();
        let connector = quick(&proxy).transports([WebSocket]);
        let (connected, accepted) = tokio::join!(connector.connect(), incoming.accept());
        let (mut client, mut server_end) = (connected.unwrap(), accepted.unwrap());

        proxy
            .set(Faults::new().down(Flow::new().black_hole(true)))
            .await;
        client.send("last").await.unwrap();
        let closing = tokio::spawn(async move { client.close(CloseCode::NORMAL).await });
        assert_eq!(message(&mut server_end).await.as_text(), Some("last"));
        let end = within("the close", server_end.recv()).await;
        assert_eq!(end.unwrap(), None);
        proxy.set(Faults::new()).await;
        proxy.cut(Cut::Reset);

        let closed = within("the confirmation", closing).await.unwrap();
        assert_eq!(closed.map_err(|error| error.kind()), told);
        within("the end of the session that nobody wants", async {
            while server.endpoint.connections() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_guessed_token_opens_a_session_of_its_own_and_disturbs_nobody() {
    let server = Server::echo(Config::new()).await;
    let mut owner = client(server.addr, WebSocket).connect().await.unwrap();
    owner.send("mine").await.unwrap();
    assert_eq!(message(&mut owner).await.as_text(), Some("mine"));

    let session = "AAAAAAAAAAAAAAAAAAAAAA";
    let attach = async |hello: String| {
        let config = switchback_ws::ClientConfig::new()
            .protocols(["switchback".to_owned(), format!("switchback.{hello}")]);
        let url = server.url().parse().unwrap();
        let mut socket = switchback_ws::connect_to(&url, &config).await.unwrap();
        let first = within("opened", socket.recv()).await.unwrap();
        (socket, first.map(|message| message.into_text().unwrap()))
    };
    // A session of which the attacker knows the public id.
    let (victim, opened) = attach(format!("1.new.{session}.1.1")).await;
    assert!(opened.unwrap().contains(session));
    let (_guess, opened) = attach(format!("1.resume.{session}.{session}.2.2.0")).await;
    let opened = opened.unwrap();
    assert!(opened.contains("\"resumed\":false"), "{opened}");
    assert!(opened.contains("\"why\":\"unknown\""), "{opened}");
    assert!(!opened.contains(session), "{opened}");
    // A number that was used is answered like any wrong hello, and the victim lives on.
    let (socket, refused) = attach(format!("1.new.{session}.1.1")).await;
    assert_eq!(refused, None);
    assert!(socket.close_reason().is_some());
    let mut victim = victim;
    victim.send("alive").await.unwrap();
    let reply = within("an echo", victim.recv()).await.unwrap();
    assert_eq!(reply.unwrap().as_text(), Some("alive"));

    owner.send("still mine").await.unwrap();
    assert_eq!(message(&mut owner).await.as_text(), Some("still mine"));
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
