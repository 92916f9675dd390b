//! The search for a transport that is better than the one in use.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use switchback_core::TransportKind;

use crate::client::gate::jitter;
use crate::{ClientConfig, Entropy};

use super::{Choice, Phase};

/// How soon a better transport is tried again that had not failed, but only not been the first.
const SOON: Duration = Duration::from_secs(1);

/// The search for something better than what is in use.
#[derive(Debug)]
pub(super) struct Probe {
    /// When to begin the next; `None`: nothing better is allowed.
    pub(super) at: Option<Instant>,
    interval: Duration,
    /// What is still to be tried in this one.
    pub(super) queue: VecDeque<TransportKind>,
}

impl Probe {
    pub(super) fn new(config: &ClientConfig) -> Self {
        Self {
            at: None,
            interval: config.probe().0,
            queue: VecDeque::new(),
        }
    }

    /// Nothing better is looked for any more.
    pub(super) fn stop(&mut self) {
        self.at = None;
        self.queue.clear();
    }

    /// Begins the next in a moment.
    pub(super) fn begin_soon(&mut self, now: Instant) {
        self.at = Some(now + SOON);
    }

    /// Begins the next after the interval and up to a quarter more, so that clients that a restart
    /// has brought into step get out of it.
    pub(super) fn put_off(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        self.at = Some(now + self.interval + jitter(self.interval / 4, entropy));
    }

    /// Nothing better has worked: the next follows after twice the time.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        config: &ClientConfig,
        entropy: &mut dyn Entropy,
    ) {
        if self.at.is_some() {
            self.interval = (self.interval * 2).min(config.probe().1);
            self.put_off(now, entropy);
        }
    }
}

impl Choice {
    /// Tries transports that are better than the one in use, one after the other.
    pub(super) fn look_up(
        &mut self,
        now: Instant,
        config: &ClientConfig,
        entropy: &mut dyn Entropy,
    ) {
        let Phase::Settled(settled) = &mut self.phase else {
            return;
        };
        if settled.trust_at.is_some_and(|at| at <= now) {
            settled.trust_at = None;
            self.memory.win(settled.kind, now, config);
            self.gate.settle();
            if self.probe.at.is_none() {
                self.probe.interval = config.probe().0;
            }
        }
        let in_use = *settled;
        if self.probe.at.is_none_or(|at| at > now) || !self.attempts.is_empty() {
            return;
        }
        if self.probe.queue.is_empty() {
            let memory = &self.memory;
            let better = config.transports().iter().copied();
            self.probe.queue = better
                .take_while(|kind| *kind != in_use.kind)
                .filter(|kind| memory.demoted_until(*kind, now).is_none())
                .collect();
        }
        let Some(kind) = self.probe.queue.front().copied() else {
            // Everything better is demoted. It is probed when that is over.
            self.probe.put_off(now, entropy);
            return;
        };
        match self.gate.permit(now) {
            Ok(permit) => {
                self.probe.queue.pop_front();
                self.start(now, config, kind, Some(in_use.attachment), permit);
            }
            Err(at) => self.probe.at = Some(at),
        }
    }
}
