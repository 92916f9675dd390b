//! The bytes of a WebSocket after the handshake, as a server sees them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use switchback_core::{Limits, TransportExt};
use switchback_ws::{Config, Role, WebSocket};
use tokio::io::AsyncWriteExt;

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let (mut peer, stream) = tokio::io::duplex(1 << 20);
        let _ = peer.write_all(data).await;
        drop(peer);
        let config = Config::new()
            .limits(Limits::new().max_message_size(1000))
            .ping_interval(None);
        let mut socket = WebSocket::from_stream(stream, Role::Server, &config);
        while let Ok(Some(message)) = socket.recv().await {
            assert!(message.len() <= 1000);
        }
    });
});
