use std::error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::listener::Waiting;
use super::log::{Found, Log};
use super::{Broadcast, Listener, Run, Shared};

/// Reads what is published on a [`Broadcast`]. Dropping it unsubscribes.
pub struct Subscription {
    shared: Arc<Shared>,
    place: usize,
    /// The number of the next message to read.
    next: u64,
}

impl Subscription {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (place, next) = shared.with(Log::join);
        Self {
            shared,
            place,
            next,
        }
    }

    /// Polls for what was published since the last time: up to 64 messages at once. When it is pending,
    /// the task is woken once something is published.
    ///
    /// # Errors
    ///
    /// Messages were missed, because this subscriber was further behind than the capacity. It goes on
    /// with the first that is kept.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Run, Lagged>> {
        let waits = |waiting: &Waiting| matches!(waiting, Waiting::Task(waker) if waker.will_wake(cx.waker()));
        match self.read(waits, || Waiting::Task(cx.waker().clone())) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }

    /// Returns what was published since the last time: up to 64 messages at once. If there is nothing,
    /// the listener is told once there is; one that was given before is not any more.
    ///
    /// # Errors
    ///
    /// As [`poll_next`](Self::poll_next).
    pub fn next_or_listen(&mut self, listener: &Arc<dyn Listener>) -> Option<Result<Run, Lagged>> {
        let waits = |waiting: &Waiting| matches!(waiting, Waiting::Listener(other) if Arc::ptr_eq(other, listener));
        self.read(waits, || Waiting::Listener(listener.clone()))
    }

    /// Reads, or else waits as `wait` says if it does not yet.
    fn read(
        &mut self,
        waits: impl FnOnce(&Waiting) -> bool,
        wait: impl FnOnce() -> Waiting,
    ) -> Option<Result<Run, Lagged>> {
        let (place, next) = (self.place, &mut self.next);
        let (found, before) = self.shared.with(|log| match log.read(next) {
            Found::Run(run) => (Some(Ok(run)), None),
            Found::Missed(missed) => (Some(Err(Lagged { missed })), None),
            Found::Nothing if log.waiting(place).is_some_and(waits) => (None, None),
            Found::Nothing => (None, log.wait(place, wait())),
        });
        drop(before);
        found
    }

    /// Waits for what is published, up to 64 messages at once.
    ///
    /// # Errors
    ///
    /// As [`poll_next`](Self::poll_next).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped future loses nothing.
    pub async fn next(&mut self) -> Result<Run, Lagged> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Tells whether something was published that this subscriber has not read. Takes no lock.
    pub fn is_behind(&self) -> bool {
        self.shared.published.load(Ordering::Acquire) != self.next
    }

    /// Tells whether this is a subscription to a broadcast.
    pub fn is_of(&self, broadcast: &Broadcast) -> bool {
        Arc::ptr_eq(&self.shared, &broadcast.0)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (place, next) = (self.place, self.next);
        let waiting = self.shared.with(|log| log.leave(place, next));
        // Not under the lock: it may be the last that holds a task, with another subscription in it.
        drop(waiting);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("is_behind", &self.is_behind())
            .finish_non_exhaustive()
    }
}

/// A subscriber was further behind than a broadcast keeps messages, and missed some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged {
    missed: u64,
}

impl Lagged {
    /// Returns how many messages were missed.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages of a broadcast were missed", self.missed)
    }
}

impl error::Error for Lagged {}
