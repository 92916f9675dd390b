//! axum: WebSocket with 4 KiB buffers, and event streams.

use std::convert::Infallible;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use futures_util::{SinkExt, StreamExt};
use peers::Room;

fn main() -> std::io::Result<()> {
    peers::run(async |listener| {
        let app = Router::new()
            .route("/ws/echo", get(async |ws| upgrade(ws, echo)))
            .route(
                "/ws/room",
                get(async |ws, State(room): State<Room>| {
                    upgrade(ws, move |socket| member(socket, room))
                }),
            )
            .route(
                "/ws/publish",
                get(async |ws, State(room): State<Room>| {
                    upgrade(ws, move |socket| publisher(socket, room))
                }),
            )
            .route("/sse/room", get(events))
            .route(
                "/publish",
                post(async |State(room): State<Room>, body: Bytes| room.publish(&body).to_string()),
            )
            .with_state(Room::default());
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, app).await
    })
}

fn upgrade<F>(ws: WebSocketUpgrade, run: impl FnOnce(WebSocket) -> F + Send + 'static) -> Response
where
    F: Future<Output = Result<(), axum::Error>> + Send + 'static,
{
    ws.read_buffer_size(4096)
        .write_buffer_size(4096)
        .on_upgrade(async |socket| {
            let _ = run(socket).await;
        })
        .into_response()
}

/// Feeds the replies to all that is there, then flushes.
async fn echo(mut socket: WebSocket) -> Result<(), axum::Error> {
    while let Some(message) = socket.recv().await {
        socket.feed(message?).await?;
        while let Some(message) = futures_util::FutureExt::now_or_never(socket.recv()) {
            match message {
                Some(message) => socket.feed(message?).await?,
                None => return Ok(()),
            }
        }
        socket.flush().await?;
    }
    Ok(())
}

/// Feeds all that waits, then flushes.
async fn member(socket: WebSocket, room: Room) -> Result<(), axum::Error> {
    let (mut sink, mut stream) = socket.split();
    let mut queue = room.join();
    let mut messages = Vec::new();
    tokio::spawn(async move {
        while queue.recv_many(&mut messages, 512).await > 0 {
            for message in messages.drain(..) {
                sink.feed(Message::Text(Utf8Bytes::try_from(message).unwrap()))
                    .await?;
            }
            sink.flush().await?;
        }
        Ok::<_, axum::Error>(())
    });
    while let Some(message) = stream.next().await {
        message?;
    }
    Ok(())
}

async fn publisher(mut socket: WebSocket, room: Room) -> Result<(), axum::Error> {
    while let Some(message) = socket.recv().await {
        if let message @ (Message::Text(_) | Message::Binary(_)) = message? {
            room.publish(&message.into_data());
        }
    }
    Ok(())
}

async fn events(State(room): State<Room>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::unfold(room.join(), async |mut queue| {
        let message = queue.recv().await?;
        let event = Event::default().data(std::str::from_utf8(&message).unwrap());
        Some((Ok(event), queue))
    }))
}
