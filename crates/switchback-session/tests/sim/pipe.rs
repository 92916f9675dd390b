use std::collections::VecDeque;
use std::time::{Duration, Instant};

use switchback_core::{CloseReason, Message};

use super::rng::Rng;

/// What travels through one direction of a transport.
#[derive(Debug)]
pub(super) enum Item {
    Message(Message),
    /// A clean close. Nothing follows.
    Close(CloseReason),
}

/// One direction of a transport: in order, each once, until it breaks.
#[derive(Debug)]
pub(super) struct Pipe {
    queue: VecDeque<(Instant, Item)>,
    latency: (u64, u64),
    /// Messages arrive together: in one POST, or in the answer to one poll.
    batch: Option<Duration>,
    capacity: usize,
    /// Nothing arrives before this.
    not_before: Instant,
    /// What is put in disappears, and fills the pipe.
    broken: bool,
    lost: usize,
}

impl Pipe {
    pub(super) fn new(now: Instant, batched: bool, rng: &mut Rng) -> Self {
        let low = rng.pick(&[0, 1, 20, 200]);
        Self {
            queue: VecDeque::new(),
            latency: (low, low + rng.pick(&[0, 5, 50])),
            batch: batched.then(|| rng.millis(1, 200)),
            capacity: usize::try_from(rng.between(1, 12)).unwrap(),
            not_before: now,
            broken: false,
            lost: 0,
        }
    }

    /// How many more items fit in.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.queue.len() + self.lost)
    }

    /// Puts an item in. Returns when it arrives, if it does.
    pub(super) fn push(&mut self, now: Instant, item: Item, rng: &mut Rng) -> Option<Instant> {
        if self.broken {
            self.lost += 1;
            return None;
        }
        let mut at = now + rng.millis(self.latency.0, self.latency.1);
        if let Some(batch) = self.batch {
            // The end of the request that is under way, or of the next one.
            at = at.max(self.not_before);
            if self.queue.is_empty() || at > self.not_before {
                at += batch;
            }
        }
        at = at.max(self.not_before);
        self.not_before = at;
        self.queue.push_back((at, item));
        Some(at)
    }

    pub(super) fn arrived(&mut self, now: Instant) -> Option<Item> {
        if self.queue.front()?.0 > now {
            return None;
        }
        self.queue.pop_front().map(|(_, item)| item)
    }

    /// Breaks it: some of what is under way arrives, the rest is lost, as is all that follows.
    /// Returns when the last arrives.
    pub(super) fn cut(&mut self, now: Instant, rng: &mut Rng) -> Instant {
        let keep = rng.index(self.queue.len() + 1);
        self.queue.truncate(keep);
        self.broken = true;
        self.queue.back().map_or(now, |(at, _)| *at)
    }

    /// Holds everything that is put in from now on until the time.
    pub(super) fn stall(&mut self, until: Instant) {
        self.not_before = self.not_before.max(until);
    }

    /// Tells whether what is put in arrives as soon as ever.
    pub(super) fn is_healthy(&self, now: Instant) -> bool {
        !self.broken && self.not_before <= now
    }
}
