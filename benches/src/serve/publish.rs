//! A WebSocket each of whose messages is published, for publishers that do not wait for answers.

use std::sync::Arc;

use bytes::Bytes;
use switchback::Message;
use switchback_core::TransportExt;
use switchback_ws::WebSocket;

use super::room::Room;

pub(super) async fn run(mut socket: WebSocket, room: Arc<Room>) {
    while let Ok(Some(message)) = socket.recv().await {
        room.publish(message);
    }
}

/// Makes a message of a body: text where it is text.
pub(super) fn message(body: Bytes) -> Message {
    Message::text_from_bytes(body.clone()).unwrap_or_else(|_| Message::binary(body))
}
