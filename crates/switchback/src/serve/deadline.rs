use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A deadline that is set and lifted often, and seldom comes.
///
/// Setting it moves a number. The timer is moved when it fires early, or would fire late, so a
/// request costs none.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Sets it to so long from now.
    pub(super) fn set(&mut self, after: Duration) {
        self.due = Some(Instant::now() + after);
    }

    /// Sets it to so long from now, unless it is set.
    pub(super) fn set_once(&mut self, after: Duration) {
        if self.due.is_none() {
            self.set(after);
        }
    }

    /// Lifts it.
    pub(super) fn lift(&mut self) {
        self.due = None;
    }

    /// Waits for the deadline; for ever while there is none.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}
