use switchback_core::Message;

use crate::frame::begins_with_escape;

/// Messages of the peer's application that came one behind the other, counted.
///
/// For drivers that take several messages at a time and tell the session once, as
/// [`ServerSession::may_tally`](crate::ServerSession::may_tally) explains.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Tally {
    /// One message of so many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self {
            messages: 1,
            bytes: bytes as u64,
        }
    }

    /// Counts a message. `false`: it is not, or not only, for the application, and was not counted.
    #[inline]
    pub fn push(&mut self, message: &Message) -> bool {
        let counts = !begins_with_escape(message);
        if counts {
            self.messages += 1;
            self.bytes += message.len() as u64;
        }
        counts
    }

    /// The first of so many parts of it, of each rounded up.
    pub(super) fn part(self, parts: u64) -> Self {
        Self {
            messages: self.messages.div_ceil(parts),
            bytes: self.bytes.div_ceil(parts),
        }
    }

    /// Tells whether this is as much as another, in messages or in bytes.
    #[inline]
    pub(super) fn reaches(&self, other: &Self) -> bool {
        self.messages >= other.messages || self.bytes >= other.bytes
    }

    /// Tells whether nothing was counted.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }
}
