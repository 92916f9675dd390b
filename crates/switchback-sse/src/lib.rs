#![doc = include_str!("../README.md")]

mod client;
mod proto;
mod quiet;
mod server;

pub use client::{ClientConfig, EventSource, EventSourceConfig, ReadyState, SseClient};
pub use proto::{Event, EventLimits, MessageEvent, Parser};
pub use server::{
    EventBody, EventQueue, EventSender, EventStream, SendError, ServerConfig, Sse, SseBody,
    SseServer, last_event_id,
};
pub use switchback_core::{
    CloseCode, CloseReason, Error, ErrorKind, Limits, Message, MessageKind, Transport,
    TransportExt, TransportInfo, TransportKind,
};
pub use switchback_http::{Connector, Refusal, Url};
