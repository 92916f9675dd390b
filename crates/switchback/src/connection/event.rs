use switchback_core::{Message, TransportKind};
use switchback_session::Why;

/// Something that happened on a [`Connection`](crate::Connection), in order with its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message of the peer.
    Message(Message),
    /// The session went on after a drop: nothing was lost and nothing came twice.
    Resumed {
        /// The transport that carries it now.
        transport: TransportKind,
    },
    /// Only on clients: a transport is open again, for the new session that a `StartedAnew` has
    /// announced.
    Opened {
        /// The transport that carries it.
        transport: TransportKind,
    },
    /// The session moved to another transport while it was open.
    Moved {
        /// The transport that carries it now.
        transport: TransportKind,
    },
    /// No transport is open; the messages go on after a `Resumed` or an `Opened`.
    Reconnecting,
    /// Only on clients: the session could not be resumed, and a new one began.
    StartedAnew {
        /// Why the session could not be resumed.
        why: Why,
        /// The messages that the server may not have received, oldest first. Send them again where
        /// receiving one twice does no harm.
        unacknowledged: Vec<Message>,
    },
}
