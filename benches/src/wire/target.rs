//! Where a client connects to, and how it speaks there.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use clap::ValueEnum;

use super::Wire;
use super::engineio::{SocketIo, SocketIoPoll};
use super::longpoll::LongPoll;
use super::nchan::NchanPoll;
use super::publish::Post;
use super::session::Session;
use super::sse::EventStream;
use super::websocket::WebSocket;

/// What the clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Kind {
    /// A bare WebSocket
    Ws,
    /// A bare event stream; POST upstream
    Sse,
    /// A bare long-poll; POST upstream
    Poll,
    /// A session on WebSocket
    SessionWs,
    /// A session on an event stream
    SessionSse,
    /// A session on long-polling
    SessionPoll,
    /// No protocol: frames without masks, for the floor
    Tcp,
    /// Socket.IO on WebSocket
    #[value(name = "socketio")]
    SocketIo,
    /// Socket.IO by polling
    #[value(name = "socketio-poll")]
    SocketIoPoll,
    /// Long-polling as nchan does it
    NchanPoll,
    /// Publishes by POST, and receives nothing
    #[value(skip)]
    Post,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::Poll => "poll",
            Self::SessionWs => "session-ws",
            Self::SessionSse => "session-sse",
            Self::SessionPoll => "session-poll",
            Self::Tcp => "tcp",
            Self::SocketIo => "socketio",
            Self::SocketIoPoll => "socketio-poll",
            Self::NchanPoll => "nchan-poll",
            Self::Post => "post",
        }
    }
}

/// An `http://host:port/path` or `ws://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    pub(crate) host: String,
    pub(crate) path: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let rest = ["http://", "ws://", "tcp://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or("a URL begins with http://, ws:// or tcp://")?;
        let (host, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "/"),
        };
        let with_port = if host.contains(':') {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let addr = with_port
            .to_socket_addrs()
            .map_err(|error| format!("{host}: {error}"))?
            .next()
            .ok_or_else(|| format!("{host} has no address"))?;
        Ok(Self {
            addr,
            host: host.to_owned(),
            path: path.to_owned(),
        })
    }
}

impl Target {
    /// The same server, another path.
    pub(crate) fn with_path(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
        }
    }

    /// The path with a parameter added.
    pub(super) fn path_with(&self, query: &str) -> String {
        let sep = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{sep}{query}", self.path)
    }

    /// Makes the client that publishes to the members of a kind.
    pub(crate) fn publisher(&self, kind: Kind) -> Box<dyn Wire> {
        match kind {
            Kind::SocketIo | Kind::SocketIoPoll => Box::new(SocketIo::new(self, true)),
            Kind::Tcp | Kind::Post => self.client(kind, false),
            _ => self.client(Kind::Ws, true),
        }
    }

    /// Makes a client. `upstream`: it will send, too.
    pub(crate) fn client(&self, kind: Kind, upstream: bool) -> Box<dyn Wire> {
        let target = self.clone();
        match kind {
            Kind::Ws => Box::new(WebSocket::new(target, None)),
            Kind::SessionWs => Box::new(WebSocket::new(target, Some(Session::new()))),
            Kind::Sse => Box::new(EventStream::new(target, None, upstream)),
            Kind::SessionSse => Box::new(EventStream::new(target, Some(Session::new()), true)),
            Kind::Poll => Box::new(LongPoll::new(target, None)),
            Kind::SessionPoll => Box::new(LongPoll::new(target, Some(Session::new()))),
            Kind::SocketIo => Box::new(SocketIo::new(self, false)),
            Kind::SocketIoPoll => Box::new(SocketIoPoll::new(self, false)),
            Kind::NchanPoll => Box::new(NchanPoll::new(target)),
            Kind::Post => Box::new(Post::new(target)),
            Kind::Tcp => Box::new(WebSocket::without_handshake(target, upstream)),
        }
    }
}
