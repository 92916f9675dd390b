use std::time::{Duration, Instant};

use switchback_core::Run;

/// What was sent of broadcasts on one attachment, and the session was not told of yet.
///
/// For drivers of thousands of sessions, each of which is cold when its turn comes: an entry touches the
/// ledger and nothing else. [`ServerSession::allowance`](crate::ServerSession::allowance) says what may be sent
/// in this way, and [`ServerSession::settle`](crate::ServerSession::settle) is told of it, before anything else
/// that changes the session, and at the latest when it [is full](Self::is_full): it takes more, and grows.
#[derive(Debug, Default)]
// What every entry touches comes first.
#[repr(C)]
pub struct Ledger {
    last: Option<Run>,
    times: Option<Times>,
    before: Vec<Run>,
}

/// When it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) until: Instant,
    /// The longest time between two entries.
    pub(super) longest: Duration,
    pub(super) since: Instant,
}

/// How many runs are kept behind which others have come.
const MOST: usize = 16;

impl Ledger {
    /// Tells whether there is nothing to settle.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Tells whether it is time to settle, so that it stays small.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.before.len() >= MOST
    }

    /// Enters the messages, so many, that were [taken](Run::taken) out of a run at the front last, and sent.
    #[inline]
    pub fn enter(&mut self, now: Instant, run: &Run, count: usize) {
        if count == 0 {
            return;
        }
        match &mut self.times {
            // Most often it is one time for several runs.
            Some(times) if times.until == now => {}
            Some(times) => {
                let between = now.saturating_duration_since(times.until);
                times.longest = times.longest.max(between);
                times.until = now;
            }
            None => {
                self.times = Some(Times {
                    until: now,
                    longest: Duration::ZERO,
                    since: now,
                });
            }
        }
        if let Some(last) = &mut self.last
            && last.append_taken(run, count)
        {
            return;
        }
        if let Some(before) = self.last.replace(run.taken(count)) {
            self.before
                .reserve_exact(MOST.saturating_sub(self.before.len()));
            self.before.push(before);
        }
    }

    /// Takes everything out. `None`: there is nothing.
    pub(super) fn take(&mut self) -> Option<(Times, impl Iterator<Item = Run>)> {
        let times = self.times.take()?;
        // It is rare that there is more than one, and there are many sessions.
        let before = std::mem::take(&mut self.before);
        Some((times, before.into_iter().chain(self.last.take())))
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use switchback_core::{Broadcast, Message, Subscription};

    use super::*;
    use crate::Config;
    use crate::delivery::{Delivery, Dice, Link};

    struct Side {
        delivery: Delivery,
        link: Link,
        ledger: Ledger,
        subscriptions: [Subscription; 2],
    }

    impl Side {
        fn new(now: Instant, broadcasts: &[Broadcast; 2]) -> Self {
            let config = Config::new().with_replay_messages(100_000);
            Self {
                delivery: Delivery::new(&config),
                link: Link::new(now, 1, 1, 1, Duration::from_secs(8)),
                ledger: Ledger::default(),
                subscriptions: broadcasts.each_ref().map(Broadcast::subscribe),
            }
        }

        fn settle(&mut self) {
            self.delivery.settle(&mut self.link, &mut self.ledger);
        }

        fn next(&mut self, subscription: usize) -> Option<Run> {
            let mut cx = Context::from_waker(Waker::noop());
            match self.subscriptions[subscription].poll_next(&mut cx) {
                Poll::Ready(run) => Some(run.unwrap()),
                Poll::Pending => None,
            }
        }

        /// Sends what was published on each, and tells of every message.
        fn send_each(&mut self, now: Instant) {
            for subscription in 0..2 {
                while let Some(run) = self.next(subscription) {
                    for message in run {
                        self.delivery.sent(now, &mut self.link, message);
                    }
                }
            }
        }

        /// Sends what was published on each, some of each run at a time, and enters it. Returns whether the
        /// ledger was full.
        fn enter(&mut self, now: Instant, at_a_time: usize) -> bool {
            for subscription in 0..2 {
                while let Some(mut run) = self.next(subscription) {
                    while !run.is_empty() {
                        let before = run.len();
                        run.advance(at_a_time);
                        self.ledger.enter(now, &run, before - run.len());
                    }
                }
            }
            let is_full = self.ledger.is_full();
            if is_full {
                self.settle();
            }
            is_full
        }

        fn kept(&mut self) -> Vec<Message> {
            let mut kept = Vec::new();
            let link = &mut Link::new(Instant::now(), 1, 1, 1, Duration::ZERO);
            link.set_positions(1, self.delivery.outbox.first());
            let (now, none) = (Instant::now(), &mut std::iter::empty());
            self.delivery.transmit(now, link, true, none, |message| {
                kept.push(message.clone());
                true
            });
            kept
        }
    }

    /// A session that is told later, and of several at a time, stands where one does that is told of each.
    #[test]
    fn it_does_not_matter_when_it_is_settled() {
        let start = Instant::now();
        let broadcasts = [Broadcast::new(), Broadcast::new()];
        let [mut told, mut untold] = [0, 1].map(|_| Side::new(start, &broadcasts));
        let (mut now, mut dice, mut full) = (start, Dice(1), 0);
        for round in 0..20_000 {
            let dice = dice.roll();
            now += Duration::from_millis(match dice % 5 {
                0 | 1 => 0,
                2 | 3 => dice % 1000,
                _ => dice % 10_000,
            });
            if dice % 11 < 10 {
                for n in 0..dice % 9 {
                    let broadcast = &broadcasts[usize::from(n > 4)];
                    broadcast.publish("x".repeat(usize::try_from(n).unwrap()));
                }
                told.send_each(now);
                full += usize::from(untold.enter(now, 1 + usize::try_from(dice % 3).unwrap()));
                continue;
            }
            untold.settle();
            assert!(untold.ledger.is_empty() && untold.ledger.before.capacity() == 0);
            let acked = told.delivery.outbox.transmitted().saturating_sub(dice % 3);
            for side in [&mut told, &mut untold] {
                side.link.note_rx(now);
                side.delivery.receive(now, &mut side.link, 1).unwrap();
                side.delivery.acknowledged(acked).unwrap();
            }
            let standing = |side: &Side| {
                let later = now + Duration::from_millis(1);
                let link = (side.link.silence(later), side.link.survived());
                (link, side.delivery.outbox.size(), side.link.is_even())
            };
            assert_eq!(standing(&told), standing(&untold), "in round {round}");
            assert!(untold.link.is_even());
            if dice % 7 == 0 {
                assert_eq!(told.kept(), untold.kept());
            }
        }
        let survived = untold.link.survived();
        assert!(full > 100 && survived > 100, "{full} {survived}");
    }

    #[test]
    fn what_is_taken_bit_by_bit_is_one_run() {
        let broadcasts = [Broadcast::new(), Broadcast::new()];
        let mut side = Side::new(Instant::now(), &broadcasts);
        for _ in 0..64 {
            broadcasts[0].publish("x");
            side.enter(Instant::now(), 1);
        }
        assert!(side.ledger.before.is_empty());
        side.settle();
        assert_eq!(side.delivery.outbox.size(), (64, 64));
        assert!(side.link.is_even());
    }
}
