#![doc = include_str!("../README.md")]

mod client;
mod proto;
mod server;
mod timer;

pub use client::{ClientConfig, LongPollClient};
pub use server::{LongPoll, LongPollServer, Opening, PollResponse, ServerConfig};
pub use switchback_core::{
    CloseCode, CloseReason, Error, ErrorKind, Limits, Message, MessageKind, Transport,
    TransportExt, TransportInfo, TransportKind,
};
pub use switchback_http::{Connector, Refusal, Url};
