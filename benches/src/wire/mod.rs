//! The clients of the load generator: as little as speaks each protocol, without I/O.

mod base64url;
mod engineio;
mod http;
mod longpoll;
mod nchan;
mod payload;
mod post;
mod publish;
mod session;
mod sse;
mod target;
mod websocket;

use std::fmt;

pub(crate) use self::payload::{MIN_SIZE, PROBE, Payload, Stamp};
pub(crate) use self::target::{Kind, Target};

/// What was wrong with what a server sent. Any fault fails the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A message that was to come before this one did not.
    Lost(String),
    /// A message came again.
    Doubled(String),
    /// A message is not what was sent.
    Wrong(String),
    /// The server broke the protocol, or said no.
    Protocol(String),
    /// A connection ended.
    Ended(String),
    /// Nothing came for too long.
    Silent(String),
    /// The operating system said no.
    System(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(what) => write!(f, "a message was lost: {what}"),
            Self::Doubled(what) => write!(f, "a message came twice: {what}"),
            Self::Wrong(what) => write!(f, "a message was changed: {what}"),
            Self::Protocol(what) => write!(f, "the server broke the protocol: {what}"),
            Self::Ended(what) => write!(f, "a connection ended: {what}"),
            Self::Silent(what) => write!(f, "nothing came: {what}"),
            Self::System(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::System(error.to_string())
    }
}

/// What is to be written on the connections of one client.
pub(crate) type Out = [Vec<u8>; 2];

/// Receives the messages of one client.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Fault>;

/// One client of one protocol: bytes in, messages out, and the reverse.
pub(crate) trait Wire {
    /// How many TCP connections it needs, 1 or 2.
    fn lanes(&self) -> usize;

    /// Begins: the requests of both lanes.
    fn begin(&mut self, out: &mut Out);

    /// Takes what came on a lane, and returns how many bytes of it were used. The rest comes again
    /// with more behind it.
    fn parse(
        &mut self,
        lane: usize,
        bytes: &[u8],
        out: &mut Out,
        sink: Sink<'_>,
    ) -> Result<usize, Fault>;

    /// Tells whether the connection is open in both directions.
    fn is_ready(&self) -> bool;

    /// Sends a message.
    fn send(&mut self, payload: &[u8], out: &mut Out);

    /// Called after a series of [`send`](Self::send)s: what was collected leaves.
    fn flush(&mut self, out: &mut Out);

    /// Called before the connections are cut: a session says that it does not come back.
    fn bye(&mut self, _out: &mut Out) {}

    /// Called about once a second.
    fn tick(&mut self, _out: &mut Out) {}
}
