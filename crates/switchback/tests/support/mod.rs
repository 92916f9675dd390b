//! A server on loopback and what the tests ask of it.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod flow;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use switchback::{Client, Config, Connection, Endpoint, Incoming, Limits, Message, TransportKind};
use switchback_chaos::{Action, Faults, Rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Ends a test that hangs.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("timed out: {what}"),
    }
}

/// A server that stops when it is dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) endpoint: Endpoint,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves an endpoint; the test takes its connections.
    pub(crate) async fn start(config: Config) -> (Self, Incoming) {
        let (endpoint, incoming) = Endpoint::new(config);
        (Self::mount(endpoint).await, incoming)
    }

    /// Serves an endpoint that echoes.
    pub(crate) async fn echo(config: Config) -> Self {
        let (server, mut incoming) = Self::start(config).await;
        tokio::spawn(async move {
            while let Some(connection) = incoming.accept().await {
                tokio::spawn(echo(connection));
            }
        });
        server
    }

    async fn mount(endpoint: Endpoint) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let service = endpoint.clone();
        let task = tokio::spawn(async move {
            switchback::serve(listener, service).await.unwrap();
        });
        Self {
            addr,
            endpoint,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/rt", self.addr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn echo(mut connection: Connection) {
    while let Ok(Some(message)) = connection.recv().await {
        if connection.send(message).await.is_err() {
            break;
        }
    }
}

/// Limits for messages of up to 2 MiB.
pub(crate) fn large() -> Limits {
    Limits::new().max_message_size(2 << 20)
}

pub(crate) fn client(addr: SocketAddr, kind: TransportKind) -> Client {
    Client::new(&format!("http://{addr}/rt"))
        .unwrap()
        .transports([kind])
        .limits(large())
}

/// Refuses these transports, as a proxy would.
pub(crate) fn refuse(kinds: &[TransportKind]) -> Faults {
    kinds.iter().fold(Faults::new(), |faults, kind| {
        let parameter = format!("transport={}", kind.name());
        faults.rule(match kind {
            TransportKind::WebSocket => Rule::websocket(Action::Answer(502)),
            _ => Rule::new(
                move |head| head.target().contains(&parameter),
                Action::Answer(502),
            ),
        })
    })
}

/// Messages that some transport or encoding is likely to change.
pub(crate) fn awkward() -> Vec<Message> {
    let texts = [
        "",
        " ",
        "hello",
        " leading",
        "trailing ",
        "\r",
        "\n",
        "\r\n",
        "a\rb",
        "a\nb",
        "a\r\nb",
        "\n\n",
        "ends\n",
        "ends\r",
        "\0",
        "a\0b",
        "\u{feff}bom",
        "\u{feff}",
        "\u{1}",
        "\u{1}\u{1}",
        "\u{1}ack 5",
        "\u{1}\u{1}ack",
        "data: x",
        ":comment",
        "é😀\u{10ffff}",
        "\u{2028}\u{2029}",
        "\u{85}",
        "{\"a\":1}",
    ];
    let mut messages: Vec<_> = texts.into_iter().map(Message::text).collect();
    messages.push(Message::binary(Vec::new()));
    messages.push(Message::binary((0..=255).collect::<Vec<u8>>()));
    messages.push(Message::binary(vec![1, b'a']));
    messages.push(Message::text("x".repeat(1 << 20)));
    messages.push(Message::binary(vec![0xff; 1 << 20]));
    messages
}

/// Sends a raw HTTP/1.1 request and returns the whole response.
pub(crate) async fn raw(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = request.replace('\n', "\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    within("a response", stream.read_to_end(&mut response))
        .await
        .unwrap();
    String::from_utf8_lossy(&response).into_owned()
}
