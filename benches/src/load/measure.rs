//! The part of a run that counts: after the warm-up, before the end.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::lane::Traffic;
use super::{Outcome, Percentiles, Timing};
use crate::process::{self, Cpu};

/// Nanoseconds; a minute is more than the patience.
const LONGEST: u64 = 60_000_000_000;

/// Counts and times what happens between two moments.
pub(super) struct Measure {
    pid: Option<u32>,
    pub(super) begin: Instant,
    warm_up: Duration,
    length: Duration,
    before: Option<Before>,
    after: Option<Before>,
    count: u64,
    latency: Histogram<u64>,
}

#[derive(Clone, Copy)]
struct Before {
    at: Instant,
    server: Option<Cpu>,
    load: Option<Cpu>,
    traffic: Traffic,
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

    fn sample(&self, traffic: Traffic) -> Before {
        Before {
            at: Instant::now(),
            server: self.pid.and_then(process::cpu),
            load: process::cpu(std::process::id()),
            traffic,
        }
    }

    /// Adds what was measured to what the scenario knows.
    pub(super) fn outcome(&self, outcome: Outcome) -> Outcome {
        let (Some(before), Some(after)) = (self.before, self.after) else {
            return outcome;
        };
        let seconds = (after.at - before.at).as_secs_f64();
        let each = |sum: f64| (self.count > 0).then(|| sum / self.count as f64);
        let used = |after: Option<Cpu>, before: Option<Cpu>| Some(after? - before?);
        let server = used(after.server, before.server);
        let load = used(after.load, before.load);
        let nanos = seconds * 1e9;
        let waited = [server, load]
            .into_iter()
            .flatten()
            .map(|cpu| cpu.waited)
            .max();
        let received = after.traffic.received - before.traffic.received;
        let sent = after.traffic.sent - before.traffic.sent;
        Outcome {
            seconds,
            count: self.count,
            latency: Percentiles::of(&self.latency),
            cpu: server.and_then(|cpu| each(cpu.total as f64 / 1000.0)),
            system: server.map(|cpu| (cpu.system as f64 / (cpu.total as f64).max(1.0)).min(1.0)),
            busy: server.map(|cpu| cpu.total as f64 / nanos),
            load_cpu: load.and_then(|cpu| each(cpu.total as f64 / 1000.0)),
            disturbed: waited.map(|waited| waited as f64 / nanos),
            wire: each(received as f64).zip(each(sent as f64)),
            ..outcome
        }
    }
}
