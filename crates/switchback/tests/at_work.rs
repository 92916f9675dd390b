//! Applications that take a message and do not come back for a while.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::future::poll_fn;
use std::time::Duration;

use support::{Server, within};
use switchback::{Config, Connection, Message};
use switchback_core::{Transport, TransportExt};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// A client that acknowledges nothing, with a session or plain, and the server's end.
async fn attach(plain: bool) -> (Server, Box<dyn Transport>, Connection) {
    let (server, mut incoming) = Server::start(Config::new()).await;
    let mut config = switchback_ws::ClientConfig::new();
    if !plain {
        let protocols = ["switchback", "switchback.1.new.000000000000000000000A.1.1"];
        config = config.protocols(protocols.map(str::to_owned));
    }
    let url = server.url().parse().unwrap();
    let mut transport = switchback_ws::connect_to(&url, &config).await.unwrap();
    if !plain {
        within("opened", transport.recv()).await.unwrap();
        transport.send("\u{1}select 0").await.unwrap();
    }
    let connection = within("accept", incoming.accept()).await.unwrap();
    (server, Box::new(transport), connection)
}

async fn text(transport: &mut dyn Transport) -> String {
    let message = within("a message", transport.recv()).await.unwrap();
    message.unwrap().as_text().unwrap().to_owned()
}

/// Its reply waits for those to what it has received with it, but not for ever.
#[tokio::test]
async fn what_is_replied_leaves() {
    for plain in [false, true] {
        let (_server, mut transport, mut connection) = attach(plain).await;
        // Opens the short way, and waits for so long that nobody looks after it for what was before (`LATER`).
        connection.send("begin").await.unwrap();
        while text(&mut *transport).await != "begin" {}
        let sends = async {
            sleep(Duration::from_millis(150)).await;
            for _ in 0..20 {
                let message = Message::from_static("x");
                let sent = poll_fn(|cx| transport.poll_send(cx, &message)).await;
                sent.unwrap();
            }
            poll_fn(|cx| transport.poll_flush(cx)).await.unwrap();
        };
        let (received, ()) = tokio::join!(connection.recv(), sends);
        received.unwrap();
        connection.send("reply").await.unwrap();
        assert_eq!(text(&mut *transport).await, "reply");
        for _ in 0..19 {
            within("a message", connection.recv()).await.unwrap();
        }
    }
}

/// What it has received is acknowledged, whatever it does, or does not do, meanwhile.
#[tokio::test]
async fn what_it_has_received_is_acknowledged() {
    for case in 0..5 {
        let (_server, mut transport, mut connection) = attach(false).await;
        // It has done this before: timers are armed, and the short way is open.
        transport.send("0").await.unwrap();
        within("a message", connection.recv()).await.unwrap();
        sleep(Duration::from_millis(150)).await;
        transport.send("1").await.unwrap();
        within("a message", connection.recv()).await.unwrap();
        let (done, over) = oneshot::channel::<()>();
        let work = tokio::spawn(async move {
            match case {
                0 => {}
                1 => connection.send("reply").await.unwrap(),
                2 => {
                    // Sends without end, and never receives.
                    let mut over = over;
                    while over.try_recv() != Err(oneshot::error::TryRecvError::Closed) {
                        connection.send("more").await.unwrap();
                        sleep(Duration::from_millis(20)).await;
                    }
                    return;
                }
                3 => {
                    connection.send("reply").await.unwrap();
                    drop(connection.recv().await);
                    return;
                }
                _ => {
                    // Waits, is dropped, and sends.
                    let _ = timeout(Duration::from_millis(50), connection.recv()).await;
                    connection.send("late").await.unwrap();
                }
            }
            let _ = over.await;
            drop(connection);
        });
        within("an acknowledgement", async {
            while text(&mut *transport).await != "\u{1}ack 2" {}
        })
        .await;
        drop(done);
        work.abort();
    }
}
