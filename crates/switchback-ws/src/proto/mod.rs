//! The opening handshake, the shape of frames and the meaning of close frames: no I/O, no clock, no tasks.

pub(crate) mod close;
pub(crate) mod header;
pub(crate) mod list;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod watch;
