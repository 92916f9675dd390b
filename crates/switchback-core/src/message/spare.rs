//! The memory of messages that nobody needs any more, for those that come next.
//!
//! Allocators are quick, but a message is two allocations, for a payload that is often shorter than
//! what they cost to make and to free. Both are kept together: a message is taken over as it is, and
//! is only looked into when the next one is made of it.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::{Inner, Message, Payload};

/// Up to how many bytes of payload the memory of a message is worth keeping.
pub(super) const MAX_LEN: usize = 512;

/// How many messages a thread keeps: about as many as it has in hand at once.
const MAX_SPARES: usize = 8;

thread_local! {
    static SPARES: RefCell<Vec<Arc<Inner>>> = const { RefCell::new(Vec::new()) };
}

/// Keeps a message that is over, if it is a copy that nobody shares, and there is room.
///
/// The count orders nothing: a clone that another thread has just dropped may have prepared the message,
/// unseen here. What is to be empty is made so when it is taken.
#[inline]
pub(super) fn keep(inner: Arc<Inner>) {
    if inner.payload.is_copy() && Arc::strong_count(&inner) == 1 && inner.forms.get().is_none() {
        // A thread that is ending keeps nothing.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < MAX_SPARES {
                spares.push(inner);
            }
        });
    }
}

/// Where the next message goes.
pub(super) struct Spare(Option<Arc<Inner>>);

impl Spare {
    /// Takes what was kept last, and its buffer, empty, with room for exactly `len` bytes.
    #[inline]
    pub(super) fn take(len: usize) -> (Self, Vec<u8>) {
        let spare = SPARES.try_with(|spares| spares.borrow_mut().pop());
        let mut spare = spare.ok().flatten();
        if let Some(inner) = spare.as_mut().and_then(Arc::get_mut) {
            inner.forms.take();
            let empty = Payload::Binary(Bytes::new());
            let payload = mem::replace(&mut inner.payload, empty).into_bytes();
            // One with more room would waste it, and cost `Bytes` an allocation to remember it.
            if payload.len() == len {
                // A copy, if somebody has the payload still.
                let mut buffer = Vec::from(payload);
                buffer.clear();
                return (Self(spare), buffer);
            }
        }
        (Self(spare), Vec::with_capacity(len))
    }

    #[inline]
    pub(super) fn fill(self, payload: Payload) -> Message {
        if let Some(mut inner) = self.0
            && let Some(unshared) = Arc::get_mut(&mut inner)
        {
            unshared.payload = payload;
            return Message(inner);
        }
        Message::from_payload(payload)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::str::Utf8Error;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::{ErrorKind, MessageKind, WireForm};

    fn copy(bytes: &[u8]) -> Message {
        Message::from_copy(MessageKind::Binary, bytes).unwrap()
    }

    fn kept() -> usize {
        SPARES.with(|spares| spares.borrow().len())
    }

    /// Where a message and its payload are.
    fn place(message: &Message) -> (*const Inner, *const u8) {
        (Arc::as_ptr(&message.0), message.as_bytes().as_ptr())
    }

    #[test]
    fn the_next_message_is_where_the_last_one_was() {
        let first = copy(b"first");
        let place_of_first = place(&first);
        first.recycle();
        assert_eq!(kept(), 1);
        let second = Message::from_copy(MessageKind::Text, b"secnd").unwrap();
        assert_eq!((kept(), place(&second)), (0, place_of_first));
        assert_eq!(second.as_text(), Some("secnd"));
        second.recycle();
        // Another length: none of the room is missing, and none is wasted.
        for bytes in [&b"longer than that"[..], b"", b"longest of all of them"] {
            let message = copy(bytes);
            assert_eq!(message.as_bytes(), bytes);
            assert_eq!((kept(), place(&message).0), (0, place_of_first.0));
            message.recycle();
        }
        let buffer = Vec::from(copy(b"12345").into_bytes());
        assert_eq!(buffer.capacity(), 5);
    }

    #[test]
    fn what_somebody_has_stays_what_it_is() {
        let message = copy(b"mine");
        let clone = message.clone();
        message.recycle();
        assert_eq!(kept(), 0);
        // Of the payload alone, one does not see it.
        let payload = clone.bytes().clone();
        clone.recycle();
        assert_eq!(kept(), 1);
        let next = copy(b"next");
        assert_eq!(
            (&payload[..], next.as_bytes()),
            (&b"mine"[..], &b"next"[..])
        );
        let slice = next.bytes().slice(1..);
        next.recycle();
        assert_eq!(copy(b"more").as_bytes(), b"more");
        assert_eq!(slice, "ext");
    }

    /// What the application made goes when it is dropped, and not later.
    #[test]
    fn nothing_is_kept_but_copies() {
        struct Owner(Arc<AtomicUsize>);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                b"owned"
            }
        }
        impl Drop for Owner {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let dropped = Arc::new(AtomicUsize::new(0));
        let owner = Owner(dropped.clone());
        Message::binary(Bytes::from_owner(owner)).recycle();
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        Message::text("text").recycle();
        Message::from_static("static").recycle();
        Message::binary(vec![0; 10]).recycle();
        copy(&[0; MAX_LEN + 1]).recycle();
        copy(b"prepared").prepare().recycle();
        assert_eq!(kept(), 0);
        copy(&[0; MAX_LEN]).recycle();
        assert_eq!(kept(), 1);
    }

