use std::ops::{Deref, DerefMut};
use std::time::Instant;

use switchback_core::Message;
use switchback_session::{Allowance, Tally};

use super::Machine;

/// A machine, and its last answers to the questions that the short way has, where there is one link: how much
/// may be sent at once on its attachment, and whether what comes may be counted. Whoever changes the machine, but by
/// sending and receiving in this way, makes the answers void.
///
/// Time does not: an acknowledgement that has become due meanwhile goes when the machine is asked again,
/// which the janitor's timer sees to.
pub(crate) struct Asked {
    machine: Machine,
    allowance: Allowance,
    may_tally: bool,
}

impl From<Machine> for Asked {
    fn from(machine: Machine) -> Self {
        Self {
            machine,
            allowance: Allowance::NONE,
            may_tally: false,
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
        self.may_tally = false;
        &mut self.machine
    }
}

impl Asked {
    /// Asks how much may be sent, if that is not known. Returns whether it is anything.
    #[inline]
    pub(super) fn may_send(&mut self, now: Instant, attachment: u64) -> bool {
        if self.allowance.is_none() {
            self.allowance = self.machine.allowance(now, attachment);
        }
        !self.allowance.is_none()
    }

    /// Tells whether nothing is owed for sure, by the last answer: neither before messages nor by now.
    #[inline]
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        !self.allowance.is_none() && self.machine.ack_deadline().is_none_or(|at| now < at)
    }

    /// Takes a message off what may be sent. `true`: it may be sent at once, past the machine, which is to be
    /// told that it [was](Self::sent).
    #[inline]
    pub(super) fn takes(&mut self, now: Instant, attachment: u64, message: &Message) -> bool {
        let may_send = self.may_send(now, attachment);
        debug_assert!(!self.is_settled(now) || self.is_true(now, attachment));
        may_send && self.allowance.take(message)
    }

    /// Tells whether the machine would answer the same again. (Nothing counts what a plain connection sends.)
    fn is_true(&self, now: Instant, attachment: u64) -> bool {
        matches!(self.machine, Machine::Plain(_))
            || self.allowance == self.machine.allowance(now, attachment)
    }

    /// A message was sent that was allowed.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant, attachment: u64, message: Message) {
        self.machine.sent(now, attachment, message);
    }

    /// Tells whether what comes may be counted.
    #[inline]
    pub(super) fn may_tally(&mut self, attachment: u64) -> bool {
        debug_assert!(!self.may_tally || self.machine.may_tally(attachment));
        self.may_tally = self.may_tally || self.machine.may_tally(attachment);
        self.may_tally
    }

    /// Messages came that were counted.
    #[inline]
    pub(super) fn receive_tally(&mut self, now: Instant, attachment: u64, tally: Tally) {
        if !self.machine.receive_tally(now, attachment, tally) {
            self.allowance = Allowance::NONE;
        }
    }
}
