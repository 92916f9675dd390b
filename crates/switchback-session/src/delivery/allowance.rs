use switchback_core::{Message, Run};

use crate::frame::begins_with_escape;

/// How much may be sent at once, one message behind the other.
///
/// For drivers that look once what is to go before messages, and then send several, as
/// [`ServerSession::allowance`](crate::ServerSession::allowance) explains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    messages: usize,
    bytes: usize,
}

impl Allowance {
    /// Nothing may be sent without looking.
    pub const NONE: Self = Self {
        messages: 0,
        bytes: 0,
    };

    /// As many messages and bytes as there are, but for those that a session would escape.
    pub const UNLIMITED: Self = Self {
        messages: usize::MAX,
        bytes: usize::MAX,
    };

    /// So many messages, and as many as begin within so many bytes.
    pub(super) fn new(messages: usize, bytes: usize) -> Self {
        Self { messages, bytes }
    }

    /// Tells whether nothing may be sent.
    #[inline]
    pub fn is_none(&self) -> bool {
        self.messages == 0 || self.bytes == 0
    }

    /// Takes a message off. `false`: it may not be sent in this way, or not now, and nothing has changed.
    #[inline]
    pub fn take(&mut self, message: &Message) -> bool {
        let covers = !self.is_none() && !begins_with_escape(message);
        if covers {
            self.messages -= 1;
            self.bytes = self.bytes.saturating_sub(message.len());
        }
        covers
    }

    /// Returns how many messages of a run, from the first on, may be sent in this way.
    #[inline]
    pub fn covers(&self, run: &Run) -> usize {
        if run.bytes() < self.bytes && !run.has_controls() {
            self.messages.min(run.len())
        } else {
            self.covers_each(run)
        }
    }

    #[cold]
    fn covers_each(mut self, run: &Run) -> usize {
        run.iter().take_while(|message| self.take(message)).count()
    }

    /// Takes messages off, so many, that were [covered](Self::covers), sent, and [taken](Run::taken) out of a
    /// run last.
    #[inline]
    pub fn spend(&mut self, run: &Run, count: usize) {
        self.messages = self.messages.saturating_sub(count);
        self.bytes = self.bytes.saturating_sub(run.taken_bytes(count));
    }
}
