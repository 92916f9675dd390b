//! An endpoint that takes nobody new.

use switchback::{Config, Connection, Event, TransportKind};
use switchback_chaos::{Cut, Proxy};

use TransportKind::{LongPoll, Sse, WebSocket};

use super::support::{Server, client, echo, raw, refuse, within};
use super::{message, quick, until};

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

    proxy.set(refuse(&[own.transport().unwrap()])).await;
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
        proxy.set(refuse(&[to])).await;
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
        proxy.set(refuse(&[to])).await;
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
