use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::{Error, ErrorKind};

/// The kinds of transport, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TransportKind {
    /// WebSocket (RFC 6455).
    WebSocket,
    /// Server-Sent Events (WHATWG HTML, 9.2) downstream, POST upstream.
    Sse,
    /// Long-polling downstream, POST upstream.
    LongPoll,
}

impl TransportKind {
    /// All kinds, best first.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::Sse, Self::LongPoll];

    /// Returns the name used in URLs, logs and metrics: `websocket`, `sse`, `longpoll`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::LongPoll => "longpoll",
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TransportKind {
    type Err = Error;

    /// Parses a [name](TransportKind::name).
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| {
                Error::with_message(
                    ErrorKind::Unsupported,
                    "unknown transport: use websocket, sse or longpoll",
                )
            })
    }
}

/// What is known of an established transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportInfo {
    kind: TransportKind,
    peer_addr: Option<SocketAddr>,
    protocol: Option<String>,
}

impl TransportInfo {
    /// Describes a transport of a kind, of which nothing else is known.
    pub const fn new(kind: TransportKind) -> Self {
        Self {
            kind,
            peer_addr: None,
            protocol: None,
        }
    }

    /// Adds the address of the peer: of the socket, which may be a proxy's.
    #[must_use]
    pub fn with_peer_addr(mut self, peer_addr: impl Into<Option<SocketAddr>>) -> Self {
        self.peer_addr = peer_addr.into();
        self
    }

    /// Adds the subprotocol that was agreed upon (RFC 6455, 1.9).
    #[must_use]
    pub fn with_protocol(mut self, protocol: impl Into<Option<String>>) -> Self {
        self.protocol = protocol.into();
        self
    }

    /// Returns the kind of transport.
    pub fn kind(&self) -> TransportKind {
        self.kind
    }

    /// Returns the address of the peer, where it is known.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer_addr
    }

    /// Returns the subprotocol, where one was agreed upon.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }
}
