use std::time::{Duration, Instant};

use super::Tally;
use crate::Config;

/// When to acknowledge (`docs/protocol.md`, 3.4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckPolicy {
    /// What came makes an acknowledgement due from so much on.
    due: Tally,
    /// It makes one worthwhile that goes along with messages, from so much on.
    along: Tally,
    delay: Duration,
}

/// One of so many parts of what makes an acknowledgement due makes one worthwhile for a client: what a server
/// keeps is to fit into its caches, and it has many clients.
const PARTS: u64 = 128;

/// What makes one worthwhile for a server, or half of what makes it due if that is less. A client that does not
/// keep so much, and one message more, waits for acknowledgements in the middle of an exchange.
const KEPT: Tally = Tally {
    messages: 256,
    bytes: 64 * 1024,
};

impl AckPolicy {
    /// How a server acknowledges.
    pub(crate) fn of_server(config: &Config) -> Self {
        let due = Tally {
            messages: config.ack_messages(),
            bytes: config.ack_bytes(),
        };
        let half = due.part(2);
        let along = Tally {
            messages: half.messages.min(KEPT.messages),
            bytes: half.bytes.min(KEPT.bytes),
        };
        let delay = config.ack_delay();
        Self { due, along, delay }
    }

    /// How a client does that was told when it is due.
    pub(crate) fn of_client(messages: u64, bytes: u64, delay: Duration) -> Self {
        let due = Tally { messages, bytes };
        let along = due.part(PARTS);
        Self { due, along, delay }
    }
}

/// Keeps account of what came since the last acknowledgement.
#[derive(Debug)]
pub(crate) struct Acks {
    policy: AckPolicy,
    came: Tally,
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
            came: Tally::default(),
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
        self.came.messages += tally.messages;
        self.came.bytes += tally.bytes;
        if self.came.reaches(&self.policy.due) {
            self.due = true;
        } else if self.at.is_none() && !self.due {
            self.at = Some(now + self.policy.delay);
        }
    }

    /// Tells whether anything came since the last acknowledgement.
    pub(crate) fn is_pending(&self) -> bool {
        !self.came.is_empty()
    }

    #[inline]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.held && (self.due || self.at.is_some_and(|at| at <= now))
    }

    /// Tells whether an acknowledgement should go along with messages, which are to be sent anyway, before
    /// it is due: it is no write of its own there, and the peer keeps less.
    #[inline]
    pub(crate) fn is_worthwhile(&self) -> bool {
        self.came.reaches(&self.policy.along) && !self.held
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
