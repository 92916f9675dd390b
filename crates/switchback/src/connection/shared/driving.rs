//! What drives a connection whose application's task does not: the janitor above all, and whoever changes something.

use std::sync::{Arc, MutexGuard};
use std::task::Context;
use std::time::{Duration, Instant};

use switchback_core::Listener;

use super::{Shared, Timed};

/// How soon a connection is looked after again whose application does not read.
const PAUSED: Duration = Duration::from_secs(1);

impl Shared {
    /// What the janitor calls. Returns whether there is nothing left to do, ever.
    pub(crate) fn serve(&self, now: Instant) -> bool {
        let mut timed = self.peek();
        let asked = self.waker.served();
        while timed.next.take_if(|at| *at <= now).is_some() {
            timed.next = timed.armed.pop();
            timed.due = true;
        }
        timed.later.take_if(|at| *at <= now);
        let behind = self.waker.is_called() || timed.driver.is_behind();
        let asked = asked || (behind && !self.waker.is_awaited());
        if !asked && !timed.due {
            // It was to look in a moment, and nothing was left for it.
            return timed.driver.is_done();
        }
        self.drive_for_others(timed, now)
    }

    /// Sends what was published. What the janitor does, so that the application's task is left alone.
    pub(crate) fn deliver(&self, now: Instant) {
        let mut timed = self.peek();
        // The janitor looks at the clock once for several.
        let now = now.max(timed.now);
        if timed.short && timed.driver.is_well() && !self.outbox.is_closed() {
            timed.now = now;
            let mut cx = Context::from_waker(&self.task);
            if timed.driver.transmit_short(&mut cx, now, &self.outbox)
                && timed.driver.rest_short(&mut cx, now)
            {
                self.arm_ack(&mut timed, now);
                return;
            }
        }
        self.drive_for_others(timed, now);
    }

    /// Drives while the application's task may wait for what comes of it. Returns whether the
    /// connection is done.
    pub(super) fn drive_for_others(&self, mut timed: MutexGuard<'_, Timed>, now: Instant) -> bool {
        self.drive(&mut timed, now);
        let done = timed.driver.is_done();
        if timed.driver.has_inbound() || done {
            self.waker.wake_application();
        }
        done
    }

    /// Drives, then tells the world what changed.
    pub(super) fn drive(&self, timed: &mut Timed, now: Instant) {
        let readable = self.waker.begin();
        timed.now = now;
        let passed = timed.next.is_none_or(|at| at <= now);
        let due = std::mem::take(&mut timed.due) || passed;
        let mut cx = Context::from_waker(&self.task);
        timed
            .driver
            .drive(&mut cx, now, &self.outbox, readable, due);
        timed.short = timed.driver.is_short();
        self.arm(timed, now);
        if let Some(watch) = self.watch.get() {
            watch.send_if_modified(|state| {
                let changed = state != timed.driver.state();
                if changed {
                    state.clone_from(timed.driver.state());
                }
                changed
            });
        }
        self.observe(timed);
    }

    /// Arms the janitor for an acknowledgement: the only deadline that comes closer on the short way.
    /// Whatever else moves one makes an event, or is told by [`Driver::is_well`].
    #[inline]
    pub(super) fn arm_ack(&self, timed: &mut Timed, now: Instant) {
        if let Some(at) = timed.driver.machine.ack_deadline()
            && timed.next.is_none_or(|next| at < next)
        {
            self.arm(timed, now);
        }
    }

    fn arm(&self, timed: &mut Timed, now: Instant) {
        let Some(mut deadline) = timed.driver.deadline() else {
            return;
        };
        if deadline <= now {
            deadline = now + PAUSED;
        }
        if timed.next.is_none_or(|next| deadline < next) {
            let later = timed.next.replace(deadline);
            timed.armed.extend(later);
            self.janitor.arm(deadline, self.this.clone());
        }
    }

    fn observe(&self, timed: &mut Timed) {
        let Some(observer) = &self.settings.observer else {
            return;
        };
        if let Some(parked) = timed.driver.park_change.take() {
            if let Some(place) = timed.place.take() {
                observer.unparked(place);
            }
            if parked {
                let bytes = timed.driver.machine.unacknowledged_bytes();
                timed.place = Some(observer.parked(&self.this, bytes));
            }
        }
        if !timed.ended && timed.driver.machine.is_closed() {
            timed.ended = true;
            observer.ended(&self.settings.id, timed.driver.machine.remains());
        }
    }
}

/// There is something to send, and nothing to read.
impl Listener for Shared {
    fn published(self: Arc<Self>) {
        let janitor = self.janitor.clone();
        janitor.deliver(self);
    }
}
