use std::fmt;

use switchback_core::Message;

/// Messages that were received together and that the application has not taken: the next of them
/// costs no lock.
///
/// They are few. Each is freed, or sent back, before many others have come, so that their payloads
/// share memory that is hot, which allocators have at hand for a few blocks of a size only.
#[derive(Default)]
pub(crate) struct Batch {
    slots: [Option<Message>; SIZE],
    /// The one to take next, and behind which one there is none.
    next: u8,
    end: u8,
}

/// How many messages are received together at most.
const SIZE: usize = 7;

/// From how many bytes on a message is the last of its batch.
const LARGE: usize = 1024;

impl Batch {
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Message> {
        if self.next == self.end {
            return None;
        }
        let message = self.slots[usize::from(self.next)].take();
        self.next += 1;
        message
    }

    /// Adds a message to a batch that has room. Returns whether it has room for one more.
    #[inline]
    pub(crate) fn push(&mut self, message: Message) -> bool {
        if self.is_empty() {
            (self.next, self.end) = (0, 0);
        }
        let is_large = message.len() >= LARGE;
        debug_assert!(usize::from(self.end) < SIZE, "more than was asked for");
        if let Some(slot) = self.slots.get_mut(usize::from(self.end)) {
            *slot = Some(message);
            self.end += 1;
        }
        usize::from(self.end) < SIZE && !is_large
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.end
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("len", &(self.end - self.next))
            .finish()
    }
}
