//! The server of the duplex transport, spoken to in bare HTTP (`docs/protocol.md`, 2.2, 2.4, 2.5).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use support::{Events, get, request, serve_duplex, soon, text};
use switchback_sse::{
    CloseCode, CloseReason, ErrorKind, Limits, Message, ServerConfig, Sse, SseServer, Transport,
    TransportExt,
};
use tokio::sync::mpsc;

struct Server {
    addr: SocketAddr,
    server: SseServer,
    transports: mpsc::Receiver<Sse>,
}

/// A connection as a client of bare HTTP has it.
struct Client {
    addr: SocketAddr,
    id: String,
    events: Events,
}

impl Server {
    async fn start(config: ServerConfig) -> Self {
        let server = SseServer::new(config);
        let (addr, transports) = serve_duplex(server.clone()).await;
        Self {
            addr,
            server,
            transports,
        }
    }

    async fn open(&mut self) -> (Sse, Client) {
        let mut events = Events::of(get(self.addr, "/rt?transport=sse").await);
        let hello = events.next().await.unwrap();
        assert_eq!(hello.event(), "switchback");
        let hello: Value = serde_json::from_str(hello.data()).unwrap();
        let id = hello["connection"].as_str().unwrap().to_owned();
        assert_eq!(id.len(), 22);
        let transport = soon(self.transports.recv()).await.unwrap();
        let client = Client {
            addr: self.addr,
            id,
            events,
        };
        (transport, client)
    }

    async fn no_connections(&self) {
        while self.server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

impl Client {
    async fn send(&self, method: Method, query: &str, body: &[u8]) -> Response<Incoming> {
        let builder = Request::builder()
            .method(method)
            .uri(format!("/rt?transport=sse{query}"))
            .header("switchback-connection", &self.id);
        request(self.addr, builder, body.to_vec()).await
    }

    async fn post(&self, first: u64, body: &str) -> (u16, Value) {
        let query = format!("&first={first}");
        json(self.send(Method::POST, &query, body.as_bytes()).await).await
    }

    async fn delete(&self, query: &str) -> u16 {
        self.send(Method::DELETE, query, b"")
            .await
            .status()
            .as_u16()
    }
}

async fn json(response: Response<Incoming>) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, serde_json::from_str(&text(response).await).unwrap())
}

fn close(why: &CloseReason) -> String {
    format!(
        r#"{{"close":{{"code":{},"reason":"{}"}}}}"#,
        why.code(),
        why.reason()
    )
}

#[tokio::test]
async fn the_stream_is_as_the_protocol_says() {
    let mut server = Server::start(ServerConfig::new()).await;
    let response = get(server.addr, "/rt?transport=sse").await;
    assert_eq!(
        response.headers()["cache-control"],
        "no-cache, no-transform"
    );
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut transport = soon(server.transports.recv()).await.unwrap();
    assert!(transport.info().peer_addr().unwrap().ip().is_loopback());
    for message in ["", " two\nlines\n", "a\rb"] {
        transport.send(message).await.unwrap();
    }
    transport.send(vec![0, 255]).await.unwrap();
    let why = CloseReason::new(CloseCode::GOING_AWAY, "bye");
    soon(transport.close(why)).await.unwrap();

    let stream = text(response).await;
    let (padding, events) = stream.split_at(2048);
    assert!(
        padding.starts_with(": ") && padding.ends_with(" \n\n"),
        "{padding:?}"
    );
    let (hello, rest) = events.split_once("\n\n").unwrap();
    assert!(hello.starts_with("event: switchback\ndata: {\"connection\":\""));
    assert_eq!(
        rest,
        "data: \n\n\
         data:  two\ndata: lines\ndata: \n\n\
         event: text\ndata: YQ1i\n\n\
         event: binary\ndata: AP8=\n\n\
         event: switchback\ndata: {\"close\":{\"code\":1001,\"reason\":\"bye\"}}\n\n"
    );
}

