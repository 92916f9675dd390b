use std::time::{Duration, Instant};

use switchback_core::TransportKind;

use crate::delivery::Link;

use super::ClientSession;

/// A transport that is open.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) link: Link,
    pub(super) kind: TransportKind,
    pub(super) role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Waits for `opened`.
    Opening,
    /// Selected beside the one in use, which goes on until the server confirms it: until then
    /// nobody knows whether what is sent here arrives.
    Trial,
    /// Selected: carries the session.
    Current,
    /// The one before; the server ends it when it gets `select`. Ended here at the time.
    Retiring { until: Instant },
}

impl Attachment {
    /// Its transport has opened, and `opened` is to come.
    pub(super) fn new(now: Instant, number: u64, kind: TransportKind) -> Self {
        Self {
            // Numbers and the check of silence begin with `opened`.
            link: Link::new(now, number, 1, 1, Duration::ZERO),
            kind,
            role: Role::Opening,
        }
    }

    /// When the session has to look at it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.role {
            Role::Opening | Role::Trial => None, // The choice watches over it.
            Role::Current => {
                let held = self.link.select_held();
                held.into_iter().chain([self.link.check_at()]).min()
            }
            Role::Retiring { until } => Some(until),
        }
    }
}

impl ClientSession {
    /// Tells whether an attachment is not decided for.
    pub(super) fn is_attempt(&self, attachment: u64) -> bool {
        self.position(attachment)
            .is_some_and(|index| matches!(self.links[index].role, Role::Opening | Role::Trial))
    }

    /// Returns the attachment on trial.
    pub(super) fn on_trial(&self) -> Option<u64> {
        let trial = self.links.iter().find(|a| a.role == Role::Trial)?;
        Some(trial.link.number())
    }

    /// Forgets the transport of an attachment that is not decided for.
    pub(super) fn drop_attempt(&mut self, attachment: u64) {
        if self.is_attempt(attachment) {
            if self.on_trial() == Some(attachment) {
                self.stray_select = true;
                // The acknowledgement in it may be lost.
                self.delivery.owe_ack();
            }
            self.links.retain(|a| a.link.number() != attachment);
        }
    }
}
