//! Bad requests get a specific answer and harm nobody.

mod support;

use support::{Server, client, raw, within};
use switchback::{Config, TransportKind};

const WS: &str = "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n";

#[tokio::test]
async fn every_bad_request_gets_its_own_answer() {
    let server = Server::echo(Config::new()).await;
    let id = "AAAAAAAAAAAAAAAAAAAAAA";
    let cases = [
        ("GET /rt", String::new(), 400, "unknown_transport"),
        (
            "GET /rt?transport=websocket",
            String::new(),
            400,
            "unknown_transport",
        ),
        (
            "GET /rt?transport=carrier-pigeon",
            String::new(),
            400,
            "unknown_transport",
        ),
        (
            "PUT /rt?transport=sse",
            String::new(),
            405,
            "method_not_allowed",
        ),
        (
            "PATCH /rt?transport=longpoll",
            String::new(),
            405,
            "method_not_allowed",
        ),
        ("POST /rt", WS.to_owned(), 405, "method_not_allowed"),
        (
            "GET /rt",
            WS.replace("Version: 13", "Version: 12"),
            426,
            "unsupported_version",
        ),
        (
            "GET /rt",
            WS.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
            400,
            "bad_upgrade",
        ),
        (
            "GET /rt",
            WS.replace("Connection: Upgrade\n", "Connection: close\n"),
            400,
            "bad_upgrade",
        ),
        (
            "GET /rt",
            format!("{WS}Sec-WebSocket-Protocol: switchback\n"),
            400,
            "bad_session",
        ),
        (
            "GET /rt",
            format!("{WS}Sec-WebSocket-Protocol: switchback, switchback.1.bad\n"),
            400,
            "bad_session",
        ),
        (
            "GET /rt",
            format!("{WS}Sec-WebSocket-Protocol: switchback.1.new.x.1.1\n"),
            400,
            "bad_session",
        ),
        (
            "GET /rt?transport=sse",
            "Switchback-Session: 2.new.x.1.1\n".into(),
            400,
            "bad_session",
        ),
        (
            "GET /rt?transport=longpoll",
            "Switchback-Session: \u{e9}\n".into(),
            400,
            "bad_session",
        ),
        (
            "GET /rt?transport=longpoll&cursor=0",
            format!("Switchback-Connection: {id}\n"),
            404,
            "unknown_connection",
        ),
        (
            "POST /rt?transport=sse&first=1",
            String::new(),
            400,
            "bad_request",
        ),
        (
            "POST /rt?transport=sse&first=1",
            format!("Switchback-Connection: {id}\nContent-Length: 0\n"),
            404,
            "unknown_connection",
        ),
        (
            "POST /rt?transport=longpoll&first=1",
            "Switchback-Connection: nonsense\n".into(),
            404,
            "unknown_connection",
        ),
    ];
    for (line, headers, status, error) in cases {
        let request = format!("{line} HTTP/1.1\nHost: x\n{headers}");
        // A handshake keeps the connection; everything else is asked to close it.
        let close = if headers.contains("Upgrade") {
            ""
        } else {
            "Connection: close\n"
        };
        let response = if close.is_empty() {
            let lines = request.replace("Connection: Upgrade\n", "Connection: Upgrade, close\n");
            raw(server.addr, &format!("{lines}\n")).await
        } else {
            raw(server.addr, &format!("{request}{close}\n")).await
        };
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {response}"
        );
        assert!(
            response.contains(&format!("\"error\":\"{error}\"")),
            "{line}: {response}"
        );
        assert!(
            response.to_lowercase().contains("cache-control: no-store"),
            "{line}: {response}"
        );
    }
    let response = raw(
        server.addr,
        &format!(
            "GET /rt HTTP/1.1\nHost: x\nConnection: Upgrade, close\n{}\n",
            WS.replace("Version: 13", "Version: 8")
                .replace("Connection: Upgrade\n", "")
        ),
    )
    .await;
    assert!(
        response
            .to_lowercase()
            .contains("sec-websocket-version: 13"),
        "{response}"
    );

    // Nobody else noticed.
    let mut connection = client(server.addr, TransportKind::WebSocket)
        .connect()
        .await
        .unwrap();
    connection.send("still here").await.unwrap();
    let reply = within("an echo", connection.recv()).await.unwrap().unwrap();
    assert_eq!(reply.as_text(), Some("still here"));
}

#[tokio::test]
async fn a_transport_that_is_not_offered_is_refused() {
    let server = Server::echo(Config::new().transports([TransportKind::LongPoll])).await;
    let error = client(server.addr, TransportKind::Sse)
        .connect()
        .await
        .unwrap_err();
    assert_eq!(error.failures().len(), 1);
    assert_eq!(error.failures()[0].kind(), TransportKind::Sse);
    let why = error.failures()[0].why();
    assert!(why.contains("not offered"), "{why}");
    assert!(error.to_string().contains("sse: "), "{error}");
}

#[tokio::test]
async fn errors_read_well_where_main_prints_them() {
    let error = switchback::connect("http://").await.unwrap_err();
    let shown = format!("{error:?}");
    assert!(shown.starts_with("the URL cannot be used: "), "{shown}");

    let server = Server::echo(Config::new().transports([TransportKind::LongPoll])).await;
    let client = client(server.addr, TransportKind::Sse);
    let error = client.connect().await.unwrap_err();
    assert_eq!(format!("{error:?}"), error.to_string());
}

#[tokio::test]
async fn plain_clients_can_be_refused() {
    let server = Server::echo(Config::new().plain_clients(false)).await;
    let request = "GET /rt?transport=sse HTTP/1.1\nHost: x\nConnection: close\n\n";
    let response = raw(server.addr, request).await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(response.contains("bad_session"), "{response}");
}
