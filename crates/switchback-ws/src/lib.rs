#![doc = include_str!("../README.md")]

mod client;
mod config;
mod engine;
mod heartbeat;
mod inbound;
mod outbound;
mod proto;
mod server;
mod socket;

pub use client::{ClientConfig, connect, connect_over, connect_to};
pub use config::Config;
pub use server::{Upgrade, is_upgrade, offered_protocols, upgrade, upgrade_with};
pub use socket::{Role, WebSocket};

pub use switchback_core::{
    CloseCode, CloseReason, Error, ErrorKind, Limits, Message, MessageKind, Transport,
    TransportExt, TransportInfo, TransportKind,
};
pub use switchback_http::{Connector, Refusal, Url};
