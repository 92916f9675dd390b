//! The opening handshake, both halves, over real sockets.

use std::convert::Infallible;

use crate::common::{Server, frame, soon};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::Empty;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use switchback_ws::{
    ClientConfig, CloseReason, Config, Error, ErrorKind, Limits, Message, Transport, TransportExt,
    TransportKind, Url, WebSocket, connect, connect_over, is_upgrade, offered_protocols, upgrade,
    upgrade_with,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

const HEAD: &str = "GET /rt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends a request as it is and returns the response's head and body.
async fn raw(server: &Server, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    let mut byte = [0];
    while !response.ends_with(b"\r\n\r\n") {
        soon(stream.read_exact(&mut byte)).await.unwrap();
        response.push(byte[0]);
    }
    let head = String::from_utf8(response).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    soon(stream.read_exact(&mut body)).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn the_handshake_of_the_rfc_is_accepted() {
    let server = Server::start(Config::new().protocols(["superchat", "chat"])).await;
    let (head, _) = raw(
        &server,
        &format!("{HEAD}Sec-WebSocket-Protocol: chat, superchat\r\n\r\n"),
    )
    .await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for line in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        // The server's preference, not the client's.
        "sec-websocket-protocol: superchat",
    ] {
        assert!(head.lines().any(|one| one == line), "{line} in {head}");
    }
    assert!(!head.contains("sec-websocket-extensions"));
}

#[tokio::test]
async fn refusals_are_json() {
    let server = Server::start(Config::new()).await;
    let request = |from: &str, to: &str| format!("{HEAD}\r\n").replace(from, to);
    for (request, status, word, header) in [
        (
            request("GET", "POST"),
            "405",
            "method_not_allowed",
            "allow: get",
        ),
        (
            request("HTTP/1.1", "HTTP/1.0"),
            "400",
            "bad_upgrade",
            "cache-control: no-store",
        ),
        (
            request("Upgrade: websocket", "Upgrade: h2c"),
            "400",
            "bad_upgrade",
            "content-type: application/json",
        ),
        (
            request("Version: 13", "Version: 12"),
            "426",
            "unsupported_version",
            "sec-websocket-version: 13",
        ),
        (
            request("dGhl", "dGh"),
            "400",
            "bad_upgrade",
            "cache-control: no-store",
        ),
    ] {
        let (head, body) = raw(&server, &request).await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{request}: {head}");
        assert!(head.lines().any(|line| line == header), "{header}: {head}");
        assert!(
            body.contains(&format!(r#""error":"{word}""#)),
            "{request}: {body}"
        );
    }
}

#[tokio::test]
async fn the_caller_may_choose_the_protocol() {
    let mut server = Server::start_with(|request| {
        assert!(is_upgrade(request));
        assert_eq!(offered_protocols(request), ["a", "b"]);
        upgrade_with(request, &Config::new(), |offered| {
            assert_eq!(offered, ["a", "b"]);
            Some("b".to_owned())
        })
    })
    .await;
    let config = ClientConfig::new().protocols(["a", "b"]);
    let client = soon(connect(&server.url(), &config)).await.unwrap();
    let server = server.accept().await;
    assert_eq!(client.info().protocol(), Some("b"));
    assert_eq!(server.info().protocol(), Some("b"));
}

#[tokio::test]
async fn a_choice_that_was_not_offered_is_none() {
    let server = Server::start_with(|request| {
        upgrade_with(request, &Config::new(), |_| Some("c".to_owned()))
    })
    .await;
    let config = ClientConfig::new().protocols(["a", "b"]);
    let client = soon(connect(&server.url(), &config)).await.unwrap();
    assert_eq!(client.info().protocol(), None);
}

#[tokio::test]
async fn both_ends_know_each_other() {
    let mut server = Server::start(Config::new()).await;
    let client = soon(connect(&server.url(), &ClientConfig::new()))
        .await
        .unwrap();
    assert_eq!(client.info().kind(), TransportKind::WebSocket);
    assert_eq!(client.info().peer_addr(), Some(server.addr));
    let accepted = server.accept().await;
    assert_eq!(accepted.info().kind(), TransportKind::WebSocket);
    let peer = accepted.info().peer_addr().unwrap();
    assert!(peer.ip().is_loopback() && peer.port() != server.addr.port());
}

#[tokio::test]
async fn the_client_adds_headers_but_does_not_lose_its_own() {
    let server = Server::start_with(|request| {
        let headers = request.headers();
        assert_eq!(headers["authorization"], "Bearer secret");
        assert_eq!(headers["sec-websocket-version"], "13");
        assert!(!headers.contains_key("sec-websocket-extensions"));
        assert_eq!(request.uri(), "/rt?a=b");
        upgrade(request, &Config::new())
    })
    .await;
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("authorization", "Bearer secret"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("connection", "close"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let config = ClientConfig::new()
        .headers(headers)
        .protocols(["token.abc"]);
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("abc"),
        "{shown}"
    );
    let url = format!("{}?a=b", server.url());
    soon(connect(&url, &config)).await.unwrap();
}

/// Answers one request with these bytes, in one write, and leaves the connection open.
async fn answer(response: Vec<u8>) -> (Result<WebSocket, Error>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let config = ClientConfig::new();
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        let key = String::from_utf8(request).unwrap();
        let key = key
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-key: "))
            .unwrap()
            .to_owned();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        let marker = b"{accept}";
        let response = match response.windows(marker.len()).position(|w| w == marker) {
            None => response,
            Some(at) => {
                let (before, after) = (&response[..at], &response[at + marker.len()..]);
                [before, accept.as_bytes(), after].concat()
            }
        };
        stream.write_all(&response).await.unwrap();
        stream
    };
    soon(async { tokio::join!(connect(&url, &config), serving) }).await
}

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n";

#[tokio::test]
async fn frames_in_the_packet_of_the_response_are_kept() {
    let mut response = format!("{SWITCHING}\r\n").into_bytes();
    response.extend(frame(0x81, false, b"first"));
    response.extend(frame(0x82, false, b"second"));
    response.extend(&frame(0x81, false, b"third")[..3]);
    let (client, mut stream) = answer(response).await;
    let mut client = client.unwrap();
    assert_eq!(
        soon(client.recv()).await.unwrap(),
        Some(Message::text("first"))
    );
    assert_eq!(
        soon(client.recv()).await.unwrap(),
        Some(Message::binary(&b"second"[..]))
    );
    stream
        .write_all(&frame(0x81, false, b"third")[3..])
        .await
        .unwrap();
    assert_eq!(
        soon(client.recv()).await.unwrap(),
        Some(Message::text("third"))
    );
}

#[tokio::test]
async fn frames_in_the_packet_of_the_request_are_kept() {
    let mut server = Server::start(Config::new()).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let mut request = format!("{HEAD}\r\n").into_bytes();
    request.extend(frame(0x81, true, b"early"));
    stream.write_all(&request).await.unwrap();
    let mut accepted = server.accept().await;
    assert_eq!(
        soon(accepted.recv()).await.unwrap(),
        Some(Message::text("early"))
    );
}

#[tokio::test]
async fn the_client_refuses_what_is_no_websocket() {
    let table: &[(&str, ErrorKind, &str)] = &[
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            ErrorKind::Protocol,
            "Sec-WebSocket-Accept",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            ErrorKind::Protocol,
            "200",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
            ErrorKind::Refused,
            "/elsewhere",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 42\r\n\r\n\
             {\"error\":\"unavailable\",\"message\":\"draining\"}",
            ErrorKind::Refused,
            "503",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 44\r\n\r\n\
             {\"error\":\"unavailable\",\"message\":\"draining\"}",
            ErrorKind::Refused,
            "draining",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n\
             2c\r\n{\"error\":\"unavailable\",\"message\":\"draining\"}\r\n0\r\n\r\n",
            ErrorKind::Refused,
            "draining",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", ErrorKind::Protocol, "HTTP"),
    ];
    for (response, kind, text) in table {
        let (client, _stream) = answer(response.as_bytes().to_vec()).await;
        let error = client.unwrap_err();
        assert_eq!(error.kind(), *kind, "{response}: {error:?}");
        assert!(error.to_string().contains(text), "{response}: {error}");
    }
}

#[tokio::test]
async fn extensions_and_protocols_that_were_not_offered_are_refused() {
    for header in [
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Sec-WebSocket-Protocol: chat",
    ] {
        let response = format!("{SWITCHING}{header}\r\n\r\n");
        let (client, _stream) = answer(response.into_bytes()).await;
        assert_eq!(client.unwrap_err().kind(), ErrorKind::Protocol, "{header}");
    }
}

#[tokio::test]
async fn a_cut_in_the_handshake_is_an_error() {
    for response in ["", "HTTP/1.1 101 Switching"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let config = ClientConfig::new();
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(response.as_bytes()).await.unwrap();
        };
        let (client, ()) = soon(async { tokio::join!(connect(&url, &config), serving) }).await;
        assert_eq!(client.unwrap_err().kind(), ErrorKind::Reset, "{response}");
    }
}

#[tokio::test]
async fn settings_that_make_no_sense_are_told() {
    for (url, config) in [
        ("no url", ClientConfig::new()),
        ("ftp://localhost/", ClientConfig::new()),
        ("ws://localhost/", ClientConfig::new().protocols(["a", "a"])),
        ("ws://localhost/", ClientConfig::new().protocols(["a b"])),
        ("ws://localhost/", ClientConfig::new().protocols([""])),
    ] {
        // Nothing is connected to for this.
        let error = match url.parse::<Url>() {
            Err(error) => error,
            Ok(url) => {
                let (stream, _far) = tokio::io::duplex(1024);
                soon(connect_over(stream, &url, &config)).await.unwrap_err()
            }
        };
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url} {config:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let limits = Limits::new();
    let config = ClientConfig::new().limits(limits.clone());
    let (stream, _far) = tokio::io::duplex(1024);
    let url: Url = "ws://localhost/".parse().unwrap();
    let begun = Instant::now();
    let error = connect_over(stream, &url, &config).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(begun.elapsed().as_secs(), limits.handshake_time().as_secs());
}

/// Serves one request over a pipe. The service hands its upgrade out, and then either answers or
/// does not.
async fn upgrade_of(with_upgrades: bool, answers: bool) -> Result<WebSocket, Error> {
    let (sender, mut upgrades) = mpsc::channel(1);
    let service = service_fn(move |mut request| {
        let sender = sender.clone();
        async move {
            let (response, upgrade) = upgrade(&mut request, &Config::new()).unwrap();
            sender.send(upgrade).await.unwrap();
            if !answers {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(response.map(|()| Empty::<Bytes>::new()))
        }
    });
    let (mut far, near) = tokio::io::duplex(1024);
    far.write_all(format!("{HEAD}\r\n").as_bytes())
        .await
        .unwrap();
    let connection = http1::Builder::new().serve_connection(TokioIo::new(near), service);
    if with_upgrades {
        tokio::spawn(connection.with_upgrades());
    } else {
        tokio::spawn(connection);
    }
    let upgraded = upgrades.recv().await.unwrap().await;
    drop(far);
    upgraded
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_is_over_when_its_response_was_sent_or_never_comes() {
    upgrade_of(true, true).await.unwrap();

    let begun = Instant::now();
    let error = upgrade_of(true, false).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(begun.elapsed(), Limits::new().handshake_time());

    let error = upgrade_of(false, true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("with_upgrades"), "{error}");
}

#[tokio::test]
async fn dropping_the_client_ends_the_connection() {
    let mut server = Server::start(Config::new()).await;
    let client = soon(connect(&server.url(), &ClientConfig::new()))
        .await
        .unwrap();
    let mut accepted = server.accept().await;
    drop(client);
    let error = soon(accepted.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reset);
    assert_eq!(accepted.close_reason(), None);
    // Closing what is over is no error.
    soon(accepted.close(CloseReason::normal())).await.unwrap();
}
