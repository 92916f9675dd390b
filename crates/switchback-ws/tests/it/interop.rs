//! tokio-tungstenite's own client and server as the other side.

use crate::common::{Server, soon};
use futures_util::{SinkExt, StreamExt};
use switchback_ws::{
    ClientConfig, CloseCode, CloseReason, Config, Limits, Message, Transport, TransportExt, connect,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as Theirs;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

type Peer = WebSocketStream<TcpStream>;

fn limits() -> Limits {
    Limits::new().max_message_size(4 << 20)
}

async fn our_server() -> (switchback_ws::WebSocket, Peer) {
    let mut server = Server::start(Config::new().limits(limits())).await;
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (peer, _) = soon(client_async(server.url(), stream)).await.unwrap();
    (server.accept().await, peer)
}

async fn our_client() -> (switchback_ws::WebSocket, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let config = ClientConfig::new().limits(limits());
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        accept_async(stream).await.unwrap()
    };
    let (client, peer) = soon(async { tokio::join!(connect(&url, &config), serving) }).await;
    (client.unwrap(), peer)
}

/// Lengths around every change of the header's form (RFC 6455, 5.2) and of our buffers.
const LENGTHS: [usize; 16] = [
    0, 1, 125, 126, 127, 1023, 1024, 1025, 4095, 4096, 16_384, 65_535, 65_536, 65_537, 262_144,
    3_000_000,
];

async fn exchange(mut ours: switchback_ws::WebSocket, mut peer: Peer) {
    let echo = tokio::spawn(async move {
        while let Some(Ok(message)) = peer.next().await {
            if message.is_text() || message.is_binary() {
                peer.send(message).await.unwrap();
            }
        }
    });
    soon(async {
        for length in LENGTHS {
            let text: String = "aé€😀".chars().cycle().take(length).collect();
            let bytes: Vec<u8> = (0..length).map(|i| i as u8).collect();
            for message in [Message::text(text), Message::binary(bytes)] {
                if message.len() > 4 << 20 {
                    continue;
                }
                ours.send(message.clone()).await.unwrap();
                let echoed = ours.recv().await.unwrap().unwrap();
                assert!(echoed == message, "{message:?} came back as {echoed:?}");
            }
        }
        let why = CloseReason::new(CloseCode::GOING_AWAY, "done");
        ours.close(why.clone()).await.unwrap();
        // Its answer is our own reason.
        assert_eq!(ours.close_reason(), Some(&why));
        echo.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn messages_pass_between_our_server_and_their_client() {
    let (ours, peer) = our_server().await;
    exchange(ours, peer).await;
}

#[tokio::test]
async fn messages_pass_between_our_client_and_their_server() {
    let (ours, peer) = our_client().await;
    exchange(ours, peer).await;
}

async fn they_close(mut ours: switchback_ws::WebSocket, mut peer: Peer) {
    soon(async {
        peer.send(Theirs::text("last")).await.unwrap();
        peer.close(Some(CloseFrame {
            code: 4321.into(),
            reason: "bye".into(),
        }))
        .await
        .unwrap();
        assert_eq!(ours.recv().await.unwrap(), Some(Message::text("last")));
        let (end, answer) = tokio::join!(ours.recv(), async {
            let answer = peer.next().await;
            // And then it hangs up.
            assert!(peer.next().await.is_none());
            drop(peer);
            answer
        });
        assert_eq!(end.unwrap(), None);
        let reason = ours.close_reason().unwrap();
        assert_eq!((reason.code().as_u16(), reason.reason()), (4321, "bye"));
        let Some(Ok(Theirs::Close(Some(answer)))) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(u16::from(answer.code), 4321);
    })
    .await;
}

#[tokio::test]
async fn their_client_closes() {
    let (ours, peer) = our_server().await;
    they_close(ours, peer).await;
}

#[tokio::test]
async fn their_server_closes() {
    let (ours, peer) = our_client().await;
    they_close(ours, peer).await;
}

#[tokio::test]
async fn we_close_and_they_are_told() {
    for (mut ours, mut peer) in [our_server().await, our_client().await] {
        let why = CloseReason::new(CloseCode::SERVICE_RESTART, "é");
        let (closed, told) = soon(async {
            tokio::join!(ours.close(why), async {
                let told = peer.next().await;
                assert!(peer.next().await.is_none());
                drop(peer);
                told
            })
        })
        .await;
        closed.unwrap();
        let Some(Ok(Theirs::Close(Some(frame)))) = told else {
            panic!("{told:?}");
        };
        assert_eq!(u16::from(frame.code), 1012);
        assert_eq!(frame.reason.as_str(), "é");
    }
}
