//! socketioxide on axum: `m` comes back, `p` goes to everybody else.

use axum::Router;
use axum::serve::ListenerExt;
use socketioxide::SocketIo;
use socketioxide::extract::{Data, SocketRef};

fn main() -> std::io::Result<()> {
    peers::run(async |listener: tokio::net::TcpListener| {
        let (layer, io) = SocketIo::builder().max_buffer_size(4096).build_layer();
        io.ns("/", async |socket: SocketRef| {
            socket.on("m", async |socket: SocketRef, Data::<String>(text)| {
                let _ = socket.emit("m", &text);
            });
            socket.on("p", async |socket: SocketRef, Data::<String>(text)| {
                let _ = socket.broadcast().emit("m", &text).await;
            });
        });
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, Router::new().layer(layer)).await
    })
}
