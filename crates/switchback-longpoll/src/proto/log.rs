use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use switchback_core::Limits;

/// What a record costs beside its own bytes, so that empty messages are not free: the handle in
/// the queue, rounded up.
const OVERHEAD: usize = 48;

/// The longest head of a record: a type, ten digits and a colon (`docs/protocol.md`, 2.6).
const LONGEST_HEAD: usize = 12;

/// The outbound messages of one connection, as records, until the peer has acknowledged them
/// (`docs/protocol.md`, 2.3).
///
/// Messages are numbered from 1. The log is one queue of two parts: records *in flight*, which a
/// poll has carried away and which may have to be carried again, and records *unsent*. Each part
/// has a bound of its own: unsent records fill at most the send buffer, records in flight at most
/// one batch, which is no larger than the send buffer either. (A single message larger than that
/// is alone in its part.) With one bound for both, a sender would stand still from each response
/// until the next poll has come with the acknowledgement, so each round trip would carry one
/// buffer and then a pause; with two, the next batch fills while the last one travels.
#[derive(Debug)]
pub(crate) struct Log {
    records: VecDeque<Bytes>,
    /// The number of the last message that was acknowledged: `records[0]` has the next one.
    acknowledged: u64,
    /// How many of `records`, from the front, were handed to a poll.
    in_flight: usize,
    /// The cost of the records that were not.
    unsent: usize,
    send_buffer: usize,
    batch_messages: usize,
    batch_bytes: usize,
    /// How many messages the network lets through in a batch, as far as is known.
    window: usize,
    /// How many messages the last batch had, and how often it was asked for in vain.
    unanswered: (usize, u32),
}

/// A cursor that names a message which was never sent, or whose successor was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadCursor {
    /// The lowest cursor that is possible now.
    pub(crate) acknowledged: u64,
    /// The highest cursor that is possible now.
    pub(crate) sent: u64,
}

impl Log {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            records: VecDeque::new(),
            acknowledged: 0,
            in_flight: 0,
            unsent: 0,
            send_buffer: limits.send_buffer(),
            batch_messages: limits.batch_messages(),
            window: limits.batch_messages(),
            unanswered: (0, 0),
            // Repeated polls must not make the part in flight outgrow the buffer, one response
            // after the other.
            batch_bytes: limits.batch_bytes().min(limits.send_buffer()),
        }
    }

    /// Tells whether a message of `len` bytes may be pushed. One may always, when nothing is unsent.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.records.len() == self.in_flight
            || self
                .unsent
                .saturating_add(len)
                .saturating_add(OVERHEAD + LONGEST_HEAD)
                <= self.send_buffer
    }

    /// Appends a record. The caller has asked [`has_room`](Self::has_room).
    pub(crate) fn push(&mut self, record: Bytes) {
        self.unsent += cost(&record);
        self.records.push_back(record);
    }

    /// Forgets the messages up to `cursor`.
    pub(crate) fn acknowledge(&mut self, cursor: u64) -> Result<(), BadCursor> {
        let bad = BadCursor {
            acknowledged: self.acknowledged,
            sent: self.acknowledged + self.in_flight as u64,
        };
        let newly = cursor.checked_sub(self.acknowledged).ok_or(bad)?;
        let newly = usize::try_from(newly).map_err(|_| bad)?;
        if newly > self.in_flight {
            return Err(bad);
        }
        if newly > 0 {
            self.window = self.window.saturating_mul(2).min(self.batch_messages);
            self.unanswered = (0, 0);
        }
        self.records.drain(..newly);
        self.in_flight -= newly;
        self.acknowledged = cursor;
        if self.records.is_empty() {
            // An idle connection keeps nothing.
            self.records = VecDeque::new();
        }
        Ok(())
    }

    /// Returns the batch that follows the last acknowledgement, and counts it as sent. `None` when
    /// there is nothing to send.
    ///
    /// Called again without an acknowledgement, so after the response was lost, it begins with the
    /// same messages. From the second loss on it has only half as many, until one gets through: a
    /// network that cuts every connection after so many bytes would never let a large one pass.
    pub(crate) fn batch(&mut self) -> Option<Bytes> {
        let (lost, times) = self.unanswered;
        if times >= 2 {
            self.window = (lost / 2).max(1);
        }
        let mut count = 0;
        let mut bytes = 0;
        for record in &self.records {
            let fits = count < self.window && bytes + record.len() <= self.batch_bytes;
            // One message always travels, alone if it must.
            if count > 0 && !fits {
                break;
            }
            count += 1;
            bytes += record.len();
        }
        for record in self.records.range(self.in_flight.min(count)..count) {
            self.unsent -= cost(record);
        }
        self.in_flight = self.in_flight.max(count);
        self.unanswered = if count == 0 {
            (0, 0)
        } else {
            (count, times + 1)
        };
        match count {
            0 => None,
            // The usual batch of a broadcast: all receivers share the bytes.
            1 => self.records.front().cloned(),
            _ => {
                let mut body = BytesMut::with_capacity(bytes);
                for record in self.records.range(..count) {
                    body.extend_from_slice(record);
                }
                Some(body.freeze())
            }
        }
    }

    /// Tells whether a batch would be empty: everything was acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.records = VecDeque::new();
        self.in_flight = 0;
        self.unsent = 0;
    }
}

