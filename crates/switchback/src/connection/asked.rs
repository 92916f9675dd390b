use std::ops::{Deref, DerefMut};
use std::time::Instant;

use switchback_core::Message;
use switchback_session::Allowance;

use super::Machine;

/// A machine, and its last answer to the question how much may be sent at once. Whoever changes the
/// machine, but by sending that, makes the answer void.
pub(crate) struct Asked {
    machine: Machine,
    allowance: Allowance,
}

impl From<Machine> for Asked {
    fn from(machine: Machine) -> Self {
        Self {
            machine,
            allowance: Allowance::NONE,
        }
    }
}

impl Deref for Asked {
    type Target = Machine;

    #[inline]
    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DerefMut for Asked {
    #[inline]
    fn deref_mut(&mut self) -> &mut Machine {
        self.allowance = Allowance::NONE;
        &mut self.machine
    }
}

impl Asked {
    /// Tells whether a message may be sent on an attachment at once, past the machine, which is to be told
    /// that it [was](Self::sent).
    pub(super) fn allows(&mut self, now: Instant, attachment: u64, message: &Message) -> bool {
        self.has_allowed(message) || {
            self.ask(now, attachment);
            self.has_allowed(message)
        }
    }

    /// Asks how much may be sent.
    pub(super) fn ask(&mut self, now: Instant, attachment: u64) {
        self.allowance = self.machine.allowance(now, attachment);
    }

    /// Tells whether a message may be sent by the last answer.
    #[inline]
    pub(super) fn has_allowed(&mut self, message: &Message) -> bool {
        self.allowance.take(message)
    }

    /// A message was sent that was allowed.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant, attachment: u64, message: Message) {
        self.machine.sent(now, attachment, message);
    }

    /// Tells whether anything is to be transmitted, besides what waits for a timer.
    #[inline]
    pub(super) fn is_owing(&self, now: Instant, attachment: u64) -> bool {
        // Where messages may be sent, nothing goes before them.
        self.allowance.is_none() && self.machine.is_owing(now, attachment)
    }
}
