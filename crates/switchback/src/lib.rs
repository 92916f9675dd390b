#![doc = include_str!("../README.md")]

mod body;
mod client;
mod config;
mod connection;
mod endpoint;
mod entropy;
mod identity;
mod janitor;
mod list;
mod serve;
mod sync;
#[cfg(feature = "tls")]
mod tls;

pub use self::body::Body;
pub use self::client::{Client, ConnectError, TransportFailure, connect};
pub use self::config::Config;
pub use self::connection::{Connection, Event, SendError, Sender, State, Watch};
pub use self::endpoint::{Endpoint, Incoming};
pub use self::identity::{PeerAddr, Principal};
#[cfg(feature = "tls")]
pub use self::serve::serve_tls;
pub use self::serve::{serve, serve_connection};
#[cfg(feature = "tls")]
pub use self::tls::TlsAcceptor;
pub use switchback_core::{
    Broadcast, CloseCode, CloseReason, Error, ErrorKind, Lagged, Limits, Message, MessageKind, Run,
    Subscription, TransportKind,
};
pub use switchback_session::Why;
