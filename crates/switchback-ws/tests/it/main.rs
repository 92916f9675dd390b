//! Tests of the WebSocket transport against real sockets, other implementations and raw bytes.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "this is all test code, and its payloads may be anything"
)]

mod buffers;
mod close;
mod common;
mod conformance;
mod handshake;
mod heartbeat;
mod interop;
