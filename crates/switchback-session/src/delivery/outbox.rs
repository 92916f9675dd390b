use std::collections::VecDeque;

use switchback_core::Message;

use crate::Config;
use crate::frame::{escape, unescape};

/// What was sent and not yet acknowledged: the replay buffer.
///
/// A message gets its number by its place and stays until the peer has acknowledged it, however
/// often it was transmitted. Messages are kept as they go onto an attachment, so that a prepared
/// one keeps the encodings that it shares with other sessions.
#[derive(Debug)]
pub(crate) struct Outbox {
    ring: VecDeque<Message>,
    bytes: usize,
    /// The number of the last message that was acknowledged; the first of the ring is the next.
    acked: u64,
    /// The highest number that any transport took.
    transmitted: u64,
    max_messages: usize,
    max_bytes: usize,
}

impl Outbox {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            ring: VecDeque::new(),
            bytes: 0,
            acked: 0,
            transmitted: 0,
            max_messages: config.replay_messages(),
            max_bytes: config.replay_bytes(),
        }
    }

    /// Tells whether a message, however large, would be taken. So the bound in bytes is exceeded
    /// by the last message at most, and an empty ring takes any message.
    pub(crate) fn has_room(&self) -> bool {
        self.ring.len() < self.max_messages && self.bytes < self.max_bytes
    }

    pub(crate) fn push(&mut self, message: Message) -> Result<(), Message> {
        if !self.has_room() {
            return Err(message);
        }
        let message = escape(message);
        self.bytes += message.len();
        self.ring.push_back(message);
        Ok(())
    }

    /// Returns the message of a number, if it was sent and not acknowledged.
    pub(crate) fn get(&self, number: u64) -> Option<&Message> {
        let index = number.checked_sub(self.acked + 1)?;
        self.ring.get(usize::try_from(index).ok()?)
    }

    /// Forgets everything up to a number; a lower one than before changes nothing. The caller has
    /// checked that it was transmitted.
    pub(crate) fn acknowledge(&mut self, number: u64) {
        while self.acked < number {
            let Some(message) = self.ring.pop_front() else {
                break;
            };
            self.bytes -= message.len();
            self.acked += 1;
        }
    }

    pub(crate) fn note_transmitted(&mut self, number: u64) {
        self.transmitted = self.transmitted.max(number);
    }

    /// Returns the highest number that may be acknowledged.
    pub(crate) fn transmitted(&self) -> u64 {
        self.transmitted
    }

    /// Returns the number of the first message that was not acknowledged.
    pub(crate) fn first(&self) -> u64 {
        self.acked + 1
    }

    /// Returns the number of the last message.
    pub(crate) fn last(&self) -> u64 {
        self.acked + self.ring.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    pub(crate) fn size(&self) -> (usize, usize) {
        (self.ring.len(), self.bytes)
    }

    /// Takes out what was not acknowledged, as the application sent it.
    pub(crate) fn drain(&mut self) -> Vec<Message> {
        self.bytes = 0;
        self.ring.drain(..).map(unescape).collect()
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

    #[test]
    fn forgets_on_acknowledgement_only() {
        let mut outbox = outbox(4, 100);
        for text in ["a", "b", "c"] {
            outbox.push(text.into()).unwrap();
        }
        outbox.note_transmitted(3);
        assert_eq!(outbox.get(1), Some(&"a".into()));
        outbox.acknowledge(2);
        outbox.acknowledge(1);
        assert_eq!(outbox.get(2), None);
        assert_eq!(outbox.get(3), Some(&"c".into()));
        assert_eq!(outbox.get(4), None);
        assert_eq!((outbox.first(), outbox.last()), (3, 3));
        assert_eq!(outbox.size(), (1, 1));
    }

    #[test]
    fn is_bounded_and_an_empty_one_takes_any_message() {
        let mut outbox = outbox(2, 10);
        outbox.push("longer than ten bytes".into()).unwrap();
        assert_eq!(outbox.push("b".into()), Err("b".into()));
        outbox.acknowledge(1);
        outbox.push("a".into()).unwrap();
        outbox.push("b".into()).unwrap();
        assert_eq!(outbox.push("c".into()), Err("c".into()));
    }

    #[test]
    fn keeps_prepared_encodings_and_escapes() {
        let mut outbox = outbox(9, 99);
        outbox.push(Message::text("x").prepare()).unwrap();
        outbox.push("\u{1}ping".into()).unwrap();
        assert!(outbox.get(1).unwrap().is_prepared());
        assert_eq!(outbox.get(2), Some(&"\u{1}\u{1}ping".into()));
        assert_eq!(outbox.drain(), ["x".into(), "\u{1}ping".into()]);
    }
}
