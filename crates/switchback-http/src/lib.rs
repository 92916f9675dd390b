//! What the HTTP-borne transports of Switchback share.
//!
//! This crate is the lower half of `switchback-sse` and `switchback-longpoll`; the WebSocket client
//! uses its [`Connector`]. An application rarely names it.
//!
//! - On the wire: [`batch`]es of messages, the [`headers`], the [`Query`] of a request
//!   (`docs/protocol.md`, 2.4–2.6).
//! - On the server: [`Registry`] finds the connection that a request belongs to, [`Inbox`] turns
//!   numbered POSTs into an ordered stream of messages, [`Refusal`] is an HTTP "no".
//! - On the client: [`Lane`] is one keep-alive HTTP/1.1 connection, [`Poster`] sends numbered POSTs
//!   over it. Nothing here spawns a task: the caller's poll drives everything.
//!
//! ```
//! use bytes::Bytes;
//! use switchback_core::{Limits, Message};
//! use switchback_http::batch;
//!
//! let record = batch::record(&Message::text("hello"));
//! assert_eq!(record, "t5:hello");
//! let messages = batch::decode(&Bytes::from("t5:hellob0:"), &Limits::new())?;
//! assert_eq!(messages, [Message::text("hello"), Message::binary("")]);
//! # Ok::<(), switchback_core::Error>(())
//! ```

pub mod batch;
mod body;
mod client;
mod fatal;
pub mod headers;
mod id;
mod inbox;
mod json;
mod percent;
mod query;
mod refusal;
mod registry;
#[cfg(test)]
mod testing;

pub use body::read_body;
pub use client::{Connector, Lane, Poster, Stream, Url, refusal_error};
pub use id::ConnectionId;
pub use inbox::Inbox;
pub use query::Query;
pub use refusal::Refusal;
pub use registry::Registry;
