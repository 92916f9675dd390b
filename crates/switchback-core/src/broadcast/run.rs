use std::fmt;
use std::sync::Arc;

use super::segment::{SEGMENT, Segment};
use crate::{Message, WireForm};

/// Messages that were published one after the other.
///
/// Holds them where they are, so that it costs one pointer however many they are. It is an iterator
/// that takes them out at the front; [`iter`](Self::iter) looks at them.
#[derive(Clone)]
pub struct Run {
    segment: Arc<Segment>,
    start: u8,
    end: u8,
}

impl Run {
    pub(super) fn new(segment: Arc<Segment>, start: u8, end: u8) -> Self {
        Self {
            segment,
            start,
            end,
        }
    }

    /// Borrows the messages.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &Message> {
        self.segment.messages(self.start, self.end)
    }

    /// Borrows the first message, if one is left.
    #[inline]
    pub fn front(&self) -> Option<&Message> {
        self.iter().next()
    }

    /// Returns how many messages are left.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.end - self.start)
    }

    /// Tells whether none is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns how many bytes of payload the messages have.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.segment.bytes(self.end) - self.segment.bytes(self.start)
    }

    /// Tells whether any is a text that begins with a control character (below U+0020): such a text may
    /// mean something to the protocol on a transport.
    #[inline]
    pub fn has_controls(&self) -> bool {
        self.segment.controls(self.start) < self.segment.controls(self.end)
    }

    /// Gives away the encodings of all messages in a wire form, one behind the other. Each message is
    /// encoded once, whatever the number of subscribers; so this is for messages that are small,
    /// and for transports. All callers of one `form` must encode alike.
    pub fn encoded<R>(
        &self,
        form: WireForm,
        encode: impl FnMut(&Message, &mut Vec<u8>),
        give: impl FnOnce(&[u8]) -> R,
    ) -> R {
        self.segment
            .encoded(self.start, self.end, form, encode, give)
    }

    /// Drops all but the first messages.
    pub fn truncate(&mut self, len: usize) {
        if let Ok(len) = u8::try_from(len) {
            self.end = self.end.min(self.start.saturating_add(len));
        }
    }

    /// Takes the first messages out, at most so many.
    #[must_use]
    pub fn split_to(&mut self, len: usize) -> Self {
        let before = self.clone();
        self.advance(len);
        Self {
            end: self.start,
            ..before
        }
    }

    /// Returns the messages that were taken out or dropped at the front last, so many. Who asks for more than
    /// were, since the run was read, gets what was published before it, or fewer.
    #[must_use]
    pub fn taken(&self, count: usize) -> Self {
        Self {
            segment: self.segment.clone(),
            start: self.before(count),
            end: self.start,
        }
    }

    /// Appends what [was taken](Self::taken) out of `run`, if that was published just behind these and is kept
    /// in the same place. Returns whether it was.
    #[inline]
    #[must_use]
    pub fn append_taken(&mut self, run: &Self, count: usize) -> bool {
        let follows = run.before(count) == self.end && Arc::ptr_eq(&self.segment, &run.segment);
        if follows {
            self.end = run.start;
        }
        follows
    }

    /// Returns how many bytes of payload [were taken](Self::taken) with so many messages.
    #[inline]
    pub fn taken_bytes(&self, count: usize) -> usize {
        self.segment.bytes(self.start) - self.segment.bytes(self.before(count))
    }

    /// Where the messages begin that are so many before the first.
    #[inline]
    fn before(&self, count: usize) -> u8 {
        debug_assert!(count <= usize::from(self.start), "more than were taken");
        self.start
            .saturating_sub(u8::try_from(count).unwrap_or(u8::MAX))
    }

    /// Drops the first messages, at most so many.
    #[inline]
    pub fn advance(&mut self, len: usize) {
        let len = u8::try_from(len).unwrap_or(SEGMENT);
        self.start = self.start.saturating_add(len).min(self.end);
    }

    /// Appends what was published just behind these, if it is kept in the same place.
    ///
    /// # Errors
    ///
    /// Gives `next` back where the two cannot become one.
    pub fn append(&mut self, next: Self) -> Result<(), Self> {
        if next.start != self.end || !Arc::ptr_eq(&self.segment, &next.segment) {
            return Err(next);
        }
        self.end = next.end;
        Ok(())
    }
}

impl Iterator for Run {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let message = self.front().cloned();
        self.advance(1);
        message
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .finish()
    }
}
