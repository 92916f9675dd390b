//! Real-time transport for Rust servers: WebSocket, Server-Sent Events and long-polling behind one endpoint, with sessions that lose nothing.
