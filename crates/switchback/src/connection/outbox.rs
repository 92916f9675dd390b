use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use switchback_core::Message;

/// What the application has sent and the session has not numbered yet.
///
/// Apart from the driver's lock, so that a broadcast never waits for a connection that is writing.
#[derive(Debug)]
pub(crate) struct Outbox {
    soft: usize,
    hard: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Message>,
    bytes: usize,
    waiting: Vec<Waker>,
    closed: bool,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    Full,
    Closed,
}

/// What a message costs beside its payload.
pub(crate) const OVERHEAD: usize = 64;

/// Tasks that wait for room. More of them than this are woken early and ask again.
const MAX_WAITING: usize = 64;

impl Outbox {
    pub(crate) fn new(soft: usize, hard: usize) -> Self {
        Self {
            soft,
            hard: hard.max(soft),
            state: Mutex::default(),
        }
    }

    /// Takes a message, up to the hard limit. One is always taken when nothing is queued.
    pub(crate) fn push(&self, message: &Message) -> Result<(), Rejected> {
        let mut state = self.lock();
        if state.closed {
            return Err(Rejected::Closed);
        }
        let cost = message.len() + OVERHEAD;
        if state.bytes > 0 && state.bytes + cost > self.hard {
            return Err(Rejected::Full);
        }
        state.bytes += cost;
        state.queue.push_back(message.clone());
        Ok(())
    }

    /// Waits until the queue is below the soft limit, or closed.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.closed || state.bytes <= self.soft {
            return Poll::Ready(());
        }
        if !state
            .waiting
            .iter()
            .any(|waker| waker.will_wake(cx.waker()))
        {
            if state.waiting.len() >= MAX_WAITING {
                state.waiting.drain(..).for_each(Waker::wake);
            }
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(crate) fn pop(&self) -> Option<Message> {
        let mut state = self.lock();
        let message = state.queue.pop_front()?;
        state.bytes -= message.len() + OVERHEAD;
        let waiting = if state.bytes <= self.soft && !state.waiting.is_empty() {
            std::mem::take(&mut state.waiting)
        } else {
            Vec::new()
        };
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Some(message)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Takes nothing any more. What is queued stays, for a graceful close, unless `clear`.
    pub(crate) fn close(&self, clear: bool) {
        let mut state = self.lock();
        state.closed = true;
        if clear {
            state.queue = VecDeque::new();
            state.bytes = 0;
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_always_fits_and_the_hard_limit_holds() {
        let outbox = Outbox::new(100, 200);
        outbox.push(&Message::binary(vec![0; 1000])).unwrap();
        assert_eq!(outbox.push(&Message::text("x")), Err(Rejected::Full));
        assert_eq!(outbox.pop().map(|message| message.len()), Some(1000));
        outbox.push(&Message::text("x")).unwrap();
        outbox.close(false);
        assert_eq!(outbox.push(&Message::text("y")), Err(Rejected::Closed));
        assert_eq!(outbox.pop(), Some(Message::text("x")));
    }

    #[test]
    fn room_comes_when_the_queue_falls_below_the_soft_limit() {
        let outbox = Outbox::new(100, 1000);
        let mut cx = Context::from_waker(Waker::noop());
        outbox.push(&Message::binary(vec![0; 60])).unwrap();
        assert!(outbox.poll_room(&mut cx).is_pending());
        outbox.pop();
        assert!(outbox.poll_room(&mut cx).is_ready());
    }
}
