use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};
use switchback_core::{Error, ErrorKind, Limits, Message};

use crate::batch;

/// The messages that the server has not acknowledged, numbered.
pub(super) struct Outbox {
    records: VecDeque<Bytes>,
    /// What they cost.
    bytes: usize,
    /// The number of the first record.
    first: u64,
    /// The highest number that was ever in a batch.
    sent: u64,
    /// How many messages the server accepts in a batch, as far as is known.
    most: usize,
    /// How many messages the network lets through in a batch, as far as is known.
    window: usize,
    limits: Limits,
}

/// What a message costs beside its payload, so that empty messages are bounded too.
const OVERHEAD: usize = 64;

/// A batch to send.
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) count: usize,
    pub(super) body: Bytes,
}

impl Outbox {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            first: 1,
            sent: 0,
            most: limits.batch_messages(),
            window: limits.batch_messages(),
            limits: limits.clone(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Tells whether a message may be pushed. One always may when there is none.
    pub(super) fn has_room(&self, message: &Message) -> bool {
        let bytes = self.bytes + OVERHEAD;
        self.is_empty() || bytes.saturating_add(message.len()) <= self.limits.send_buffer()
    }

    pub(super) fn push(&mut self, message: &Message) {
        let record = batch::record(message);
        self.bytes += record.len() + OVERHEAD;
        self.records.push_back(record);
    }

    /// Makes the next batch, of everything that fits into one.
    pub(super) fn batch(&mut self) -> Batch {
        let most = self.most.min(self.window);
        let (count, len) = batch::fit(self.records.iter().take(most), &self.limits);
        let body = if count == 1 {
            self.records[0].clone()
        } else {
            let mut body = BytesMut::with_capacity(len);
            for record in self.records.iter().take(count) {
                body.extend_from_slice(record);
            }
            body.freeze()
        };
        self.sent = self.sent.max(self.first + count as u64 - 1);
        Batch {
            first: self.first,
            count,
            body,
        }
    }

    /// Forgets what the server says that it has received. `false`: that was nothing new.
    pub(super) fn acknowledge(&mut self, received: u64) -> Result<bool, Error> {
        if received > self.sent || received + 1 < self.first {
            return Err(Error::with_message(
                ErrorKind::Protocol,
                format!(
                    "the server acknowledged message {received}, outside of {} to {}",
                    self.first - 1,
                    self.sent
                ),
            ));
        }
        let progress = received + 1 > self.first;
        if progress {
            self.window = self
                .window
                .saturating_mul(2)
                .min(self.limits.batch_messages());
        }
        while self.first <= received {
            if let Some(record) = self.records.pop_front() {
                self.bytes -= record.len() + OVERHEAD;
            }
            self.first += 1;
        }
        Ok(progress)
    }

    /// The server found a batch of `count` messages too large: the next ones will be smaller.
    /// `false`: they cannot be.
    pub(super) fn shrink(&mut self, count: usize) -> bool {
        self.most = (count / 2).max(1);
        count > 1
    }

    /// A batch of `count` messages was lost: the next one is smaller, until one gets through. A
    /// network that cuts every connection after so many bytes would never let a large one pass.
    pub(super) fn lost(&mut self, count: usize) {
        self.window = (count / 2).max(1);
    }
}

/// Payloads are never printed, so that they cannot end in a log.
impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("messages", &self.records.len())
            .field("bytes", &self.bytes)
            .field("first", &self.first)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(limits: &Limits, messages: &[&'static str]) -> Outbox {
        let mut outbox = Outbox::new(limits);
        for message in messages {
            outbox.push(&Message::from_static(message));
        }
        outbox
    }

    #[test]
    fn a_lost_batch_is_halved_until_one_gets_through() {
        let messages = ["a"; 9];
        let mut outbox = outbox(&Limits::new(), &messages);
        for count in [9, 4, 2, 1, 1] {
            assert_eq!(outbox.batch().count, count);
            outbox.lost(count);
        }
        outbox.acknowledge(1).unwrap();
        assert_eq!(outbox.batch().count, 2);
        outbox.acknowledge(3).unwrap();
        assert_eq!(outbox.batch().count, 4);
    }

    #[test]
    fn batches_what_fits() {
        let mut full = outbox(&Limits::new().max_batch_messages(2), &["a", "b", "c"]);
        let batch = full.batch();
        assert_eq!((batch.first, batch.count), (1, 2));
        assert_eq!(batch.body, "t1:at1:b");

        let mut long = outbox(&Limits::new().max_batch_bytes(8), &["a", "b", "c"]);
        assert_eq!(long.batch().body, "t1:at1:b");

        let mut oversized = outbox(&Limits::new().max_batch_bytes(1), &["long", "b"]);
        assert_eq!(oversized.batch().body, "t4:long");
    }

    #[test]
    fn numbers_what_was_not_acknowledged() {
        let mut outbox = outbox(&Limits::new(), &["a", "b", "c"]);
        outbox.batch();
        assert!(outbox.acknowledge(2).unwrap());
        let batch = outbox.batch();
        assert_eq!((batch.first, batch.count), (3, 1));
        assert!(!outbox.acknowledge(2).unwrap());
        assert!(outbox.acknowledge(3).unwrap());
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes, 0);
    }

    #[test]
    fn refuses_impossible_acknowledgements() {
        let mut outbox = outbox(&Limits::new().max_batch_messages(2), &["a", "b", "c"]);
        outbox.batch();
        for received in [3, u64::MAX] {
            let error = outbox.acknowledge(received).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol);
        }
        outbox.acknowledge(2).unwrap();
        assert!(outbox.acknowledge(1).is_err());
    }

    #[test]
    fn is_bounded() {
        let mut outbox = Outbox::new(&Limits::new().send_buffer_size(1000));
        let message = Message::from_static("");
        let mut taken = 0;
        while outbox.has_room(&message) {
            outbox.push(&message);
            taken += 1;
        }
        assert!((10..=16).contains(&taken), "{taken}");
        let mut outbox = Outbox::new(&Limits::new().send_buffer_size(0));
        assert!(outbox.has_room(&Message::binary(vec![0; 5000])));
        outbox.push(&message);
        assert!(!outbox.has_room(&message));
    }

    #[test]
    fn shrinks_to_single_messages() {
        let mut outbox = outbox(&Limits::new(), &["a", "b", "c"]);
        let mut counts = vec![outbox.batch().count];
        while outbox.shrink(counts[counts.len() - 1]) {
            counts.push(outbox.batch().count);
        }
        assert_eq!(counts, [3, 1]);
    }
}
