use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Entropy;

use super::ClientConfig;

/// The longest hint of a server that is believed.
const MAX_HINT: Duration = Duration::from_secs(10 * 60);

/// After this many failures a server that restarts or is overloaded is asked again.
const LATER: u32 = 3;

/// The one gate through which every start of a transport goes.
///
/// It does two things. Between rounds it makes the client wait: a random time below a bound that
/// doubles with every failure ("full jitter"), not before what the server has asked for. And
/// whatever the rest of the machine does, it lets no more than so many starts through in any window
/// of time: a start needs a [`Permit`], and only the gate makes one.
#[derive(Debug)]
pub(super) struct Gate {
    base: Duration,
    max: Duration,
    limit: usize,
    window: Duration,
    /// The last starts, at most `limit`.
    starts: VecDeque<Instant>,
    failures: u32,
    /// What the server has asked for.
    not_before: Option<Instant>,
}

/// The permission to start one transport.
#[derive(Debug)]
pub(super) struct Permit(());

impl Gate {
    pub(super) fn new(config: &ClientConfig) -> Self {
        let (base, max) = config.backoff();
        let (limit, window) = config.starts();
        Self {
            base,
            max,
            limit,
            window,
            starts: VecDeque::with_capacity(limit.min(64)),
            failures: 0,
            not_before: None,
        }
    }

    /// Asks for one start. Refused, it tells when to ask again.
    pub(super) fn permit(&mut self, now: Instant) -> Result<Permit, Instant> {
        if self.starts.len() == self.limit
            && let Some(first) = self.starts.front()
        {
            let free = *first + self.window;
            if free > now {
                return Err(free);
            }
            self.starts.pop_front();
        }
        self.starts.push_back(now);
        Ok(Permit(()))
    }

    /// A transport died, or a round of tries failed: tells when the next round may begin.
    pub(super) fn next_round(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Instant {
        let bound = self
            .base
            .saturating_mul(1 << self.failures.min(20))
            .min(self.max);
        self.failures = self.failures.saturating_add(1);
        let round = now + jitter(bound, entropy);
        match self.not_before {
            // The jitter again, so that clients with the same hint do not come at once.
            Some(at) if at > round => at + jitter(self.base.min(bound), entropy),
            _ => round,
        }
    }

    /// The client has a reason to believe that the network is back: tells when the next round may
    /// begin instead.
    pub(super) fn wake(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Instant {
        let soon = now + jitter(self.base / 4, entropy);
        self.not_before.map_or(soon, |at| at.max(soon))
    }

    /// The server has asked to come back after so long.
    pub(super) fn hint(&mut self, now: Instant, delay: Duration) {
        let at = now + delay.min(MAX_HINT);
        self.not_before = Some(self.not_before.map_or(at, |before| before.max(at)));
    }

    /// The server restarts or is overloaded.
    pub(super) fn later(&mut self) {
        self.failures = self.failures.max(LATER);
    }

    /// A transport has lived for a while: the next failure is the first.
    pub(super) fn settle(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }
}

/// Returns a random duration between zero and the bound.
pub(super) fn jitter(bound: Duration, entropy: &mut dyn Entropy) -> Duration {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
    // The bias of the remainder is below 2^-20 for every bound that makes sense here.
    Duration::from_micros(u64::from_le_bytes(bytes) % micros.saturating_add(1).max(1))
}