fn cost(record: &Bytes) -> usize {
    record.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(limits: &Limits, messages: &[&'static str]) -> Log {
        let mut log = Log::new(limits);
        for message in messages {
            log.push(Bytes::from_static(message.as_bytes()));
        }
        log
    }

    #[test]
    fn keeps_a_batch_until_it_is_acknowledged() {
        let mut log = log(&Limits::new(), &["t1:a", "t1:b"]);
        assert_eq!(log.batch().unwrap(), "t1:at1:b");
        log.push(Bytes::from_static(b"t1:c"));
        log.acknowledge(2).unwrap();
        assert_eq!(log.batch().unwrap(), "t1:c");
        assert_eq!(log.batch().unwrap(), "t1:c");
        log.acknowledge(3).unwrap();
        assert_eq!(log.batch(), None);
        assert!(log.is_empty());
    }

    #[test]
    fn a_lost_batch_is_halved_until_one_gets_through() {
        let mut log = log(&Limits::new(), &["t1:a"; 9]);
        for count in [9, 9, 4, 2, 1, 1] {
            assert_eq!(log.batch().unwrap().len(), count * 4);
        }
        log.acknowledge(1).unwrap();
        assert_eq!(log.batch().unwrap().len(), 2 * 4);
        log.acknowledge(3).unwrap();
        assert_eq!(log.batch().unwrap().len(), 4 * 4);
    }

    #[test]
    fn refuses_cursors_that_cannot_be() {
        let mut log = log(&Limits::new(), &["t1:a", "t1:b", "t1:c"]);
        let bad = |acknowledged, sent| Err(BadCursor { acknowledged, sent });
        // Nothing was sent yet, though three are queued.
        assert_eq!(log.acknowledge(1), bad(0, 0));
        log.batch();
        assert_eq!(log.acknowledge(4), bad(0, 3));
        assert_eq!(log.acknowledge(u64::MAX), bad(0, 3));
        log.acknowledge(2).unwrap();
        assert_eq!(log.acknowledge(1), bad(2, 3));
        assert_eq!(log.acknowledge(0), bad(2, 3));
        // None of that did any harm.
        log.acknowledge(2).unwrap();
        assert_eq!(log.batch().unwrap(), "t1:c");
    }

    #[test]
    fn batches_end_at_their_limits() {
        let three = ["t1:a", "t1:b", "t1:c"];
        for (limits, expected) in [
            (Limits::new().max_batch_messages(2), "t1:at1:b"),
            (Limits::new().max_batch_messages(3), "t1:at1:bt1:c"),
            (Limits::new().max_batch_bytes(11), "t1:at1:b"),
            (Limits::new().max_batch_bytes(12), "t1:at1:bt1:c"),
            (Limits::new().send_buffer_size(8), "t1:at1:b"),
            (Limits::new().max_batch_bytes(1), "t1:a"),
            (Limits::new().max_batch_bytes(0), "t1:a"),
        ] {
            assert_eq!(log(&limits, &three).batch().unwrap(), expected);
        }
    }

    #[test]
    fn a_larger_message_travels_alone() {
        let limits = Limits::new().max_batch_bytes(10);
        let mut log = log(&limits, &["t1:a", "t12:abcdefghijkl", "t1:b"]);
        assert_eq!(log.batch().unwrap(), "t1:a");
        log.acknowledge(1).unwrap();
        assert_eq!(log.batch().unwrap(), "t12:abcdefghijkl");
        log.acknowledge(2).unwrap();
        assert_eq!(log.batch().unwrap(), "t1:b");
    }

    #[test]
    fn both_parts_are_bounded_and_neither_waits_for_the_other() {
        let limits = Limits::new().send_buffer_size(1000);
        let mut log = Log::new(&limits);
        let record = || Bytes::from(vec![b'x'; 100]);
        let fill = |log: &mut Log| {
            let mut count = 0;
            while log.has_room(88) {
                log.push(record());
                count += 1;
            }
            count
        };
        assert_eq!(fill(&mut log), 6);
        assert_eq!(log.batch().unwrap().len(), 600);
        // The first six are in flight, six more find room, however often the first are sent.
        assert_eq!(fill(&mut log), 6);
        assert_eq!(log.batch().unwrap().len(), 1000);
        assert_eq!(fill(&mut log), 4);
        assert_eq!(log.batch().unwrap().len(), 500);
        assert_eq!(fill(&mut log), 0);
        log.acknowledge(10).unwrap();
        assert_eq!(fill(&mut log), 0);
        assert_eq!(log.batch().unwrap().len(), 600);
        assert_eq!(fill(&mut log), 6);
    }

    #[test]
    fn one_message_always_fits_and_empty_ones_are_not_free() {
        let mut log = Log::new(&Limits::new().send_buffer_size(100));
        assert!(log.has_room(usize::MAX));
        log.push(Bytes::from(vec![b'x'; 5000]));
        assert!(!log.has_room(0));
        log.batch();
        assert!(log.has_room(usize::MAX));
        log.acknowledge(1).unwrap();
        let mut count = 0;
        while log.has_room(0) {
            log.push(Bytes::from_static(b"t0:"));
            count += 1;
        }
        assert_eq!(count, 1);
    }

    #[test]
    fn a_single_record_is_shared_not_copied() {
        let record = Bytes::from(vec![b'x'; 100]);
        let mut log = Log::new(&Limits::new());
        log.push(record.clone());
        assert_eq!(log.batch().unwrap().as_ptr(), record.as_ptr());
    }
}
