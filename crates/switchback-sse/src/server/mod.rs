//! The server: event streams for any client, and the duplex transport.

mod body;
mod connections;
mod duplex;
mod endpoint;
mod pipe;
mod sender;
mod stream;

pub use body::EventBody;
pub use duplex::Sse;
pub use endpoint::{ServerConfig, SseBody, SseServer};
pub use pipe::EventQueue;
pub use sender::{EventSender, SendError};
pub use stream::{EventStream, last_event_id};
