//! What the application's task does in order to receive.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use switchback_core::Error;

use super::{Shared, Timed};
use crate::connection::Event;
use crate::connection::batch::Batch;
use crate::connection::driver::{Driver, Received};

/// How soon a connection is looked after whose application is at work, and has not read all there may be.
const LATER: Duration = Duration::from_millis(100);

impl Shared {
    /// Polls for what is next: `None` when it is in `batch`, which is empty, and otherwise an event.
    pub(in crate::connection) fn poll_batch(
        &self,
        cx: &mut Context<'_>,
        batch: &mut Batch,
    ) -> Poll<Option<Result<Option<Event>, Error>>> {
        let mut timed = self.peek();
        // Events that are there are taken without driving, so that the replies to them leave
        // together: the last of these replies flushes.
        if !timed.short
            && let Poll::Ready(event) = timed.driver.take()
        {
            self.leave(&mut timed);
            return Poll::Ready(Some(event));
        }
        match self.recv_short(&mut timed, batch) {
            Received::Messages => {
                self.leave(&mut timed);
                return Poll::Ready(None);
            }
            Received::Drained => {}
            Received::Other => {
                self.drive(&mut timed, Instant::now());
                if let Poll::Ready(event) = timed.driver.take() {
                    self.leave(&mut timed);
                    return Poll::Ready(Some(event));
                }
            }
        }
        // Under the lock: whoever drives next finds the waker.
        self.waker.wait(cx.waker(), &mut timed.task);
        Poll::Pending
    }

    /// Receives the short way, where that is open.
    fn recv_short(&self, timed: &mut Timed, batch: &mut Batch) -> Received {
        if self.waker.is_called() {
            timed.driver.note_readable(self.waker.begin_awake());
            timed.now = Instant::now();
        } else if !timed.driver.is_behind() {
            // Whatever is under way calls when there is something to do.
            return Received::Drained;
        }
        if !timed.short || !timed.driver.is_well() || self.outbox.is_closed() {
            return Received::Other;
        }
        let now = timed.now;
        let mut cx = Context::from_waker(&self.task);
        if timed.driver.has_sent(&self.outbox)
            && !timed.driver.transmit_short(&mut cx, now, &self.outbox)
        {
            return Received::Other;
        }
        let received = timed.driver.recv_short(&mut cx, now, batch);
        if let Received::Drained = received {
            if !timed.driver.rest_short(&mut cx, now) {
                return Received::Other;
            }
            self.arm_ack(timed, now);
        }
        received
    }

    /// The application's task has something to work on, and does not wait. Should it not come back for
    /// what is left to do, or was it called in vain meanwhile, the janitor looks after that: in a moment where
    /// something is to be flushed or decided. What the transport may have waits for longer, because most often
    /// the application is back before that.
    #[inline]
    fn leave(&self, timed: &mut Timed) {
        self.waker.stop_waiting();
        let is_behind = timed.driver.is_behind();
        let is_open = timed.short && timed.driver.is_well();
        let is_left = timed.driver.has_deferred() || (is_behind && !is_open);
        if self.waker.is_called() || is_left {
            self.waker.nudge_soon();
        } else if is_behind && timed.later.is_none() {
            let at = timed.now + LATER;
            timed.later = Some(at);
            self.janitor.arm(at, self.this.clone());
        }
    }

    pub(in crate::connection) fn stop_waiting(&self) {
        self.waker.abandon();
    }

    /// Drives until a condition holds. For the application's task.
    pub(crate) fn poll_until<R>(
        &self,
        cx: &mut Context<'_>,
        condition: impl Fn(&mut Driver) -> Option<R>,
    ) -> Poll<R> {
        let mut timed = self.lock();
        self.drive(&mut timed, Instant::now());
        let result = condition(&mut timed.driver);
        match result {
            None => self.waker.wait(cx.waker(), &mut timed.task),
            Some(_) => self.waker.abandon(),
        }
        result.map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits until the connection has ended and its transports are closed.
    pub(in crate::connection) fn poll_closed(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.poll_until(cx, Driver::closed)
    }
}
