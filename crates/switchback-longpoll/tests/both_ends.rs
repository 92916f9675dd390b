//! The crate's client and the crate's server, over a real hyper server on loopback.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod support;

use std::future::poll_fn;
use std::task::Poll;

use http::HeaderValue;
use support::{Host, soon};
use switchback_longpoll::{
    ClientConfig, CloseCode, CloseReason, Limits, LongPoll, LongPollClient, LongPollServer,
    Message, ServerConfig, Transport, TransportExt, TransportKind,
};

async fn pair(limits: Limits) -> (LongPoll, LongPollClient) {
    let config = ServerConfig::new().limits(limits.clone());
    let mut host = Host::start(LongPollServer::new(config)).await;
    let config = ClientConfig::new()
        .limits(limits)
        .header(http::header::AUTHORIZATION, HeaderValue::from_static("x"));
    let client = soon(LongPollClient::connect(&host.url, &config))
        .await
        .unwrap();
    (host.accept().await, client)
}

/// Tries to send; tells whether the transport took the message.
async fn try_send(transport: &mut impl Transport, message: &Message) -> bool {
    poll_fn(|cx| {
        Poll::Ready(match transport.poll_send(cx, message) {
            Poll::Ready(sent) => {
                sent.unwrap();
                true
            }
            Poll::Pending => false,
        })
    })
    .await
}

#[tokio::test]
async fn each_knows_the_other() {
    let (server, client) = pair(Limits::new()).await;
    for info in [server.info(), client.info()] {
        assert_eq!(info.kind(), TransportKind::LongPoll);
        assert!(info.peer_addr().unwrap().ip().is_loopback());
    }
}

#[tokio::test]
async fn a_megabyte_each_way() {
    let limits = Limits::new().max_message_size(1 << 20);
    let (mut server, mut client) = pair(limits).await;
    let bytes: Vec<u8> = (0..1_u32 << 20).map(|n| (n % 251) as u8).collect();
    let message = Message::binary(bytes);
    soon(server.send(message.clone())).await.unwrap();
    assert_eq!(soon(client.recv()).await.unwrap().as_ref(), Some(&message));
    soon(client.send(message.clone())).await.unwrap();
    assert_eq!(soon(server.recv()).await.unwrap().as_ref(), Some(&message));
}

#[tokio::test]
async fn a_client_that_does_not_receive_stops_the_server_within_the_bounds() {
    let limits = Limits::new()
        .send_buffer_size(16 * 1024)
        .recv_buffer_size(16 * 1024);
    let (mut server, mut client) = pair(limits).await;
    let message = Message::binary(vec![7; 1000]);
    let mut taken = 0;
    // As much as it takes at once, then one message at a time for each that the client receives,
    // whose poll carries away a batch now and then.
    for round in 0..100 {
        while try_send(&mut server, &message).await {
            taken += 1;
        }
        assert!(taken <= round + 64, "{taken} taken, {round} received");
        soon(server.flush()).await.unwrap();
        assert_eq!(soon(client.recv()).await.unwrap().as_ref(), Some(&message));
    }
    for _ in 100..taken {
        assert_eq!(soon(client.recv()).await.unwrap().as_ref(), Some(&message));
    }
}

#[tokio::test]
async fn a_server_that_does_not_receive_stops_the_client_within_the_bounds() {
    let limits = Limits::new()
        .send_buffer_size(16 * 1024)
        .recv_buffer_size(16 * 1024);
    let (mut server, mut client) = pair(limits).await;
    let message = Message::binary(vec![7; 1000]);
    let mut taken = 0;
    for round in 0..100 {
        while try_send(&mut client, &message).await {
            taken += 1;
        }
        assert!(taken <= round + 64, "{taken} taken, {round} received");
        tokio::select! {
            received = soon(server.recv()) => {
                assert_eq!(received.unwrap().as_ref(), Some(&message));
            }
            // Moves the POSTs along, and never receives anything.
            other = client.recv() => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_message_over_the_servers_limit_ends_the_client() {
    let mut host = Host::start(LongPollServer::new(
        ServerConfig::new().limits(Limits::new().max_message_size(10)),
    ))
    .await;
    let mut client = soon(LongPollClient::connect(&host.url, &ClientConfig::new()))
        .await
        .unwrap();
    let mut server = host.accept().await;
    let error = soon(client.send("x".repeat(11))).await.unwrap_err();
    assert_eq!(error.kind(), switchback_longpoll::ErrorKind::TooLarge);
    assert!(soon(client.recv()).await.is_err());
    let why = CloseReason::from(CloseCode::MESSAGE_TOO_BIG);
    assert!(try_send(&mut server, &Message::text("still here")).await);
    drop((client, server, why));
}
