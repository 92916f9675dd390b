use std::collections::VecDeque;

use switchback_core::{Message, MessageKind, Run};

/// Messages that were sent and may have to be sent again, which is rare.
///
/// Small ones that nobody shares are copied, one behind the other, so that their own memory can
/// serve the next messages at once: an acknowledgement then frees a hundred of them by moving an
/// index, and the memory that was hot stays in use. Those of a broadcast stay where they are, and
/// are one entry however many they are.
#[derive(Debug, Default)]
// What every message touches comes first.
#[repr(C)]
pub(super) struct Sent {
    /// How many messages there are.
    len: usize,
    /// What comes behind all entries, if it is a run: it grows with what is published, and in most
    /// sessions there is nothing else.
    last: Option<Run>,
    /// Behind some that are forgotten.
    entries: Vec<Entry>,
    /// The payloads of those that were copied, behind those of the forgotten ones.
    copies: Vec<u8>,
    forgotten: Forgotten,
    /// The others.
    held: VecDeque<Message>,
    runs: VecDeque<Run>,
}

/// How many entries are forgotten, and how many bytes of copies.
#[derive(Clone, Copy, Debug, Default)]
struct Forgotten {
    entries: usize,
    bytes: usize,
}

/// Up to how many bytes a message is copied.
const COPY_UP_TO: usize = 512;

/// How much room is kept when nothing is left, in messages and in bytes.
const KEPT: usize = 32;
const KEPT_BYTES: usize = 2 * 1024;

/// How a message is kept, in two bytes: many of them are looked at with each acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry(u16);

impl Entry {
    const HELD: Self = Self(u16::MAX);
    const RUN: Self = Self(u16::MAX - 1);
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

    /// How many bytes are copied, of an entry that is one copied message.
    #[inline]
    fn len(self) -> usize {
        usize::from(self.0 & !Self::TEXT)
    }
}

impl Sent {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn push(&mut self, message: Message) {
        if let Some(run) = self.last.take() {
            self.keep_run(run);
        }
        let entry = if let Some(copied) = Entry::copied(&message) {
            self.copies.extend_from_slice(message.as_bytes());
            message.recycle();
            copied
        } else {
            self.held.push_back(message);
            Entry::HELD
        };
        self.entries.push(entry);
        self.len += 1;
    }

    pub(super) fn push_run(&mut self, run: Run) {
        self.len += run.len();
        let run = match &mut self.last {
            Some(last) => last.append(run),
            None => Err(run),
        };
        if let Err(run) = run
            && let Some(before) = self.last.replace(run)
        {
            self.keep_run(before);
        }
    }

    fn keep_run(&mut self, run: Run) {
        self.runs.push_back(run);
        self.entries.push(Entry::RUN);
    }

    /// Returns the messages from an index on.
    pub(super) fn replay(&self, index: usize) -> impl Iterator<Item = Message> {
        let mut place = self.place(index);
        let mut last = self.last.clone();
        last.iter_mut().for_each(|run| run.advance(place.of_last));
        let entries = self.entries[place.entries..].iter().flat_map(move |entry| {
            let (mut one, mut several) = (None, None);
            match *entry {
                Entry::HELD => {
                    one = self.held.get(place.held).cloned();
                    place.held += 1;
                }
                Entry::RUN => {
                    several = self.runs.get(place.runs).cloned();
                    let skipped = std::mem::take(&mut place.of_run);
                    several.iter_mut().for_each(|run| run.advance(skipped));
                    place.runs += 1;
                }
                copied => {
                    let payload = self.copies.get(place.at..place.at + copied.len());
                    place.at += copied.len();
                    // What was text is text.
                    one =
                        payload.and_then(|payload| Message::from_copy(copied.kind(), payload).ok());
                }
            }
            one.into_iter().chain(several.into_iter().flatten())
        });
        entries.chain(last.into_iter().flatten())
    }

    /// Forgets the first messages. Returns how many bytes they had.
    pub(super) fn forget(&mut self, count: usize) -> usize {
        let place = self.place(count);
        self.len -= count.min(self.len);
        let mut freed = place.at - self.forgotten.bytes;
        self.forgotten = Forgotten {
            entries: place.entries,
            bytes: place.at,
        };
        self.tidy();
        let held = self.held.drain(..place.held);
        freed += held.map(|message| message.len()).sum::<usize>();
        let runs = self.runs.drain(..place.runs);
        freed += runs.map(|run| run.bytes()).sum::<usize>();
        if let Some(run) = self.runs.front_mut() {
            freed += run.split_to(place.of_run).bytes();
        }
        if let Some(run) = &mut self.last {
            freed += run.split_to(place.of_last).bytes();
            self.last.take_if(|run| run.is_empty());
        }
        freed
    }

