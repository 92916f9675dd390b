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
    /// The payloads of those that were copied, behind some that are forgotten.
    copies: Vec<u8>,
    /// How many bytes are forgotten.
    forgotten: usize,
    /// The others.
    held: VecDeque<Message>,
}

/// Up to how many bytes a message is copied.
const COPY_UP_TO: usize = 512;

/// How much room is kept when nothing is left, in messages and in bytes.
const KEPT: usize = 32;
const KEPT_BYTES: usize = 2 * 1024;

/// How a message is kept, in two bytes: many of them are looked at with each acknowledgement.
#[derive(Clone, Copy, Debug)]
struct Entry(u16);

impl Entry {
    const HELD: Self = Self(u16::MAX);
    const TEXT: u16 = 1 << 15;

    /// Returns the entry of a message of the length that is to be copied.
    #[inline]
    fn copied(message: &Message) -> Option<Self> {
        let len = u16::try_from(message.len()).ok()?;
        let copy = usize::from(len) <= COPY_UP_TO && !message.is_prepared();
        copy.then(|| match message.kind() {
            MessageKind::Text => Self(len | Self::TEXT),
            MessageKind::Binary => Self(len),
        })
    }

    fn kind(self) -> MessageKind {
        match self.0 & Self::TEXT {
            0 => MessageKind::Binary,
            _ => MessageKind::Text,
        }
    }

    /// How many bytes are copied; `None` where the message is held.
    #[inline]
    fn len(self) -> Option<usize> {
        (self.0 != Self::HELD.0).then_some(usize::from(self.0 & !Self::TEXT))
    }
}

impl Sent {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[inline]
    pub(super) fn push(&mut self, message: Message) {
        let entry = if let Some(copied) = Entry::copied(&message) {
            self.copies.extend_from_slice(message.as_bytes());
            copied
        } else {
            self.held.push_back(message);
            Entry::HELD
        };
        self.entries.push_back(entry);
    }

    /// Returns the messages from an index on.
    pub(super) fn replay(&self, index: usize) -> impl Iterator<Item = Message> {
        let (mut held, mut at) = self.position(index);
        self.entries.range(index..).filter_map(move |entry| {
            let Some(len) = entry.len() else {
                held += 1;
                return self.held.get(held - 1).cloned();
            };
            let payload = Bytes::copy_from_slice(self.copies.get(at..at + len)?);
            at += len;
            // What was text is text.
            Message::from_bytes(entry.kind(), payload).ok()
        })
    }

    /// Forgets the first messages. Returns how many bytes they had.
    pub(super) fn forget(&mut self, count: usize) -> usize {
        let (held, at) = self.position(count);
        self.entries.drain(..count);
        let copied = at - self.forgotten;
        self.forgotten = at;
        self.tidy();
        let freed: usize = self.held.drain(..held).map(|message| message.len()).sum();
        copied + freed
    }

    /// Uses the room of the forgotten copies again, once they are most of them: what is moved then is
    /// less than what was forgotten.
    fn tidy(&mut self) {
        if self.forgotten > self.copies.len() / 2 {
            self.copies.drain(..self.forgotten);
            self.forgotten = 0;
        }
    }

    /// Gives back the memory that a burst needed.
    pub(super) fn shrink(&mut self) {
        self.entries.shrink_to(KEPT);
        self.copies.shrink_to(KEPT_BYTES);
        self.held.shrink_to(KEPT);
    }

    /// How many messages before an index are held, and where the copies of those from it on begin.
    fn position(&self, index: usize) -> (usize, usize) {
        let lens = || self.entries.range(..index).map(|entry| entry.len());
        let held = lens().filter(Option::is_none).count();
        (held, self.forgotten + lens().flatten().sum::<usize>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is sent, replayed and forgotten in turn: what is left is what a plain list has.
    #[test]
    fn keeps_what_was_not_forgotten() {
        let sizes = [0, 1, 125, 512, 513, 2000];
        let mut sent = Sent::default();
        let mut model = VecDeque::new();
        for round in 0_usize..400 {
            for n in 0..round % 7 {
                let payload = "x".repeat(sizes[(round + n) % sizes.len()]);
                let message = match (round + n) % 5 {
                    0 => Message::text(payload).prepare(),
                    1 | 2 => Message::text(payload),
                    _ => Message::binary(payload.into_bytes()),
                };
                sent.push(message.clone());
                model.push_back(message);
            }
            let count = (round * 3 % 6).min(model.len());
            let bytes: usize = model.drain(..count).map(|message| message.len()).sum();
            assert_eq!(sent.forget(count), bytes);
            assert_eq!(
                (sent.len(), sent.is_empty()),
                (model.len(), model.is_empty())
            );
            let from = round % (model.len() + 1);
            assert!(sent.replay(from).eq(model.range(from..).cloned()));
        }
        let count = model.len();
        sent.forget(count);
        sent.shrink();
        assert!(sent.is_empty() && sent.copies.capacity() <= KEPT_BYTES);
    }

    #[test]
    fn what_is_forgotten_takes_no_room() {
        let mut sent = Sent::default();
        for _ in 0..10_000 {
            sent.push(Message::binary(vec![0; 100]));
            if sent.len() > 20 {
                sent.forget(1);
            }
        }
        assert!(
            sent.copies.capacity() < 10_000,
            "{}",
            sent.copies.capacity()
        );
    }
}
