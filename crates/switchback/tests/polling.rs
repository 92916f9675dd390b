//! Applications that poll a connection by hand, in place of `recv`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::future::poll_fn;
use std::task::Poll;

use support::{Server, client, within};
use switchback::{Config, Connection, Event, State, TransportKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const UPGRADE: &[u8] =
    b"GET /rt HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// What is sent while the application waits leaves at once, whatever was in the transport's buffer behind
/// the last messages: a ping, or the beginning of a message that is still on its way.
#[tokio::test]
async fn what_is_sent_while_waiting_leaves() {
    for behind in [&b"\x89\x80\0\0\0\0"[..], b"\x81\x85\0\0"] {
        let (server, mut incoming) = Server::start(Config::new()).await;
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(UPGRADE).await.unwrap();
        let connection = within("a connection", incoming.accept()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut seen).await.unwrap();
        }
        tokio::spawn(answer_when_waiting(connection));
        let mut frames = b"\x81\x81\0\0\0\0m".repeat(7);
        frames.extend(behind);
        stream.write_all(&frames).await.unwrap();
        while !seen.ends_with(b"second") {
            let read = within("both messages", stream.read_buf(&mut seen)).await;
            assert_ne!(read.unwrap(), 0);
        }
    }
}

/// Whoever has taken a message and is at work hears of the end all the same: somebody looks, though the
/// transport was not read to its end.
#[tokio::test]
async fn the_end_is_noticed_while_the_application_is_at_work() {
    let (server, mut incoming) = Server::start(Config::new()).await;
    let client = client(server.addr, TransportKind::WebSocket);
    let mut client = client.connect().await.unwrap();
    client.send("work").await.unwrap();
    let mut connection = within("a connection", incoming.accept()).await.unwrap();
    let message = within("a message", connection.recv()).await.unwrap();
    assert_eq!(message.unwrap().as_text(), Some("work"));
    let mut watch = connection.watch();
    drop(client);
    while !matches!(watch.current(), State::Closed(_)) {
        within("the end", watch.changed()).await;
    }
}

/// Answers seven messages with two, but waits for more before.
async fn answer_when_waiting(mut connection: Connection) {
    let mut count = 0;
    poll_fn(|cx| {
        while let Poll::Ready(event) = connection.poll_event(cx) {
            match event {
                Ok(Some(Event::Message(_))) => count += 1,
                _ => return Poll::Ready(()),
            }
        }
        if count == 7 {
            connection.try_send("first").unwrap();
            connection.try_send("second").unwrap();
            count = 0;
        }
        Poll::Pending
    })
    .await;
}
