use std::sync::{OnceLock, PoisonError, RwLock};

use crate::message::FORMS;
use crate::{Message, WireForm};

/// A piece of the log, written once from the front on, and read without a lock.
pub(super) struct Segment {
    slots: Box<[OnceLock<Slot>]>,
    /// What has been encoded, by [`WireForm`].
    forms: [OnceLock<Box<RwLock<Encoded>>>; FORMS],
}

struct Slot {
    message: Message,
    /// How many bytes there are up to the end of this message, in this segment.
    bytes: u32,
    /// How many texts up to this one begin with a control character.
    controls: u8,
}

/// The encodings of the first messages, one behind the other.
#[derive(Default)]
struct Encoded {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

/// How many messages a segment has at most.
pub(super) const SEGMENT: u8 = 64;
/// With how many bytes a segment is full.
const SEGMENT_BYTES: usize = 16 * 1024;

impl Default for Segment {
    fn default() -> Self {
        Self {
            slots: (0..SEGMENT).map(|_| OnceLock::new()).collect(),
            forms: Default::default(),
        }
    }
}

impl Segment {
    /// Writes the next message, whose place this is.
    pub(super) fn push(&self, at: u8, message: Message) {
        let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let begins_with_control = message
            .as_text()
            .is_some_and(|text| text.as_bytes().first().is_some_and(|first| *first < b' '));
        let (bytes, controls) = self.up_to(at);
        let slot = self.slots[usize::from(at)].set(Slot {
            message,
            bytes: bytes.saturating_add(len),
            controls: controls + u8::from(begins_with_control),
        });
        debug_assert!(slot.is_ok(), "each place is written once");
    }

    /// Tells whether a segment with so many messages takes no more.
    pub(super) fn is_full(&self, len: u8) -> bool {
        len == SEGMENT || self.bytes(len) >= SEGMENT_BYTES
    }

    /// Returns how many bytes the first messages have.
    #[inline]
    pub(super) fn bytes(&self, len: u8) -> usize {
        self.up_to(len).0 as usize
    }

    /// Returns how many of the first messages are texts that begin with a control character.
    #[inline]
    pub(super) fn controls(&self, len: u8) -> u8 {
        self.up_to(len).1
    }

    pub(super) fn messages(&self, start: u8, end: u8) -> impl Iterator<Item = &Message> {
        let slots = &self.slots[usize::from(start)..usize::from(end)];
        slots.iter().filter_map(|slot| Some(&slot.get()?.message))
    }

    #[inline]
    fn up_to(&self, len: u8) -> (u32, u8) {
        let slot = len
            .checked_sub(1)
            .and_then(|last| self.slots.get(usize::from(last))?.get());
        slot.map_or((0, 0), |slot| (slot.bytes, slot.controls))
    }

    /// Gives away the encodings of some messages, one behind the other. Each message is encoded once,
    /// whoever comes first.
    pub(super) fn encoded<R>(
        &self,
        start: u8,
        end: u8,
        form: WireForm,
        mut encode: impl FnMut(&Message, &mut Vec<u8>),
        give: impl FnOnce(&[u8]) -> R,
    ) -> R {
        let encoded = self.forms[form.index()].get_or_init(Box::default);
        let (start, end) = (usize::from(start), usize::from(end));
        loop {
            let ready = encoded.read().unwrap_or_else(PoisonError::into_inner);
            if ready.ends.len() >= end {
                return give(&ready.bytes[ready.at(start)..ready.at(end)]);
            }
            drop(ready);
            let mut ready = encoded.write().unwrap_or_else(PoisonError::into_inner);
            let Encoded { bytes, ends } = &mut *ready;
            for slot in &self.slots[ends.len().min(end)..end] {
                if let Some(slot) = slot.get() {
                    encode(&slot.message, bytes);
                }
                ends.push(bytes.len());
            }
        }
    }
}

impl Encoded {
    /// Where the encoding of a message begins, or the one before it ends.
    fn at(&self, message: usize) -> usize {
        message.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}
