#![doc = include_str!("../README.md")]

mod client;
mod closed;
mod codes;
mod config;
mod delivery;
mod frame;
mod hello;
mod id;
mod server;

pub use client::{Action, ClientConfig, ClientEvent, ClientSession, Failure, FailureWhy, Memory};
pub use closed::ClosedBy;
pub use config::Config;
pub use delivery::{Allowance, Ledger, Tally};
pub use frame::{Close, Control, Ended, Frame, Opened, ProtocolError, Why, escape};
pub use hello::{Hello, HelloError};
pub use id::{Entropy, SessionId, Token};
pub use server::{Gone, Refused, Remains, ServerEvent, ServerSession};
