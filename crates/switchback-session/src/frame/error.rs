use std::fmt;

use switchback_core::{CloseCode, CloseReason};

/// How the peer broke the session protocol. Always closed with 1002.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A text begins with U+0001 and is neither a control frame nor escaped.
    BadEscape,
    /// A control frame is larger than 4 KiB.
    ControlTooLarge,
    /// The argument of this control frame is malformed.
    BadControl(&'static str),
    /// This control frame comes from the other side only, or not at this time.
    Misplaced(&'static str),
    /// Something else than `opened` came first.
    NotOpened,
    /// A message came whose number is not the next one.
    Gap {
        /// The number that was to come.
        expected: u64,
        /// The number that came.
        number: u64,
    },
    /// More was acknowledged than was sent.
    AckBeyondSent {
        /// What was acknowledged.
        ack: u64,
        /// What was sent.
        sent: u64,
    },
    /// `close` does not count the messages that came before it.
    CloseCount {
        /// How many it says were sent.
        sent: u64,
        /// How many were received.
        received: u64,
    },
    /// A message came after `close`.
    AfterClose,
}

impl ProtocolError {
    /// Returns what to close the attachment with.
    pub fn close_reason(&self) -> CloseReason {
        CloseReason::new(CloseCode::PROTOCOL_ERROR, self.to_string())
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadEscape => f.write_str("a text begins with U+0001 and is not escaped"),
            Self::ControlTooLarge => f.write_str("a control frame is larger than 4 KiB"),
            Self::BadControl(word) => write!(f, "the control frame {word} is malformed"),
            Self::Misplaced(word) => write!(f, "the control frame {word} is misplaced"),
            Self::NotOpened => f.write_str("something else than opened came first"),
            Self::Gap { expected, number } => {
                write!(f, "message {number} came instead of message {expected}")
            }
            Self::AckBeyondSent { ack, sent } => {
                write!(f, "message {ack} was acknowledged, but only {sent} sent")
            }
            Self::CloseCount { sent, received } => {
                write!(f, "close counts {sent} messages, but {received} came")
            }
            Self::AfterClose => f.write_str("a message came after close"),
        }
    }
}

impl std::error::Error for ProtocolError {}
