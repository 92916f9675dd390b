//! The event stream format (WHATWG HTML, 9.2.5 and 9.2.6) and what Switchback carries in it
//! (`docs/protocol.md`, 2.2): no I/O, no clock, no tasks.

mod decoded;
mod event;
mod limits;
mod parser;
mod wire;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod vectors;

pub use decoded::MessageEvent;
pub use event::Event;
pub use limits::EventLimits;
pub use parser::Parser;
pub(crate) use wire::{Downstream, close, decode, encode, event_limits, hello};
