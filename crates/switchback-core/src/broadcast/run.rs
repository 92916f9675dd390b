use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::Message;

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

/// A piece of the log, written once from the front on, and read without a lock.
pub(super) struct Segment(Box<[OnceLock<Slot>]>);

struct Slot {
    message: Message,
    /// How many bytes there are up to the end of this message, in this segment.
    bytes: usize,
}

/// How many messages a segment has at most.
const SEGMENT: u8 = 64;
/// With how many bytes a segment is full.
const SEGMENT_BYTES: usize = 16 * 1024;

impl Default for Segment {
    fn default() -> Self {
        Self((0..SEGMENT).map(|_| OnceLock::new()).collect())
    }
}

impl Segment {
    /// Writes the next message, whose place this is.
    pub(super) fn push(&self, at: u8, message: Message) {
        let bytes = self.bytes(at) + message.len();
        let slot = self.0[usize::from(at)].set(Slot { message, bytes });
        debug_assert!(slot.is_ok(), "each place is written once");
    }

    /// Tells whether a segment with so many messages takes no more.
    pub(super) fn is_full(&self, len: u8) -> bool {
        len == SEGMENT || self.bytes(len) >= SEGMENT_BYTES
    }

    /// Returns how many bytes the first messages have.
    pub(super) fn bytes(&self, len: u8) -> usize {
        let last = len.checked_sub(1).and_then(|last| self.slot(last));
        last.map_or(0, |slot| slot.bytes)
    }

    fn slot(&self, at: u8) -> Option<&Slot> {
        self.0.get(usize::from(at))?.get()
    }
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
        self.segment.0[usize::from(self.start)..usize::from(self.end)]
            .iter()
            .filter_map(|slot| slot.get().map(|slot| &slot.message))
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
    pub fn bytes(&self) -> usize {
        self.segment.bytes(self.end) - self.segment.bytes(self.start)
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
