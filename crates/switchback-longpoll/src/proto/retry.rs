use std::time::{Duration, Instant};

/// The longest wait after the first failure; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(2);

/// When a poll that failed is sent again, and when it is given up.
///
/// A poll can be repeated any number of times without harm, because the server keeps what was not
/// acknowledged. But the server forgets a client that is silent for too long, so trying without
/// end would be pointless.
#[derive(Debug)]
pub(crate) struct Retry {
    total: Duration,
    first_failure: Option<Instant>,
    failures: u32,
}

impl Retry {
    /// `total`: how long after the first of several failures in a row the last try may begin.
    pub(crate) fn new(total: Duration) -> Self {
        Self {
            total,
            first_failure: None,
            failures: 0,
        }
    }

    /// Returns how long to wait before the next try; `None` when it is time to give up. `random`
    /// is any number, from a random source.
    pub(crate) fn failed(&mut self, now: Instant, random: u64) -> Option<Duration> {
        let first = *self.first_failure.get_or_insert(now);
        let longest = FIRST_DELAY
            .saturating_mul(1 << self.failures.min(10))
            .min(LAST_DELAY);
        self.failures += 1;
        // Between half the delay and all of it: never at once, and clients that were cut at the
        // same instant come back at different ones.
        let half = longest / 2;
        let delay = half + half.mul_f64((random % 1024) as f64 / 1024.0);
        (now + delay <= first + self.total).then_some(delay)
    }

    /// The server has answered: the next failure is a first one.
    pub(crate) fn succeeded(&mut self) {
        self.first_failure = None;
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_end() {
        let mut now = Instant::now();
        let mut retry = Retry::new(Duration::from_secs(10));
        let begin = now;
        let mut delays = Vec::new();
        while let Some(delay) = retry.failed(now, 1023) {
            delays.push(delay.as_millis());
            now += delay;
        }
        assert_eq!(delays[..6], [99, 199, 399, 799, 1599, 1999]);
        assert!(now - begin > Duration::from_secs(8) && now - begin <= Duration::from_secs(10));
    }

    #[test]
    fn never_at_once_and_a_success_starts_anew() {
        let now = Instant::now();
        let mut retry = Retry::new(Duration::from_secs(10));
        for random in [0, 512, u64::MAX] {
            let delay = retry.failed(now, random).unwrap();
            assert!(delay >= FIRST_DELAY / 2, "{delay:?}");
        }
        let late = now + Duration::from_secs(60);
        retry.succeeded();
        assert!(retry.failed(late, 0).is_some());
        assert_eq!(retry.failed(late + Duration::from_secs(60), 0), None);
    }

    #[test]
    fn a_total_of_zero_never_repeats() {
        assert_eq!(Retry::new(Duration::ZERO).failed(Instant::now(), 0), None);
    }
}