#[tokio::test]
async fn posts_arrive_once_and_in_order() {
    let mut server = Server::start(ServerConfig::new()).await;
    let (mut transport, client) = server.open().await;
    let (status, answer) = client.post(1, "t1:ab2:\0\u{1}").await;
    assert_eq!((status, &answer["received"]), (200, &2.into()));
    // Sent again with one more, as after a lost response.
    let (status, answer) = client.post(1, "t1:ab2:\0\u{1}t0:").await;
    assert_eq!((status, &answer["received"]), (200, &3.into()));
    let (status, answer) = client.post(5, "t1:x").await;
    assert_eq!((status, &answer["error"]), (409, &"gap".into()));
    for expected in [Message::text("a"), Message::binary(vec![0, 1]), "".into()] {
        assert_eq!(soon(transport.recv()).await.unwrap(), Some(expected));
    }
}

#[tokio::test]
async fn a_delete_closes_behind_the_messages() {
    let mut server = Server::start(ServerConfig::new()).await;
    let (mut transport, mut client) = server.open().await;
    client.post(1, "t1:x").await;
    assert_eq!(client.delete("&code=4004&reason=a%20b").await, 204);
    assert_eq!(soon(transport.recv()).await.unwrap(), Some("x".into()));
    assert_eq!(transport.close_reason(), None);
    for _ in 0..2 {
        assert_eq!(soon(transport.recv()).await.unwrap(), None);
    }
    let why = CloseReason::new(CloseCode::TRANSPORT_CHANGED, "a b");
    assert_eq!(transport.close_reason(), Some(&why));
    let error = soon(transport.send("too late")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(error.close_reason(), Some(&why));
    soon(transport.close(CloseCode::NORMAL)).await.unwrap();
    // The stream ends without a close of the server's own, and nothing is left.
    assert_eq!(client.events.next().await, None);
    soon(server.no_connections()).await;
    assert_eq!(client.delete("").await, 204, "it is gone, as it should be");
    assert_eq!(client.post(2, "t1:x").await.0, 404);
}

#[tokio::test]
async fn a_close_comes_behind_the_messages() {
    let mut server = Server::start(ServerConfig::new()).await;
    let (mut transport, mut client) = server.open().await;
    transport.send("x").await.unwrap();
    let why = CloseReason::new(CloseCode::SERVICE_RESTART, "soon back");
    soon(transport.close(why.clone())).await.unwrap();
    soon(transport.close(CloseCode::NORMAL)).await.unwrap();
    assert_eq!(client.events.next().await.unwrap().data(), "x");
    let event = client.events.next().await.unwrap();
    assert_eq!((event.event(), event.data()), ("switchback", &*close(&why)));
    assert_eq!(client.events.next().await, None);
    let error = soon(transport.send("too late")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(soon(transport.recv()).await.is_err());
    drop(transport);
    soon(server.no_connections()).await;
}

#[tokio::test]
async fn a_post_while_the_server_closes_is_told_why() {
    let config = ServerConfig::new().limits(Limits::new().close_timeout(Duration::from_secs(60)));
    let server = SseServer::new(config);
    let get = Request::get("/?transport=sse").body(()).unwrap();
    let (response, mut transport) = server.open(&get).unwrap();
    // The body is not polled, so the close is not complete.
    let why = CloseReason::new(CloseCode::GOING_AWAY, "bye");
    let mut closing = Box::pin(transport.close(why));
    let pending =
        std::future::poll_fn(|cx| std::task::Poll::Ready(closing.as_mut().poll(cx).is_pending()));
    assert!(pending.await);

    let mut body = response.into_body();
    let first = soon(body.frame())
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    let id = first.split('"').nth(3).unwrap();
    let post = Request::post("/?transport=sse&first=1")
        .header("switchback-connection", id)
        .body(http_body_util::Full::<bytes::Bytes>::from("t1:x"))
        .unwrap();
    let response = soon(server.post(post)).await;
    assert_eq!(response.status(), 410);
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["error"], "closed");
    assert_eq!(
        (&answer["code"], &answer["reason"]),
        (&1001.into(), &"bye".into())
    );
    // The body has taken the close event with the first chunk.
    soon(closing).await.unwrap();
    assert!(soon(body.frame()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_close_that_nobody_reads_times_out() {
    let server = SseServer::new(ServerConfig::new());
    let get = Request::get("/?transport=sse").body(()).unwrap();
    let (response, mut transport) = server.open(&get).unwrap();
    let begin = tokio::time::Instant::now();
    let error = soon(transport.close(CloseCode::NORMAL)).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(begin.elapsed(), Limits::new().close_time());
    soon(transport.close(CloseCode::NORMAL)).await.unwrap();
    drop(response);
}

#[tokio::test]
async fn a_client_that_goes_away_is_a_cut() {
    let mut server = Server::start(ServerConfig::new()).await;
    let (mut transport, client) = server.open().await;
    client.post(1, "t1:xt1:y").await;
    drop(client);
    assert_eq!(soon(transport.recv()).await.unwrap(), Some("x".into()));
    assert_eq!(soon(transport.recv()).await.unwrap(), Some("y".into()));
    for _ in 0..2 {
        let error = soon(transport.recv()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reset);
    }
    let error = soon(transport.send("too late")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reset);
    soon(transport.close(CloseCode::NORMAL)).await.unwrap();
    assert_eq!(transport.close_reason(), None);
    assert_eq!(server.server.connections(), 0);
}

#[tokio::test]
async fn a_transport_that_is_dropped_ends_the_stream_without_a_close() {
    let mut server = Server::start(ServerConfig::new()).await;
    let (transport, mut client) = server.open().await;
    drop(transport);
    assert_eq!(client.events.next().await, None);
    assert_eq!(server.server.connections(), 0);
    assert_eq!(client.post(1, "t1:x").await.0, 404);
}

#[tokio::test]
async fn a_response_that_is_never_sent_is_a_cut() {
    let server = SseServer::new(ServerConfig::new());
    let get = Request::get("/?transport=sse").body(()).unwrap();
    let (response, mut transport) = server.open(&get).unwrap();
    assert_eq!(server.connections(), 1);
    drop(response);
    let error = soon(transport.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reset);
    assert_eq!(server.connections(), 0);
}

/// Its owner does nothing: a page that is left must not keep the others out.
#[tokio::test(start_paused = true)]
async fn a_connection_that_was_cut_gives_its_place_back_in_time() {
    let server = SseServer::new(ServerConfig::new().max_connections(1));
    let get = Request::get("/?transport=sse").body(()).unwrap();
    let (response, mut transport) = server.open(&get).unwrap();
    drop(response);
    tokio::time::sleep(Duration::from_millis(999)).await;
    assert_eq!(server.connections(), 1);
    assert_eq!(server.open(&get).unwrap_err().error(), "unavailable");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (_response, _second) = server.open(&get).unwrap();
    assert_eq!(server.connections(), 1);
    // The owner learns it as ever, and what it gives up is its own.
    let error = transport.send("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reset);
    let error = transport.recv().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reset);
    drop(transport);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn prepared_messages_are_encoded_once() {
    let server = SseServer::new(ServerConfig::new().padding(0));
    let message = Message::text("x".repeat(20_000)).prepare();
    let mut chunks = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..2 {
        let get = Request::get("/?transport=sse").body(()).unwrap();
        let (response, mut transport) = server.open(&get).unwrap();
        transport.send(message.clone()).await.unwrap();
        let mut body = response.into_body();
        soon(body.frame()).await.unwrap().unwrap();
        chunks.push(
            soon(body.frame())
                .await
                .unwrap()
                .unwrap()
                .into_data()
                .unwrap(),
        );
        kept.push((body, transport));
    }
    assert_eq!(chunks[0].as_ptr(), chunks[1].as_ptr());
}

#[tokio::test]
async fn what_is_not_offered_is_refused() {
    let server = Server::start(ServerConfig::new().max_connections(0)).await;
    let send = async |method: &str, target: &str| {
        let builder = Request::builder().method(method).uri(target);
        let response = request(server.addr, builder, Vec::new()).await;
        let headers = response.headers().clone();
        let (status, body) = json(response).await;
        (status, body["error"].as_str().unwrap().to_owned(), headers)
    };
    let (status, error, headers) = send("GET", "/").await;
    assert_eq!((status, &*error), (503, "unavailable"));
    assert!(headers.contains_key("retry-after"));
    let (status, error, _) = send("GET", "/?transport=websocket").await;
    assert_eq!((status, &*error), (400, "unknown_transport"));
    let (status, error, headers) = send("PUT", "/?transport=sse").await;
    assert_eq!((status, &*error), (405, "method_not_allowed"));
    assert_eq!(headers["allow"], "GET, POST, DELETE");
    let (status, error, _) = send("POST", "/?transport=sse&first=1").await;
    assert_eq!((status, &*error), (400, "bad_request"));
    let (status, error, _) = send("DELETE", "/?transport=sse").await;
    assert_eq!((status, &*error), (400, "bad_request"));
}
