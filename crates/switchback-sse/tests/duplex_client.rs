//! The client of the duplex transport with our own server.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::task::Poll;

use support::{serve_duplex, soon};
use switchback_sse::{
    ClientConfig, CloseCode, CloseReason, Error, ErrorKind, Limits, Message, ServerConfig, Sse,
    SseClient, SseServer, Transport, TransportExt,
};

async fn pair(limits: Limits) -> (Sse, SseClient) {
    let server = SseServer::new(ServerConfig::new().limits(limits.clone()));
    let (addr, mut transports) = serve_duplex(server).await;
    let url = format!("http://{addr}/rt").parse().unwrap();
    let config = ClientConfig::new().limits(limits);
    let client = soon(SseClient::connect(&url, &config)).await.unwrap();
    (soon(transports.recv()).await.unwrap(), client)
}

#[tokio::test]
async fn any_message_arrives_bit_for_bit_both_ways() {
    let (mut server, mut client) = pair(Limits::new().max_message_size(1 << 21)).await;
    let mut messages: Vec<Message> = [
        "",
        "\r",
        "\n",
        "\r\n",
        "a\rb",
        "a\r\nb",
        "\n\r",
        " leading",
        "  ",
        "\t",
        "\0",
        "a\0b",
        "\u{feff}",
        "\u{feff}\r",
        "trailing\n",
        "trailing\n\n",
        "\ntrailing",
        ":",
        ": comment",
        "data: x\n\nevent: y",
        "é€😀",
        "\u{85}\u{2028}\u{2029}\x0b\x0c",
        "\u{1}close",
        "t1:x",
    ]
    .map(Message::from)
    .to_vec();
    messages.extend([
        Message::binary(""),
        Message::binary(vec![0]),
        Message::binary("text\r\n"),
        Message::binary((0..=255).collect::<Vec<u8>>()),
        Message::binary(vec![0xff; 1 << 20]),
        Message::text("x".repeat(1 << 20)),
        Message::text("\r\n".repeat(1 << 19)),
        Message::text("x".repeat(63) + "\n"),
    ]);
    for message in &messages {
        let (sent, received) =
            tokio::join!(soon(server.send(message.clone())), soon(client.recv()));
        sent.unwrap();
        assert!(
            received.unwrap().as_ref() == Some(message),
            "down: {message:?}"
        );
        let (sent, received) =
            tokio::join!(soon(client.send(message.clone())), soon(server.recv()));
        sent.unwrap();
        assert!(
            received.unwrap().as_ref() == Some(message),
            "up: {message:?}"
        );
    }
    // All of them on the way at the same time.
    let echo = async {
        for _ in &messages {
            let message = server.recv().await.unwrap().unwrap();
            server.send(message).await.unwrap();
        }
    };
    let client = async {
        let (mut sent, mut seen) = (messages.iter(), Vec::new());
        let mut next = sent.next();
        std::future::poll_fn(|cx| {
            while let Some(message) = next
                && client.poll_send(cx, message)?.is_ready()
            {
                next = sent.next();
            }
            while let Poll::Ready(message) = client.poll_recv(cx)? {
                seen.extend(message);
            }
            match seen.len() == messages.len() {
                true => Poll::Ready(Ok::<_, Error>(())),
                false => Poll::Pending,
            }
        })
        .await
        .unwrap();
        seen
    };
    let ((), seen) = soon(async { tokio::join!(echo, client) }).await;
    assert!(seen == messages);
}

#[tokio::test]
async fn an_application_that_only_reads_gets_its_messages_sent() {
    let (mut server, mut client) = pair(Limits::new()).await;
    // Taken, but neither flushed nor acknowledged.
    std::future::poll_fn(|cx| client.poll_send(cx, &"x".into()))
        .await
        .unwrap();
    let (received, sent) = tokio::join!(soon(client.recv()), async {
        let received = soon(server.recv()).await.unwrap();
        server.send("y").await.unwrap();
        received
    });
    assert_eq!(received.unwrap(), Some("y".into()));
    assert_eq!(sent, Some("x".into()));
}

#[tokio::test]
async fn the_peer_is_told_why() {
    let why = CloseReason::new(CloseCode::SERVICE_RESTART, "é \"\\\r\n");
    let (mut server, mut client) = pair(Limits::new()).await;
    server.send("last").await.unwrap();
    soon(server.close(why.clone())).await.unwrap();
    assert_eq!(soon(client.recv()).await.unwrap(), Some("last".into()));
    for _ in 0..2 {
        assert_eq!(soon(client.recv()).await.unwrap(), None);
    }
    assert_eq!(client.close_reason(), Some(&why));
    let error = soon(client.send("too late")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.close_reason()),
        (ErrorKind::Closed, Some(&why))
    );
    soon(client.close(CloseCode::NORMAL)).await.unwrap();

    let (mut server, mut client) = pair(Limits::new()).await;
    client.send("last").await.unwrap();
    soon(client.close(why.clone())).await.unwrap();
    assert!(soon(client.recv()).await.is_err());
    assert_eq!(soon(server.recv()).await.unwrap(), Some("last".into()));
    assert_eq!(soon(server.recv()).await.unwrap(), None);
    assert_eq!(server.close_reason(), Some(&why));
}

#[tokio::test]
async fn a_server_that_closes_while_the_client_posts_is_understood() {
    let (mut server, mut client) = pair(Limits::new()).await;
    let why = CloseReason::new(CloseCode::GOING_AWAY, "bye");
    // The server takes no POST any more, and its close comes only later.
    let (closed, sent) = tokio::join!(soon(server.close(why.clone())), soon(client.send("x")));
    closed.unwrap();
    // Whether this one came in time is open.
    drop(sent);
    assert_eq!(soon(client.recv()).await.unwrap(), None);
    assert_eq!(client.close_reason(), Some(&why));
}