    /// As it may be when another thread prepared a clone.
    #[test]
    fn no_encoding_of_what_was_kept_is_left() {
        let kept = copy(b"kept").prepare();
        kept.encoded(WireForm::BatchRecord, |_| Bytes::from_static(b"kept"));
        SPARES.with(|spares| spares.borrow_mut().push(kept.0));
        let next = copy(b"next");
        assert!(!next.is_prepared());
        let next = next.prepare();
        let encoded = next.encoded(WireForm::BatchRecord, |_| Bytes::from_static(b"next"));
        assert_eq!(encoded, "next");
    }

    #[test]
    fn a_thread_keeps_few() {
        let messages: Vec<_> = (0..100).map(|n| copy(&[n; 3])).collect();
        messages.into_iter().for_each(Message::recycle);
        assert_eq!(kept(), MAX_SPARES);
    }

    #[test]
    fn text_is_looked_at_after_the_change() {
        let kinds = [MessageKind::Text, MessageKind::Binary];
        for len in [4, MAX_LEN + 1] {
            for (kind, ok) in kinds.into_iter().zip([false, true]) {
                copy(&[b'x'; 4]).recycle();
                let spoilt = Message::from_copy_with(kind, &vec![b'x'; len], |bytes| {
                    bytes[len - 1] = 0xff;
                });
                assert_eq!(spoilt.is_ok(), ok);
                if let Err(error) = spoilt {
                    assert_eq!(error.kind(), ErrorKind::InvalidUtf8);
                    let source = std::error::Error::source(&error).unwrap();
                    let at = source.downcast_ref::<Utf8Error>().unwrap().valid_up_to();
                    assert_eq!(at, len - 1);
                }
                let mended = Message::from_copy_with(kind, &vec![0xff; len], |bytes| {
                    bytes.fill(b'y');
                });
                assert_eq!(mended.unwrap().as_bytes(), vec![b'y'; len]);
            }
        }
    }

    /// Thread-local values go in some order; some may still have messages when there are no spares.
    #[test]
    fn a_thread_may_end_with_messages() {
        struct Last(RefCell<Vec<Message>>);
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.take().into_iter().for_each(Message::recycle);
                copy(b"after the end").recycle();
            }
        }
        thread_local! {
            static LAST: Last = const { Last(RefCell::new(Vec::new())) };
        }
        for is_first in [true, false] {
            let thread = thread::spawn(move || {
                if is_first {
                    LAST.with(|_| ());
                }
                copy(b"kept").recycle();
                LAST.with(|last| last.0.borrow_mut().extend([copy(b"one"), copy(b"two")]));
            });
            assert!(thread.join().is_ok());
        }
    }
}
