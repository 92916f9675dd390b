use std::time::Instant;

use switchback_core::TransportKind;

use crate::{ClientConfig, Failure, FailureWhy};

/// A transport that was started and is not decided for.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) attachment: u64,
    pub(super) kind: TransportKind,
    /// When the transport opened.
    pub(super) opened: Option<Instant>,
    /// It was selected, beside one in use, and the server has not confirmed that yet.
    pub(super) on_trial: bool,
    pub(super) deadline: Instant,
}

impl Attempt {
    pub(super) fn new(
        now: Instant,
        config: &ClientConfig,
        attachment: u64,
        kind: TransportKind,
    ) -> Self {
        Self {
            attachment,
            kind,
            opened: None,
            on_trial: false,
            deadline: now + config.try_timeout(),
        }
    }

    /// It has opened, and is to deliver its first frame soon.
    pub(super) fn open(&mut self, now: Instant, config: &ClientConfig) {
        self.opened = Some(now);
        if has_canary(self.kind) {
            self.deadline = self.deadline.min(now + config.canary());
        }
    }

    /// It was selected, and has as long again until that is confirmed.
    pub(super) fn try_out(&mut self, now: Instant, config: &ClientConfig) {
        self.on_trial = true;
        self.deadline = now + config.try_timeout();
    }

    /// Describes what it means that its deadline has passed.
    pub(super) fn overdue(&self, config: &ClientConfig) -> Failure {
        let (why, text) = match self.opened {
            _ if self.on_trial => (
                FailureWhy::Buffered,
                format!(
                    "nothing of what was sent seems to have arrived within {:?}",
                    config.try_timeout()
                ),
            ),
            Some(_) if has_canary(self.kind) => (
                FailureWhy::Buffered,
                format!(
                    "opened, but delivered nothing within {:?}: something between buffers it",
                    config.canary()
                ),
            ),
            _ => (
                FailureWhy::TimedOut,
                format!("did not open within {:?}", config.try_timeout()),
            ),
        };
        Failure::new(self.kind, why, text)
    }
}

/// Long-polling delivers whole responses, which nothing can hold back for ever.
fn has_canary(kind: TransportKind) -> bool {
    kind != TransportKind::LongPoll
}
