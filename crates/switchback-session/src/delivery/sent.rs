use std::collections::VecDeque;

use bytes::Bytes;
use switchback_core::{Message, MessageKind};

/// Messages that were sent and may have to be sent again, which is rare.
///
/// Small ones that nobody shares are copied, one behind the other, so that their own memory can
/// serve the next messages at once: an acknowledgement then frees a hundred of them by moving an
/// index, and the memory that was hot stays in use.
#[derive(Debug, Default)]
pub(super) struct Sent {
    entries: VecDeque<Entry>,
    /// The payloads of those that were copied.
    bytes: VecDeque<u8>,
    /// The others.
    held: VecDeque<Message>,
}

/// Up to how many bytes a message is copied.
const COPY_UP_TO: usize = 512;

/// How much room is kept when nothing is left, in messages and in bytes.
const KEPT: usize = 32;
const KEPT_BYTES: usize = 2 * 1024;

#[derive(Clone, Copy, Debug)]
enum Entry {
    Text(u16),
    Binary(u16),
    Held,
}

impl Sent {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn push(&mut self, message: Message) {
        let entry = match u16::try_from(message.len()) {
            Ok(len) if message.len() <= COPY_UP_TO && !message.is_prepared() => {
                self.bytes.extend(message.as_bytes());
                match message.kind() {
                    MessageKind::Text => Entry::Text(len),
                    MessageKind::Binary => Entry::Binary(len),
                }
            }
            _ => {
                self.held.push_back(message);
                Entry::Held
            }
        };
        self.entries.push_back(entry);
    }

    /// Returns the messages from an index on.
    pub(super) fn replay(&self, index: usize) -> impl Iterator<Item = Message> {
        let (mut held, mut at) = self.position(index);
        self.entries.range(index..).filter_map(move |entry| {
            let (kind, len) = match *entry {
                Entry::Held => {
                    held += 1;
                    return self.held.get(held - 1).cloned();
                }
                Entry::Text(len) => (MessageKind::Text, usize::from(len)),
                Entry::Binary(len) => (MessageKind::Binary, usize::from(len)),
            };
            let payload: Bytes = self.bytes.range(at..at + len).copied().collect();
            at += len;
            // What was text is text.
            Message::from_bytes(kind, payload).ok()
        })
    }

    /// Forgets the first messages. Returns how many bytes they had.
    pub(super) fn forget(&mut self, count: usize) -> usize {
        let (held, at) = self.position(count);
        self.entries.drain(..count);
        self.bytes.drain(..at);
        let freed: usize = self.held.drain(..held).map(|message| message.len()).sum();
        if self.entries.is_empty() {
            self.shrink();
        }
        at + freed
    }

    /// Gives back what a burst needed.
    fn shrink(&mut self) {
        if self.entries.capacity() > KEPT {
            self.entries = VecDeque::new();
        }
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = VecDeque::new();
        }
        if self.held.capacity() > KEPT {
            self.held = VecDeque::new();
        }
    }

    /// How many messages before an index are held, and how many bytes of them are copied.
    fn position(&self, index: usize) -> (usize, usize) {
        let (mut held, mut at) = (0, 0);
        for entry in self.entries.range(..index) {
            match *entry {
                Entry::Held => held += 1,
                Entry::Text(len) | Entry::Binary(len) => at += usize::from(len),
            }
        }
        (held, at)
    }
}
