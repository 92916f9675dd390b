//! Clients that go away for good: their sessions end at once, and are not kept for a resume.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use support::{Server, client, within};
use switchback::{Body, CloseCode, Config, Connection, Endpoint, Incoming, TransportKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NEW: &str = "1.new.AAAAAAAAAAAAAAAAAAAAAA.1.1";

/// What a page posts last, in full the first time.
const LAST_WORDS: &str = "t9:\u{1}select 0t5:hellot29:\u{1}close {\"code\":1001,\"sent\":1}";

/// A page on an event stream, in the process of the server.
struct Page {
    endpoint: Endpoint,
    stream: Body,
    id: String,
    /// The events that have come.
    seen: String,
}

impl Page {
    async fn open(endpoint: &Endpoint, hello: &str) -> Self {
        let get = Request::get("/rt?transport=sse").header("switchback-session", hello);
        let get = get.body(Full::default()).unwrap();
        let stream = endpoint.handle::<Full<Bytes>>(get).await.into_body();
        let mut page = Self {
            endpoint: endpoint.clone(),
            stream,
            id: String::new(),
            seen: String::new(),
        };
        page.sees("{\"connection\":\"").await;
        page.sees("\u{1}opened").await;
        page.id = after(&page.seen, "{\"connection\":\"");
        page
    }

    /// Reads on until a text is there.
    async fn sees(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let frame = within("an event", self.stream.frame()).await.unwrap();
            let data = frame.unwrap().into_data().unwrap();
            self.seen.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    fn post(&self, body: &'static str) -> impl Future<Output = Response<Body>> + use<> {
        let request = Request::post("/rt?transport=sse&first=1")
            .header("switchback-connection", &self.id)
            .body(Full::<Bytes>::from(body))
            .unwrap();
        let endpoint = self.endpoint.clone();
        async move { within("an answer", endpoint.handle(request)).await }
    }
}

/// What follows in quotes.
fn after(text: &str, key: &str) -> String {
    let rest = text.split_once(key).unwrap().1;
    rest.split('"').next().unwrap().to_owned()
}

async fn accept(incoming: &mut Incoming) -> Connection {
    within("a connection", incoming.accept()).await.unwrap()
}

async fn ends(mut connection: Connection, messages: &[&str]) {
    for expected in messages {
        let message = within("a message", connection.recv()).await.unwrap();
        assert_eq!(message.unwrap().as_text(), Some(*expected));
    }
    assert_eq!(within("the end", connection.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_that_ends_before_the_last_post_arrives() {
    let (endpoint, mut incoming) = Endpoint::new(Config::new());
    let page = Page::open(&endpoint, NEW).await;
    let connection = accept(&mut incoming).await;
    // The page will never see this, so that a session that waits for an acknowledgement waits long.
    connection.try_send("to nobody").unwrap();
    let last = page.post(LAST_WORDS);
    drop(page);
    assert_eq!(last.await.status(), 200);
    ends(connection, &["hello"]).await;
    assert_eq!(endpoint.connections(), 0);
}

#[tokio::test]
async fn a_stream_that_ends_after_the_last_post_has_arrived() {
    let (endpoint, mut incoming) = Endpoint::new(Config::new());
    let page = Page::open(&endpoint, NEW).await;
    let connection = accept(&mut incoming).await;
    connection.try_send("to nobody").unwrap();
    assert_eq!(page.post(LAST_WORDS).await.status(), 200);
    drop(page);
    ends(connection, &["hello"]).await;
    assert_eq!(endpoint.connections(), 0);
}

#[tokio::test]
async fn a_resume_does_not_wait_for_late_posts_and_takes_none() {
    let (endpoint, mut incoming) = Endpoint::new(Config::new());
    let page = Page::open(&endpoint, NEW).await;
    let mut connection = accept(&mut incoming).await;
    let token = after(&page.seen, "\"token\":\"");
    let late = page.post("t9:\u{1}select 0t5:hello");
    drop(page);
    let resume = format!("1.resume.AAAAAAAAAAAAAAAAAAAAAA.{token}.2.2.0");
    let mut page = Page::open(&endpoint, &resume).await;
    assert!(page.seen.contains("\"resumed\":true"), "{}", page.seen);
    assert_eq!(late.await.status(), 404);
    connection.send("goes on").await.unwrap();
    page.sees("data: goes on").await;
    assert_eq!(page.post("t9:\u{1}select 1t5:again").await.status(), 200);
    let message = within("a message", connection.recv()).await.unwrap();
    assert_eq!(message.unwrap().as_text(), Some("again"));
}

#[tokio::test]
async fn over_tcp_in_whatever_order_things_arrive() {
    for (transport, code) in [("sse", 1001), ("longpoll", 1001), ("longpoll", 1000)] {
        let (server, mut incoming) = Server::start(Config::new()).await;
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        let target = format!("GET /rt?transport={transport} HTTP/1.1\r\nhost: x\r\n");
        let hello = format!("switchback-session: {NEW}\r\n\r\n");
        stream
            .write_all((target + &hello).as_bytes())
            .await
            .unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("\u{1}opened") {
            within("opened", stream.read_buf(&mut seen)).await.unwrap();
        }
        let seen = String::from_utf8(seen).unwrap();
        let id = match transport {
            "sse" => after(&seen, "{\"connection\":\""),
            _ => seen.split("switchback-connection: ").nth(1).unwrap()[..22].to_owned(),
        };
        let connection = accept(&mut incoming).await;
        drop(stream);
        let body = LAST_WORDS.replace("1001", &code.to_string());
        let answer = support::raw(
            server.addr,
            &format!(
                "POST /rt?transport={transport}&first=1 HTTP/1.1\nhost: x\nconnection: close\n\
                 switchback-connection: {id}\ncontent-length: {}\n\n{body}",
                body.len()
            ),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        ends(connection, &["hello"]).await;
        assert_eq!(server.endpoint.connections(), 0, "{transport}");
    }
}

#[tokio::test]
async fn clients_that_close_or_are_dropped_leave_nothing_behind() {
    for kind in TransportKind::ALL {
        for code in [None, Some(CloseCode::NORMAL), Some(CloseCode::GOING_AWAY)] {
            let (server, mut incoming) = Server::start(Config::new()).await;
            let connecting = client(server.addr, kind);
            let mut client = within("connect", connecting.connect()).await.unwrap();
            let connection = accept(&mut incoming).await;
            connection.try_send("perhaps unread").unwrap();
            client.send("hello").await.unwrap();
            match code {
                None => drop(client),
                Some(code) => within("the close", client.close(code)).await.unwrap(),
            }
            ends(connection, &["hello"]).await;
            assert_eq!(server.endpoint.connections(), 0, "{kind}");
        }
    }
}
