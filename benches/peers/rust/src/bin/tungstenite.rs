//! tokio-tungstenite with 4 KiB buffers, fed and flushed.

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use peers::Room;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

type Socket = WebSocketStream<TcpStream>;

fn main() -> std::io::Result<()> {
    peers::run(async |listener: TcpListener| {
        let room = Room::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, room.clone()));
        }
    })
}

async fn serve(stream: TcpStream, room: Room) -> Result<(), Error> {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(4096);
    let mut path = String::new();
    #[allow(clippy::result_large_err, reason = "the trait wants it")]
    let callback = |request: &Request, response: Response| {
        request.uri().path().clone_into(&mut path);
        Ok(response)
    };
    let socket = accept_hdr_async_with_config(stream, callback, Some(config)).await?;
    match &*path {
        "/ws/room" => member(socket, room).await,
        "/ws/publish" => publisher(socket, room).await,
        _ => echo(socket).await,
    }
}

async fn echo(mut socket: Socket) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_close() {
            return Ok(());
        }
        socket.feed(message).await?;
        while let Some(Some(message)) = socket.next().now_or_never() {
            socket.feed(message?).await?;
        }
        socket.flush().await?;
    }
    Ok(())
}

async fn member(socket: Socket, room: Room) -> Result<(), Error> {
    let (mut sink, mut stream) = socket.split();
    let mut queue = room.join();
    let mut messages: Vec<Bytes> = Vec::new();
    tokio::spawn(async move {
        while queue.recv_many(&mut messages, 512).await > 0 {
            for message in messages.drain(..) {
                sink.feed(Message::Text(Utf8Bytes::try_from(message).unwrap()))
                    .await?;
            }
            sink.flush().await?;
        }
        Ok::<_, Error>(())
    });
    while let Some(message) = stream.next().await {
        message?;
    }
    Ok(())
}

async fn publisher(mut socket: Socket, room: Room) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        if let message @ (Message::Text(_) | Message::Binary(_)) = message? {
            room.publish(&message.into_data());
        }
    }
    Ok(())
}
