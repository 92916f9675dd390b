//! The types that every Switchback crate shares: [`Message`], [`Broadcast`], the [`Transport`] trait,
//! close codes, errors and limits.
//!
//! This crate has no runtime, opens no socket and knows no transport. Depend on it to write a
//! transport of your own (`docs/writing-a-transport.md`); to *use* one, depend on the transport's
//! crate or on the facade `switchback`, which re-export what you need from here.
//!
//! ```
//! use switchback_core::{Message, MessageKind};
//!
//! let hello = Message::text("hello");
//! assert_eq!(hello.kind(), MessageKind::Text);
//! assert_eq!(hello.as_text(), Some("hello"));
//!
//! let copy = hello.clone(); // shares the bytes
//! assert_eq!(copy, hello);
//! ```

mod broadcast;
mod close;
mod error;
mod ext;
mod info;
mod limits;
mod message;
mod transport;

pub use broadcast::{Broadcast, Lagged, Listener, Run, Subscription};
pub use close::{CloseCode, CloseReason};
pub use error::{Error, ErrorKind};
pub use ext::{Close, Flush, Recv, Send, TransportExt};
pub use info::{TransportInfo, TransportKind};
pub use limits::Limits;
pub use message::{Message, MessageKind, WireForm};
pub use transport::Transport;
