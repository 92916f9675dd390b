//! Rounds: every kind of transport in order, each with a head start over the next.

use std::time::Instant;

use crate::{ClientConfig, Entropy, FailureWhy};

use super::{Choice, Command, Phase};

impl Choice {
    pub(super) fn race(&mut self, now: Instant, config: &ClientConfig, entropy: &mut dyn Entropy) {
        while let Phase::Racing { queue, next_at } = &mut self.phase
            && *next_at <= now
            && let Some(kind) = queue.pop_front()
        {
            if self.attempts.iter().any(|attempt| attempt.kind == kind) {
                continue; // A probe that was under way when the transport died.
            }
            match self.gate.permit(now) {
                Ok(permit) => {
                    *next_at = now + config.head_start();
                    self.start(now, config, kind, None, permit);
                }
                Err(at) => {
                    queue.push_front(kind);
                    *next_at = at;
                }
            }
        }
        if let Phase::Racing { queue, .. } = &self.phase
            && queue.is_empty()
            && self.attempts.is_empty()
        {
            self.round_failed(now, config, entropy);
        }
    }

    fn round_failed(&mut self, now: Instant, config: &ClientConfig, entropy: &mut dyn Entropy) {
        let failures = std::mem::take(&mut self.failures);
        self.failed_rounds = self.failed_rounds.saturating_add(1);
        let enough = config
            .give_up_after()
            .is_some_and(|n| self.failed_rounds >= n);
        let denied = !failures.is_empty() && failures.iter().all(|f| f.why == FailureWhy::Denied);
        if !self.succeeded && (enough || denied) {
            self.phase = Phase::Stopped;
            self.commands.push_back(Command::GiveUp { failures });
        } else {
            let next = self.wait(now, entropy);
            self.commands
                .push_back(Command::RoundFailed { failures, next });
        }
    }
}
