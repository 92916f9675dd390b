use std::collections::VecDeque;

use switchback_core::{Message, Run};

use super::Allowance;
use super::sent::Sent;
use crate::Config;
use crate::frame::{escape, unescape};

/// What was sent and not yet acknowledged: the replay buffer.
///
/// A message gets its number by its place and stays until the peer has acknowledged it, however
/// often it was transmitted. Messages are kept as they go onto an attachment, so that a prepared
/// one keeps the encodings that it shares with other sessions.
#[derive(Debug)]
// What every message touches comes first.
#[repr(C)]
pub(crate) struct Outbox {
    bytes: usize,
    /// The number of the last message that was acknowledged; the first that was sent is the next.
    acked: u64,
    max_messages: usize,
    max_bytes: usize,
    /// What no transport took yet.
    unsent: VecDeque<Message>,
    /// What some took at least once.
    sent: Sent,
}

/// How much room an empty queue keeps after a burst, in messages.
const KEPT: usize = 32;

impl Outbox {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            sent: Sent::default(),
            unsent: VecDeque::new(),
            bytes: 0,
            acked: 0,
            max_messages: config.replay_messages(),
            max_bytes: config.replay_bytes(),
        }
    }

    /// Tells whether a message, however large, would be taken. So the bound in bytes is exceeded
    /// by the last message at most, and an empty buffer takes any message.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.sent.len() + self.unsent.len() < self.max_messages && self.bytes < self.max_bytes
    }

    pub(crate) fn push(&mut self, message: Message) -> Result<(), Message> {
        if !self.has_room() {
            return Err(message);
        }
        self.append(message);
        Ok(())
    }

    /// Takes messages for as long as there is room.
    pub(crate) fn push_from(&mut self, messages: &mut impl Iterator<Item = Message>) {
        while self.has_room()
            && let Some(message) = messages.next()
        {
            self.append(message);
        }
    }

    fn append(&mut self, message: Message) {
        let message = escape(message);
        self.bytes += message.len();
        self.unsent.push_back(message);
    }

    /// Offers the messages from a number on, which is not acknowledged yet, and those of `more` behind
    /// them, until `take` refuses one or there is no room. Returns the number of the first that was
    /// not taken.
    pub(crate) fn transmit(
        &mut self,
        mut from: u64,
        more: &mut impl Iterator<Item = Message>,
        take: &mut impl FnMut(&Message) -> bool,
    ) -> u64 {
        if from <= self.transmitted() {
            for message in self.sent.replay(self.index(from)) {
                if !take(&message) {
                    return from;
                }
                from += 1;
            }
        }
        while let Some(message) = self.unsent.pop_front() {
            if !take(&message) {
                self.unsent.push_front(message);
                return from;
            }
            self.sent.push(message);
            from += 1;
        }
        while self.has_room()
            && let Some(message) = more.next()
        {
            let message = escape(message);
            if !take(&message) {
                self.bytes += message.len();
                self.unsent.push_back(message);
                return from;
            }
            self.push_sent(message);
            from += 1;
        }
        from
    }

    /// Tells whether a message that is sent now has this number, and goes at once: all before it were
    /// transmitted, and there is room.
    #[inline]
    pub(crate) fn is_next(&self, number: u64) -> bool {
        self.unsent.is_empty() && number == self.transmitted() + 1 && self.has_room()
    }

    /// How many messages, and how much, there is room for, where [all](Self::is_next) were transmitted.
    #[inline]
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance::new(
            self.max_messages.saturating_sub(self.sent.len()),
            self.max_bytes.saturating_sub(self.bytes),
        )
    }

    /// Numbers and keeps a message that was transmitted.
    #[inline]
    pub(crate) fn push_sent(&mut self, message: Message) {
        self.bytes += message.len();
        self.sent.push(message);
    }

    /// Numbers and keeps messages of a broadcast that were transmitted.
    pub(crate) fn push_sent_run(&mut self, run: Run) {
        self.bytes += run.bytes();
        self.sent.push_run(run);
    }

    /// Gives back the memory that a burst needed, if nothing is kept. Not with each acknowledgement,
    /// because while messages flow it would be needed again at once.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() {
            self.sent.shrink();
            self.unsent.shrink_to(KEPT);
        }
    }

    /// Forgets everything up to a number; a lower one than before changes nothing. The caller has
    /// checked that it was transmitted.
    pub(crate) fn acknowledge(&mut self, number: u64) {
        if number > self.acked {
            let count = self.index(number + 1);
            if count == self.sent.len() && self.unsent.is_empty() {
                self.sent.clear();
                self.bytes = 0;
            } else {
                self.bytes -= self.sent.forget(count);
            }
            self.acked += count as u64;
        }
    }

    /// Where the message of a number is among those that were sent, or would be.
    fn index(&self, number: u64) -> usize {
        let index = number.saturating_sub(self.acked + 1);
        usize::try_from(index).map_or(self.sent.len(), |index| index.min(self.sent.len()))
    }

    /// Returns the highest number that any transport took, and so may be acknowledged.
    #[inline]
    pub(crate) fn transmitted(&self) -> u64 {
        self.acked + self.sent.len() as u64
    }

    /// Returns the number of the first message that was not acknowledged.
    pub(crate) fn first(&self) -> u64 {
        self.acked + 1
    }

    /// Returns the number of the last message.
    pub(crate) fn last(&self) -> u64 {
        self.transmitted() + self.unsent.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.unsent.is_empty()
    }

    /// Returns the bounds, in messages and bytes.
    pub(crate) fn window(&self) -> (usize, usize) {
        (self.max_messages, self.max_bytes)
    }

    pub(crate) fn size(&self) -> (usize, usize) {
        (self.sent.len() + self.unsent.len(), self.bytes)
    }

    /// Takes out what was not acknowledged, as the application sent it.
    pub(crate) fn drain(&mut self) -> Vec<Message> {
        let mut left: Vec<_> = self.sent.replay(0).map(unescape).collect();
        left.extend(self.unsent.drain(..).map(unescape));
        self.sent = Sent::default();
        self.bytes = 0;
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(messages: usize, bytes: usize) -> Outbox {
        Outbox::new(
            &Config::new()
                .with_replay_messages(messages)
                .with_replay_bytes(bytes),
        )
    }

    /// Lets a transport take so many messages, from a number on.
    fn transmit(outbox: &mut Outbox, from: u64, count: usize) -> Vec<Message> {
        let mut taken = Vec::new();
        let none = &mut std::iter::empty();
        let next = outbox.transmit(from, none, &mut |message: &Message| {
            let room = taken.len() < count;
            if room {
                taken.push(message.clone());
            }
            room
        });
        assert_eq!(next, from + taken.len() as u64);
        taken
    }

    #[test]
    fn forgets_on_acknowledgement_only() {
        let mut outbox = outbox(5, 10_000);
        let large = "c".repeat(5000);
        for text in ["a", "b", &large, "d", "e"] {
            outbox.push(text.into()).unwrap();
        }
        assert_eq!(outbox.transmitted(), 0);
        assert_eq!(transmit(&mut outbox, 1, 4).len(), 4);
        assert_eq!(outbox.transmitted(), 4);
        // Again on another transport, as far as that goes.
        let large = Message::from(large);
        assert_eq!(transmit(&mut outbox, 2, 2), ["b".into(), large.clone()]);
        assert_eq!(outbox.transmitted(), 4);
        outbox.acknowledge(2);
        outbox.acknowledge(1);
        assert_eq!((outbox.first(), outbox.last()), (3, 5));
        assert_eq!(outbox.size(), (3, 5002));
        assert_eq!(transmit(&mut outbox, 3, 9), [large, "d".into(), "e".into()]);
        outbox.acknowledge(5);
        assert!(outbox.is_empty());
        assert_eq!(outbox.size(), (0, 0));
    }

    #[test]
    fn is_bounded_and_an_empty_one_takes_any_message() {
        let mut outbox = outbox(2, 10);
        outbox.push("longer than ten bytes".into()).unwrap();
        assert_eq!(outbox.push("b".into()), Err("b".into()));
        transmit(&mut outbox, 1, 1);
        assert_eq!(outbox.push("b".into()), Err("b".into()));
        outbox.acknowledge(1);
        outbox.push("a".into()).unwrap();
        outbox.push("b".into()).unwrap();
        assert_eq!(outbox.push("c".into()), Err("c".into()));
        let mut rest = ["c".into()].into_iter();
        outbox.push_from(&mut rest);
        assert_eq!(rest.len(), 1);
    }

    #[test]
    fn keeps_prepared_encodings_and_escapes() {
        let mut outbox = outbox(9, 99);
        outbox.push(Message::text("x").prepare()).unwrap();
        outbox.push("\u{1}ping".into()).unwrap();
        transmit(&mut outbox, 1, 2);
        let kept = transmit(&mut outbox, 1, 2);
        assert!(kept[0].is_prepared());
        assert_eq!(kept[1], "\u{1}\u{1}ping".into());
        outbox.push("unsent".into()).unwrap();
        let left = outbox.drain();
        assert_eq!(left, ["x".into(), "\u{1}ping".into(), "unsent".into()]);
    }
}
