use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use switchback_core::Message;
use tokio::sync::Notify;

/// What the application has sent and the session has not numbered yet.
///
/// Apart from the driver's lock, so that a broadcast never waits for a connection that is writing.
#[derive(Debug)]
pub(crate) struct Outbox {
    soft: usize,
    hard: usize,
    /// Nothing is queued or taken and not released, and more is welcome.
    idle: AtomicBool,
    state: Mutex<State>,
    /// Told when the queue falls below the soft limit, or closes.
    pub(super) room: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Message>,
    bytes: usize,
    closed: bool,
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
pub(crate) const OVERHEAD: usize = 64;

impl Outbox {
    pub(crate) fn new(soft: usize, hard: usize) -> Self {
        Self {
            soft,
            hard: hard.max(soft),
            idle: AtomicBool::new(true),
            state: Mutex::default(),
            room: Notify::new(),
        }
    }

    /// Takes a message, or gives it back.
    pub(crate) fn push(&self, message: Message, bound: Bound) -> Result<(), (Message, Rejected)> {
        let mut state = self.lock();
        if state.closed {
            return Err((message, Rejected::Closed));
        }
        let cost = message.len() + OVERHEAD;
        let fits = match bound {
            Bound::Soft => state.bytes <= self.soft,
            Bound::Hard => state.bytes == 0 || state.bytes + cost <= self.hard,
        };
        if !fits {
            return Err((message, Rejected::Full));
        }
        state.bytes += cost;
        state.queue.push_back(message);
        self.idle.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Moves all that is queued into an empty queue. It counts as queued until it is
    /// [released](Self::release).
    pub(crate) fn take(&self, queue: &mut VecDeque<Message>) {
        let mut state = self.lock();
        if !state.queue.is_empty() {
            std::mem::swap(&mut state.queue, queue);
        }
    }

    /// Makes room: messages that cost so much have gone on.
    pub(crate) fn release(&self, cost: usize) {
        let mut state = self.lock();
        let before = state.bytes;
        state.bytes = before.saturating_sub(cost);
        self.idle
            .store(state.bytes == 0 && !state.closed, Ordering::Relaxed);
        let room = before > self.soft && state.bytes <= self.soft;
        drop(state);
        if room {
            self.room.notify_waiters();
        }
    }

    /// Tells whether a message may go past the outbox: it is open and nothing is before it.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    /// Takes nothing any more. What is queued stays, for a graceful close, unless `clear`.
    pub(crate) fn close(&self, clear: bool) {
        let mut state = self.lock();
        state.closed = true;
        self.idle.store(false, Ordering::Relaxed);
        if clear {
            state.queue = VecDeque::new();
            state.bytes = 0;
        }
        drop(state);
        self.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &Outbox) -> Vec<Message> {
        let mut queue = VecDeque::new();
        outbox.take(&mut queue);
        outbox.release(queue.iter().map(|message| message.len() + OVERHEAD).sum());
        queue.into()
    }

    #[test]
    fn one_message_always_fits_and_the_hard_limit_holds() {
        let outbox = Outbox::new(100, 200);
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
        let outbox = Outbox::new(100, 200);
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
        let outbox = Outbox::new(100, 200);
        outbox
            .push(Message::binary(vec![0; 60]), Bound::Soft)
            .unwrap();
        let mut queue = VecDeque::new();
        outbox.take(&mut queue);
        assert_eq!(
            outbox.push(Message::text("x"), Bound::Soft),
            Err((Message::text("x"), Rejected::Full))
        );
        outbox.release(60 + OVERHEAD);
        assert!(outbox.is_idle());
    }
}
