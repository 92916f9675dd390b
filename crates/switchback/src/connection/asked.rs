use std::ops::{Deref, DerefMut};
use std::time::Instant;

use switchback_core::Message;
use switchback_session::Allowance;

use super::Machine;

/// A machine, and what is left of its last answer to the question how much may be sent at once. Whoever
/// changes the machine, but by sending that, makes the answer void.
///
/// Time does not: an acknowledgement that has become due meanwhile goes when the machine is asked again,
/// which the janitor's timer sees to.
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
    /// Asks how much may be sent on an attachment.
    pub(super) fn ask(&mut self, now: Instant, attachment: u64) {
        self.allowance = self.machine.allowance(now, attachment);
    }

    /// Takes a message off the last answer. `true`: it may be sent at once, past the machine, which is to be
    /// told that it [was](Self::sent).
    #[inline]
    pub(super) fn takes(&mut self, message: &Message) -> bool {
        self.allowance.take(message)
    }

    /// The same, and asks again if the answer does not cover it.
    pub(super) fn takes_now(&mut self, now: Instant, attachment: u64, message: &Message) -> bool {
        self.takes(message) || {
            self.ask(now, attachment);
            self.takes(message)
        }
    }

    /// A message was sent that was allowed.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant, attachment: u64, message: Message) {
        self.machine.sent(now, attachment, message);
    }

    /// Tells whether nothing may be sent at once, by an answer to a question just asked.
    #[inline]
    pub(super) fn has_refused(&self) -> bool {
        self.allowance.is_none()
    }
}
