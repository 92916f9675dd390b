//! The part of a run that counts: after the warm-up, before the end.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::lane::Traffic;
use super::sample::Sample;
use super::{Outcome, Percentiles, Timing};

/// Nanoseconds; a minute is more than the patience.
const LONGEST: u64 = 60_000_000_000;

/// Counts and times what happens between two moments.
pub(super) struct Measure {
    pid: Option<u32>,
    pub(super) begin: Instant,
    warm_up: Duration,
    length: Duration,
    before: Option<Sample>,
    after: Option<Sample>,
    count: u64,
    latency: Histogram<u64>,
}

impl Measure {
    pub(super) fn new(pid: Option<u32>, timing: &Timing) -> Self {
        Self::with(pid, timing.warm_up, timing.seconds)
    }

    pub(super) fn with(pid: Option<u32>, warm_up: f64, seconds: f64) -> Self {
        let duration = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Self {
            pid,
            begin: Instant::now(),
            warm_up: duration(warm_up),
            length: duration(seconds),
            before: None,
            after: None,
            count: 0,
            // The bounds are constants that are valid.
            latency: Histogram::new_with_bounds(1, LONGEST, 3)
                .unwrap_or_else(|_| unreachable!("valid bounds")),
        }
    }

    /// Nanoseconds since the beginning, for stamps.
    pub(super) fn nanos(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    pub(super) fn is_over(&self) -> bool {
        self.after.is_some()
    }

    /// Counts one, that was sent at a time and came now.
    pub(super) fn count(&mut self, sent: u64, now: u64) {
        if self.before.is_some() && self.after.is_none() {
            self.count += 1;
            self.latency.saturating_record(now.saturating_sub(sent));
        }
    }

    /// Begins and ends the time that counts. To be called often.
    pub(super) fn turn(&mut self, traffic: Traffic) {
        let now = Instant::now();
        match &self.before {
            None if now - self.begin >= self.warm_up => self.before = Some(self.sample(traffic)),
            Some(before) if self.after.is_none() && now - before.at >= self.length => {
                self.after = Some(self.sample(traffic));
            }
            _ => {}
        }
    }

    /// Ends the time that counts now.
    pub(super) fn end(&mut self, traffic: Traffic) {
        if self.after.is_none() {
            self.after = Some(self.sample(traffic));
        }
    }

    fn sample(&self, traffic: Traffic) -> Sample {
        let mut sample = Sample::take(self.pid, std::process::id());
        sample.traffic = traffic;
        sample
    }

    /// Adds what was measured to what the scenario knows.
    pub(super) fn outcome(&self, outcome: Outcome) -> Outcome {
        let (Some(before), Some(after)) = (self.before, self.after) else {
            return outcome;
        };
        Outcome {
            latency: Percentiles::of(&self.latency),
            ..before.until(&after, self.count, outcome)
        }
    }
}
