use std::fmt;

use switchback_core::{CloseCode, CloseReason};

use crate::ClosedBy;

/// What a [`ServerSession`](crate::ServerSession) wants its owner to know or to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// Close the transport of this attachment with this reason, after what it took already, and
    /// forget it. `detach` is not needed.
    Drop {
        /// The attachment.
        attachment: u64,
        /// What to close with.
        why: CloseReason,
    },
    /// Messages are sent on this attachment from now on.
    Carrier {
        /// The attachment.
        attachment: u64,
    },
    /// No attachment is left: the session waits for a resume.
    Parked,
    /// The first attachment since the session was parked.
    Resumed {
        /// The attachment.
        attachment: u64,
    },
    /// The peer closes the session: all its messages were received, none can be sent any more.
    /// `Closed` follows when it has what was sent before.
    Closing {
        /// What the peer said.
        reason: CloseReason,
    },
    /// The session has ended. The last event, after the `Drop` of every attachment.
    Closed {
        /// Why.
        reason: CloseReason,
        /// Who ended it.
        by: ClosedBy,
    },
}

/// Why a session does not accept an attachment. The session goes on undisturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// The hello is for another session, its token is wrong, or it asks for a new session whose id
    /// is taken. Answer a resume as if the session did not exist, and a new session with 4001.
    Unknown,
    /// The attachment was given up by the client, or its number was used before: 4000.
    Superseded,
    /// The hello acknowledges what was never sent: 1002.
    Invalid,
}

impl Refused {
    /// Returns what to close the transport with.
    pub fn close_reason(&self) -> CloseReason {
        let code = match self {
            Self::Unknown => CloseCode::UNKNOWN_SESSION,
            Self::Superseded => CloseCode::SUPERSEDED,
            Self::Invalid => CloseCode::PROTOCOL_ERROR,
        };
        CloseReason::new(code, self.text())
    }

    fn text(self) -> &'static str {
        match self {
            Self::Unknown => "the session is not known or the token is wrong",
            Self::Superseded => "a newer attachment of the session took over",
            Self::Invalid => "the hello acknowledges what was never sent",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Refused {}
