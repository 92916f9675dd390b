//! Sessions that are not there any more, and what the client is told.

use std::time::Duration;

use switchback::{
    CloseCode, Config, Connection, ErrorKind, Event, Message, State, TransportKind, Why,
};
use switchback_chaos::{Cut, Faults, Flow, Proxy};
use switchback_core::{Transport, TransportExt};

use super::support::{Server, client, within};
use super::{message, quick, until};

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
        let connector = quick(&proxy).transports([TransportKind::WebSocket]);
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
    let mut owner = client(server.addr, TransportKind::WebSocket)
        .connect()
        .await
        .unwrap();
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
