use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use switchback_core::Message;
use tokio::sync::Notify;

/// What the application has sent and the session has not numbered yet.
///
/// Apart from the driver's lock, so that a broadcast never waits for a connection that is writing.
/// What a sender touches comes first, and is little: with thousands of connections each of them is cold.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Outbox {
    /// Messages are queued.
    queued: AtomicBool,
    /// Nothing is taken any more.
    closed: AtomicBool,
    /// Broadcasts are to be asked for what goes before a message.
    subscribed: AtomicBool,
    limits: Bounds,
    state: Mutex<State>,
    /// Told when the queue falls below the soft limit, or closes.
    pub(super) room: Notify,
}

/// In bytes.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    message: u32,
    hard: u32,
    soft: u32,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Message>,
    bytes: usize,
}

/// How much may be queued for a message to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Taken while the queue is at or below the soft limit, however large the message.
    Soft,
    /// Taken while it fits below the hard limit, or the queue is empty.
    Hard,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    Full,
    Closed,
}

/// What a message costs beside its payload.
pub(super) const OVERHEAD: usize = 64;

impl Outbox {
    /// Makes a queue with limits in bytes; above 4 GiB they are none.
    pub(crate) fn new(message: usize, soft: usize, hard: usize) -> Self {
        let bound = |limit| u32::try_from(limit).unwrap_or(u32::MAX);
        Self {
            limits: Bounds {
                message: bound(message),
                soft: bound(soft),
                hard: bound(hard.max(soft)),
            },
            queued: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            subscribed: AtomicBool::new(false),
            state: Mutex::default(),
            room: Notify::new(),
        }
    }

    /// Tells which limit a message exceeds, in bytes.
    #[inline]
    pub(crate) fn exceeds(&self, message: &Message) -> Option<u32> {
        let limit = self.limits.message;
        (!within(message.len(), limit)).then_some(limit)
    }

    /// Takes a message, or gives it back. `true`: it is the first, so that somebody has to be told.
    pub(crate) fn push(&self, message: Message, bound: Bound) -> Result<bool, (Message, Rejected)> {
        let mut state = self.lock();
        if self.closed.load(Ordering::Relaxed) {
            return Err((message, Rejected::Closed));
        }
        let cost = cost(&message);
        let fits = match bound {
            Bound::Soft => within(state.bytes, self.limits.soft),
            Bound::Hard => state.bytes == 0 || within(state.bytes + cost, self.limits.hard),
        };
        if !fits {
            return Err((message, Rejected::Full));
        }
        let first = state.queue.is_empty();
        state.bytes += cost;
        state.queue.push_back(message);
        self.queued.store(true, Ordering::Relaxed);
        Ok(first)
    }

    /// Moves all that is queued into an empty queue. It counts as queued until it is
    /// [released](Self::release).
    pub(crate) fn take(&self, queue: &mut VecDeque<Message>) {
        if self.queued.load(Ordering::Relaxed) {
            let mut state = self.lock();
            self.queued.store(false, Ordering::Relaxed);
            std::mem::swap(&mut state.queue, queue);
        }
    }

    /// Makes room: messages that cost so much have gone on.
    pub(crate) fn release(&self, cost: usize) {
        let mut state = self.lock();
        let before = state.bytes;
        state.bytes = before.saturating_sub(cost);
        let soft = self.limits.soft;
        let room = !within(before, soft) && within(state.bytes, soft);
        drop(state);
        if room {
            self.room.notify_waiters();
        }
    }

    /// Tells whether messages are queued that were not taken.
    pub(crate) fn is_queued(&self) -> bool {
        self.queued.load(Ordering::Relaxed)
    }

    /// Says whether broadcasts are to be asked. Call it with the driver's lock.
    pub(crate) fn set_subscribed(&self, subscribed: bool) {
        self.subscribed.store(subscribed, Ordering::Relaxed);
    }

