use std::time::{Duration, Instant};

use super::Tally;
use crate::Config;

/// When to acknowledge (`docs/protocol.md`, 3.4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckPolicy {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) delay: Duration,
}

impl From<&Config> for AckPolicy {
    fn from(config: &Config) -> Self {
        Self {
            messages: config.ack_messages(),
            bytes: config.ack_bytes(),
            delay: config.ack_delay(),
        }
    }
}

/// Which part of the messages or bytes that make an acknowledgement due makes one worthwhile that goes
/// along with messages: what the peer keeps is to fit into its caches, also if it has many of us.
const ALONG: u64 = 32;

/// Keeps account of what came since the last acknowledgement.
#[derive(Debug)]
pub(crate) struct Acks {
    policy: AckPolicy,
    messages: u64,
    bytes: u64,
    /// When the first unacknowledged message has waited long enough.
    at: Option<Instant>,
    due: bool,
    /// None is sent for now.
    held: bool,
}

impl Acks {
    pub(crate) fn new(policy: AckPolicy) -> Self {
        Self {
            policy,
            messages: 0,
            bytes: 0,
            at: None,
            due: false,
            held: false,
        }
    }

    pub(crate) fn set_policy(&mut self, policy: AckPolicy) {
        self.policy = policy;
    }

    /// Messages came. Those that were received before count too: that they are replayed means
    /// that the peer does not have the acknowledgement.
    #[inline]
    pub(crate) fn count(&mut self, now: Instant, tally: Tally) {
        self.messages += tally.messages;
        self.bytes += tally.bytes;
        if self.messages >= self.policy.messages || self.bytes >= self.policy.bytes {
            self.due = true;
        } else if self.at.is_none() && !self.due {
            self.at = Some(now + self.policy.delay);
        }
    }

    /// Tells whether anything came since the last acknowledgement.
    pub(crate) fn is_pending(&self) -> bool {
        self.messages > 0
    }

    #[inline]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.held && (self.due || self.at.is_some_and(|at| at <= now))
    }

    /// Tells whether an acknowledgement should go along with messages, which are to be sent anyway: long
    /// before it is due, so that the peer keeps little, and finds the memory for more in its caches.
    #[inline]
    pub(crate) fn is_worthwhile(&self) -> bool {
        let policy = &self.policy;
        let is_much =
            self.messages * ALONG >= policy.messages || self.bytes * ALONG >= policy.bytes;
        is_much && !self.held
    }

    /// Tells whether an acknowledgement should go before a message that is sent now.
    #[inline]
    pub(crate) fn goes_first(&self, now: Instant) -> bool {
        self.is_due(now) || self.is_worthwhile()
    }

    /// Withholds what is due, or lets it go.
    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// What is pending is to be acknowledged without a delay.
    pub(crate) fn hurry(&mut self) {
        self.due |= self.is_pending();
    }

    /// The last acknowledgement may be lost.
    pub(crate) fn owe(&mut self) {
        self.due = true;
    }

    /// Everything that came was acknowledged.
    pub(crate) fn done(&mut self) {
        let held = self.held;
        *self = Self::new(self.policy);
        self.held = held;
    }

    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.at.filter(|_| !self.due)
    }

    /// Turns a deadline that has passed into a debt, so that it does not wake the driver again
    /// while the transport has no room.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.at.is_some_and(|at| at <= now) {
            self.due = true;
        }
    }
}