    /// Forgets everything.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.last = None;
        self.entries.clear();
        self.copies.clear();
        self.forgotten = Forgotten::default();
        // Most often both are empty, and `clear` takes a while to find that out.
        if !self.held.is_empty() {
            self.held.clear();
        }
        if !self.runs.is_empty() {
            self.runs.clear();
        }
    }

    /// Uses the room of the forgotten ones again, once they are most of the entries or of the bytes. So they
    /// take no more room than the others.
    fn tidy(&mut self) {
        let Forgotten { entries, bytes } = self.forgotten;
        if entries > self.entries.len() / 2 || bytes > self.copies.len() / 2 {
            self.entries.drain(..entries);
            self.copies.drain(..bytes);
            self.forgotten = Forgotten::default();
        }
    }

    /// Gives back the memory that a burst needed.
    pub(super) fn shrink(&mut self) {
        self.entries.shrink_to(KEPT);
        self.copies.shrink_to(KEPT_BYTES);
        self.held.shrink_to(KEPT);
        self.runs.shrink_to(KEPT);
    }

    /// Where the message of an index is, or the end.
    fn place(&self, index: usize) -> Place {
        let mut place = Place {
            entries: self.forgotten.entries,
            at: self.forgotten.bytes,
            ..Place::default()
        };
        let mut left = index;
        for entry in &self.entries[place.entries..] {
            if left == 0 {
                break;
            }
            let mut messages = 1;
            match *entry {
                Entry::HELD => place.held += 1,
                Entry::RUN => {
                    messages = self.runs.get(place.runs).map_or(0, Run::len);
                    if messages > left {
                        place.of_run = left;
                        break;
                    }
                    place.runs += 1;
                }
                copied => place.at += copied.len(),
            }
            left -= messages;
            place.entries += 1;
        }
        if place.of_run == 0 {
            place.of_last = left;
        }
        place
    }
}

/// What is before a message.
#[derive(Default)]
struct Place {
    /// Entries, the forgotten ones included.
    entries: usize,
    held: usize,
    runs: usize,
    /// Of the run that the message is in.
    of_run: usize,
    /// Of the last run.
    of_last: usize,
    /// Bytes of copies, the forgotten ones included.
    at: usize,
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use switchback_core::{Broadcast, Subscription};

    use super::*;

    fn next(subscription: &mut Subscription) -> Run {
        match subscription.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(run) => run.unwrap(),
            Poll::Pending => panic!("nothing was published"),
        }
    }

    /// Whatever is sent, replayed and forgotten in turn: what is left is what a plain list has.
    #[test]
    fn keeps_what_was_not_forgotten() {
        let sizes = [0, 1, 125, 512, 513, 2000];
        let mut sent = Sent::default();
        let mut model = VecDeque::new();
        let broadcast = Broadcast::new();
        let mut subscription = broadcast.subscribe();
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
            for n in 0..round % 5 {
                broadcast.publish("y".repeat(n));
                if n % 2 == 0 {
                    let run = next(&mut subscription);
                    model.extend(run.clone());
                    sent.push_run(run);
                }
            }
            let count = (round * 3 % 11).min(model.len());
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
    fn the_memory_of_what_is_copied_serves_the_next_message() {
        let copy = || Message::from_copy(MessageKind::Text, b"message").unwrap();
        let mut sent = Sent::default();
        let (first, second) = (copy(), copy());
        let place = first.as_bytes().as_ptr();
        let clone = second.clone();
        sent.push(second);
        sent.push(first);
        // What is free is taken by others.
        let _others: Vec<_> = (0..100).map(|_| b"message".to_vec()).collect();
        assert_eq!(copy().as_bytes().as_ptr(), place);
        assert!(sent.replay(0).eq([clone, copy()]));
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

    #[test]
    fn what_was_published_one_by_one_is_one_entry() {
        let broadcast = Broadcast::new();
        let mut subscription = broadcast.subscribe();
        let mut sent = Sent::default();
        for _ in 0..64 {
            broadcast.publish("x");
            sent.push_run(next(&mut subscription));
        }
        assert_eq!((sent.len(), sent.entries.len()), (64, 0));
        assert_eq!(sent.forget(60), 60);
        assert_eq!((sent.len(), sent.replay(1).count()), (4, 3));
        assert_eq!(sent.forget(4), 4);
        assert!(sent.is_empty() && sent.last.is_none());
    }
}