    /// Tells whether the connection has subscribed to a broadcast.
    #[inline]
    pub(crate) fn is_subscribed(&self) -> bool {
        self.subscribed.load(Ordering::Relaxed)
    }

    /// Tells whether nothing is taken any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Tells whether a message may go past the outbox: it is open and nothing is before it.
    pub(crate) fn is_idle(&self) -> bool {
        !self.queued.load(Ordering::Relaxed) && !self.closed.load(Ordering::Relaxed)
    }

    /// Takes nothing any more. What is queued stays, for a graceful close, unless `clear`.
    pub(crate) fn close(&self, clear: bool) {
        let mut state = self.lock();
        self.closed.store(true, Ordering::Relaxed);
        if clear {
            self.queued.store(false, Ordering::Relaxed);
            *state = State::default();
        }
        drop(state);
        self.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn within(bytes: usize, limit: u32) -> bool {
    limit == u32::MAX || u32::try_from(bytes).is_ok_and(|bytes| bytes <= limit)
}

/// Takes messages out of a queue that was [taken](Outbox::take), and counts what they release.
pub(super) fn drain<'a>(
    queue: &'a mut VecDeque<Message>,
    released: &'a mut usize,
) -> impl Iterator<Item = Message> + 'a {
    std::iter::from_fn(move || {
        let message = queue.pop_front()?;
        *released += cost(&message);
        Some(message)
    })
}

/// What a message costs in queues.
pub(super) fn cost(message: &Message) -> usize {
    message.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &Outbox) -> Vec<Message> {
        let mut taken = VecDeque::new();
        outbox.take(&mut taken);
        outbox.release(taken.iter().map(cost).sum());
        taken.into()
    }

    #[test]
    fn one_message_always_fits_and_the_hard_limit_holds() {
        let outbox = Outbox::new(5000, 100, 200);
        outbox
            .push(Message::binary(vec![0; 1000]), Bound::Hard)
            .unwrap();
        assert_eq!(
            outbox.push(Message::text("x"), Bound::Hard),
            Err((Message::text("x"), Rejected::Full))
        );
        assert_eq!(drain(&outbox).len(), 1);
        outbox.push(Message::text("x"), Bound::Hard).unwrap();
        outbox.close(false);
        assert_eq!(
            outbox.push(Message::text("y"), Bound::Hard),
            Err((Message::text("y"), Rejected::Closed))
        );
        assert_eq!(drain(&outbox), [Message::text("x")]);
    }

    #[test]
    fn a_sender_that_waits_never_needs_more_than_the_soft_limit_free() {
        let outbox = Outbox::new(5000, 100, 200);
        outbox
            .push(Message::binary(vec![0; 60]), Bound::Soft)
            .unwrap();
        assert_eq!(
            outbox.push(Message::text("x"), Bound::Soft),
            Err((Message::text("x"), Rejected::Full))
        );
        drain(&outbox);
        // Larger than the hard limit: it goes when its turn comes.
        outbox
            .push(Message::binary(vec![0; 1000]), Bound::Soft)
            .unwrap();
    }

    #[test]
    fn what_was_taken_counts_until_it_is_released() {
        let outbox = Outbox::new(5000, 100, 200);
        let message = Message::binary(vec![0; 60]);
        assert_eq!(outbox.push(message, Bound::Soft), Ok(true));
        let mut queue = VecDeque::new();
        outbox.take(&mut queue);
        assert!(outbox.is_idle());
        assert_eq!(
            outbox.push(Message::text("x"), Bound::Soft),
            Err((Message::text("x"), Rejected::Full))
        );
        outbox.release(60 + OVERHEAD);
        assert_eq!(outbox.push(Message::text("x"), Bound::Soft), Ok(true));
        assert_eq!(outbox.push(Message::text("y"), Bound::Soft), Ok(false));
    }

    #[test]
    fn what_a_sender_touches_is_not_more_than_a_cache_line() {
        assert!(std::mem::offset_of!(Outbox, room) <= 64);
    }
}
