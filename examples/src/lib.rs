//! What the examples of Switchback share: the command line, and the messages of the chat.

mod args;
pub mod chat;
#[cfg(doctest)]
mod docs;

pub use self::args::{Args, Flag, Usage};
