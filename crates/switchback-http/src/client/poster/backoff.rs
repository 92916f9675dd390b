use std::time::Duration;

use tokio::time::Instant;

/// How long to wait before the next try, and when to stop trying. Knows no clock: times are given.
#[derive(Debug)]
pub(super) struct Backoff {
    retry_for: Duration,
    failing_since: Option<Instant>,
    tries: u32,
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

impl Backoff {
    pub(super) fn new(retry_for: Duration) -> Self {
        Self {
            retry_for,
            failing_since: None,
            tries: 0,
        }
    }

    pub(super) fn set_retry_for(&mut self, retry_for: Duration) {
        self.retry_for = retry_for;
    }

    pub(super) fn retry_for(&self) -> Duration {
        self.retry_for
    }

    /// Something got through.
    pub(super) fn succeeded(&mut self) {
        self.failing_since = None;
        self.tries = 0;
    }

    /// The server is there but has no room. That may go on as long as it will.
    ///
    /// `random` spreads clients that began together: a number from the whole range.
    pub(super) fn stalled(&mut self, random: u32) -> Duration {
        self.failing_since = None;
        self.pause(random)
    }

    /// A try failed. `None`: they have failed for too long.
    pub(super) fn failed(&mut self, now: Instant, random: u32) -> Option<Duration> {
        let since = *self.failing_since.get_or_insert(now);
        (now - since < self.retry_for).then(|| self.pause(random))
    }

    /// Half of a growing delay, and a random part of the other half.
    fn pause(&mut self, random: u32) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        longest / 2 + (longest / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// A number from the whole range. The same one always when the system has none: this only spreads
/// load.
pub(super) fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn grows_and_gives_up() {
        let mut backoff = Backoff::new(Duration::from_secs(10));
        let now = Instant::now();
        let pauses: Vec<_> = (0..7)
            .map(|_| backoff.failed(now, u32::MAX).unwrap().as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        let late = now + Duration::from_secs(10);
        assert_eq!(backoff.failed(late, 0), None);
        backoff.succeeded();
        assert_eq!(backoff.failed(late, 0), Some(FIRST / 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_no_failure() {
        let mut backoff = Backoff::new(Duration::from_secs(10));
        let now = Instant::now();
        assert!(backoff.failed(now, 0).is_some());
        backoff.stalled(0);
        let late = now + Duration::from_secs(100);
        assert!(backoff.failed(late, 0).is_some());
        for _ in 0..100 {
            assert!(backoff.stalled(u32::MAX) <= LONGEST);
        }
    }
}
