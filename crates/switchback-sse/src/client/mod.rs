//! The client: an event source as browsers have it, and the duplex transport.

mod config;
mod duplex;
mod incoming;
mod location;
mod source;

pub use config::{ClientConfig, EventSourceConfig};
pub use duplex::SseClient;
pub use source::{EventSource, ReadyState};
