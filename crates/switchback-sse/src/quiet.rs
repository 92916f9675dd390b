use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that fires when nothing happened for an interval.
///
/// What happens only moves a number. The timer itself is moved when it fires early, so that a busy
/// stream does not work on it for every event.
pub(crate) struct Quiet {
    interval: Duration,
    due: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Quiet {
    pub(crate) fn new(interval: Duration) -> Self {
        // A timer that is always due would keep its task busy for ever.
        let interval = interval.max(Duration::from_millis(1));
        Self {
            interval,
            due: Instant::now() + interval,
            sleep: None,
        }
    }

    /// Begins the interval anew: something happened.
    pub(crate) fn put_off(&mut self) {
        self.due = Instant::now() + self.interval;
    }

    /// Waits until nothing has happened for the interval, then begins it anew.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.due;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= self.due {
                break;
            }
            sleep.as_mut().reset(self.due);
        }
        self.due = Instant::now() + self.interval;
        sleep.as_mut().reset(self.due);
        Poll::Ready(())
    }
}

impl fmt::Debug for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.interval.fmt(f)
    }
}
