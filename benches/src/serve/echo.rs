//! Sends back what comes.

use std::future::poll_fn;
use std::task::{Poll, ready};

use switchback::{Connection, Error, Incoming, Message};
use switchback_core::Transport;
use switchback_ws::WebSocket;

/// Echoes on a bare WebSocket. All replies to what one read brought leave in one write.
pub(super) async fn websocket(mut socket: WebSocket) {
    let mut held: Option<Message> = None;
    let _ = poll_fn(|cx| {
        loop {
            if let Some(message) = &held {
                ready!(socket.poll_send(cx, message))?;
            }
            if let Some(message) = held.take() {
                message.recycle();
            }
            match socket.poll_recv(cx)? {
                Poll::Ready(Some(message)) => held = Some(message),
                Poll::Ready(None) => return Poll::Ready(Ok::<(), Error>(())),
                Poll::Pending => {
                    ready!(socket.poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
}

/// Echoes on every connection of an endpoint.
pub(super) async fn accept(mut incoming: Incoming) {
    while let Some(connection) = incoming.accept().await {
        tokio::spawn(session(connection));
    }
}

async fn session(mut connection: Connection) {
    while let Ok(Some(message)) = connection.recv().await {
        if connection.send(message).await.is_err() {
            return;
        }
    }
}
