//! The protocol of `docs/protocol.md`, 2.3: no I/O, no clock, no tasks.

mod downstream;
mod log;
mod reply;
mod retry;

pub(crate) use downstream::{Answer, Downstream, Ticket};
pub(crate) use log::BadCursor;
pub(crate) use reply::{Reply, opened};
pub(crate) use retry::Retry;
