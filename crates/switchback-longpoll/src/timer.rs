use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is made when it is first needed and moves only when it fires, so that a deadline
/// which is put off again and again costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub(crate) const fn new() -> Self {
        Self { sleep: None }
    }

    /// Sets the timer, whatever it was set to before.
    pub(crate) fn set(&mut self, after: Duration) {
        let deadline = Instant::now() + after;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.sleep = Some(Box::pin(sleep_until(deadline))),
        }
    }

    /// Stops the timer.
    pub(crate) fn clear(&mut self) {
        self.sleep = None;
    }

    /// Waits for the timer. Ready at once when it is not set.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Ready(()),
        }
    }

    /// Waits for a deadline that only ever moves later.
    pub(crate) fn poll_at_least(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }

    /// Waits until `after` has passed since the first call.
    pub(crate) fn poll_after(&mut self, cx: &mut Context<'_>, after: Duration) -> Poll<()> {
        if self.sleep.is_none() {
            self.set(after);
        }
        self.poll(cx)
    }
}
