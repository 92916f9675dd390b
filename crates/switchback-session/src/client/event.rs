use std::fmt;
use std::time::Duration;

use switchback_core::{CloseReason, Message, TransportKind};

use crate::{ClosedBy, Hello, Why};

/// What a [`ClientSession`](crate::ClientSession) wants its driver to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Open a transport with this hello; then call `opened` or `failed`.
    Start {
        /// The number of the attachment.
        attachment: u64,
        /// The kind of transport.
        kind: TransportKind,
        /// What to say when it is opened.
        hello: Hello,
    },
    /// Stop opening this transport, or drop it at once, and forget it.
    Cancel {
        /// The attachment.
        attachment: u64,
    },
    /// Close this transport, after what it took already, and forget it. `detach` is not needed.
    Close {
        /// The attachment.
        attachment: u64,
        /// What to close with.
        why: CloseReason,
    },
}

/// What a [`ClientSession`](crate::ClientSession) wants its owner to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The session is open on this attachment.
    Open {
        /// The attachment.
        attachment: u64,
        /// The kind of transport.
        kind: TransportKind,
        /// Whether the session goes on; else it is new.
        resumed: bool,
    },
    /// The session has ended and a new one takes its place: what is sent and received from now on
    /// belongs to the new one. Not emitted for the first session.
    StartedAnew {
        /// Why.
        why: Why,
        /// What the server has not acknowledged of the session that ended, in order: every message
        /// that it has not received, and perhaps some that it has.
        unacknowledged: Vec<Message>,
    },
    /// The session moved to a better transport, without a pause.
    Moved {
        /// The attachment that was in use.
        from: u64,
        /// The attachment that is in use now.
        to: u64,
        /// Its kind of transport.
        kind: TransportKind,
    },
    /// No transport is left. The next try comes after the delay.
    Reconnecting {
        /// How the transport ended, or what each try of the last round failed of.
        failures: Vec<Failure>,
        /// When the next round begins, from now.
        delay: Duration,
    },
    /// No transport could be opened, and no further try will be made. The session is closed.
    GaveUp {
        /// How each transport failed.
        failures: Vec<Failure>,
    },
    /// The server closes the session: all its messages were received, none can be sent any more.
    /// `Closed` follows when it has what was sent before, or `StartedAnew` when it asked the client
    /// to come back.
    Closing {
        /// What the server said.
        reason: CloseReason,
    },
    /// The session has ended. The last event.
    Closed {
        /// Why.
        reason: CloseReason,
        /// Who ended it.
        by: ClosedBy,
    },
}

/// How a transport failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of transport.
    pub kind: TransportKind,
    /// What kind of failure it was.
    pub why: FailureWhy,
    /// The same for people.
    pub text: String,
    /// When the server said to come back (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Makes a failure without a hint of the server.
    pub fn new(kind: TransportKind, why: FailureWhy, text: impl Into<String>) -> Self {
        Self {
            kind,
            why,
            text: text.into(),
            retry_after: None,
        }
    }

    /// Adds when the server said to come back.
    #[must_use]
    pub fn with_retry_after(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.retry_after = delay.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)
    }
}

/// What kind of failure a [`Failure`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureWhy {
    /// The server, or something before it, answered no.
    Refused,
    /// The server does not want this client, on whatever transport (401, 403).
    Denied,
    /// It did not open in time.
    TimedOut,
    /// No connection could be made, or it was cut.
    Cut,
    /// It opened and delivered nothing, or nothing that was sent on it: something between buffers.
    Buffered,
    /// Nothing came for too long.
    Silent,
    /// The peer broke the protocol.
    Protocol,
    /// A newer attachment of the same session took over.
    Superseded,
    /// The session is not known where this transport led to.
    Unknown,
    /// The peer closed it.
    Closed,
}
