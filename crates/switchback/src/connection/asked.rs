use std::ops::{Deref, DerefMut};
use std::time::Instant;

use switchback_core::{Message, Run};
use switchback_session::{Allowance, Ledger, Tally};

use super::Machine;

/// A machine, its last answers to the questions that the short way has, where there is one link, and what it
/// was not told of yet. Where thousands of connections take turns, the machine of each is cold: what is
/// published goes out without it.
///
/// Whoever changes the machine, but by sending and receiving in this way, makes the answers void, and has it
/// told before.
///
/// Time does not make them void: an acknowledgement that has become due meanwhile goes when the machine is
/// asked again, which the janitor's timer sees to.
#[repr(C)]
pub(crate) struct Asked {
    /// How much may be sent at once on the attachment.
    allowance: Allowance,
    /// By the last answer, which holds, nothing is to be decided.
    is_calm: bool,
    /// By the last answer, which holds, what comes may be counted.
    may_tally: bool,
    /// When an acknowledgement is due, where anything may be sent.
    ack_at: Option<Instant>,
    attachment: u64,
    machine: Machine,
    /// What was sent of broadcasts.
    untold: Ledger,
}

impl From<Machine> for Asked {
    fn from(machine: Machine) -> Self {
        Self {
            allowance: Allowance::NONE,
            is_calm: false,
            may_tally: false,
            ack_at: None,
            attachment: 0,
            untold: Ledger::default(),
            machine,
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
        self.tell();
        self.allowance = Allowance::NONE;
        self.is_calm = false;
        self.may_tally = false;
        &mut self.machine
    }
}

impl Asked {
    /// Asks how much may be sent, if that is not known. Returns whether it is anything.
    #[inline]
    pub(super) fn may_send(&mut self, now: Instant, attachment: u64) -> bool {
        if self.allowance.is_none() || self.attachment != attachment {
            return self.ask(now, attachment);
        }
        true
    }

    fn ask(&mut self, now: Instant, attachment: u64) -> bool {
        self.tell();
        self.allowance = self.machine.allowance(now, attachment);
        self.ack_at = self.machine.ack_deadline();
        self.attachment = attachment;
        !self.allowance.is_none()
    }

    /// When an acknowledgement is due.
    #[inline]
    pub(super) fn ack_deadline(&self) -> Option<Instant> {
        if self.allowance.is_none() {
            self.machine.ack_deadline()
        } else {
            self.ack_at
        }
    }

    /// Tells whether nothing is owed for sure, by the last answer: neither before messages nor by now.
    #[inline]
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        !self.allowance.is_none() && self.ack_at.is_none_or(|at| now < at)
    }

    /// Asks whether there is something to decide, if that is not known.
    #[inline]
    pub(super) fn has_events(&mut self) -> bool {
        debug_assert!(!self.is_calm || !self.machine.has_events());
        self.is_calm = self.is_calm || !self.machine.has_events();
        !self.is_calm
    }

    /// Takes a message off what may be sent. `true`: it may be sent at once, past the machine, which is to be
    /// told that it [was](Self::sent).
    #[inline]
    pub(super) fn takes(&mut self, now: Instant, attachment: u64, message: &Message) -> bool {
        let may_send = self.may_send(now, attachment);
        self.tell();
        debug_assert!(!self.is_settled(now) || self.is_true(now, attachment));
        may_send && self.allowance.take(message)
    }

    /// Tells whether the machine would answer the same again. (Nothing counts what a plain connection sends.)
    fn is_true(&self, now: Instant, attachment: u64) -> bool {
        let asked = (self.allowance, self.ack_at);
        matches!(self.machine, Machine::Plain(_))
            || asked
                == (
                    self.machine.allowance(now, attachment),
                    self.machine.ack_deadline(),
                )
    }

    /// A message was sent that was allowed.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant, attachment: u64, message: Message) {
        self.machine.sent(now, attachment, message);
    }

    /// Returns how many messages of a run may be sent at once, from the first on. The machine is to be told of
    /// those that [were](Self::sent_run).
    #[inline]
    pub(super) fn covers(&mut self, now: Instant, attachment: u64, run: &Run) -> usize {
        match (self.may_send(now, attachment), &self.machine) {
            (false, _) => 0,
            // Nothing is escaped there, nor counted.
            (true, Machine::Plain(_)) => run.len(),
            (true, _) => self.allowance.covers(run),
        }
    }

    /// So many messages were sent that were covered: those that were taken out of the run last.
    #[inline]
    pub(super) fn sent_run(&mut self, now: Instant, run: &Run, count: usize) {
        if !matches!(self.machine, Machine::Plain(_)) {
            self.allowance.spend(run, count);
            self.untold.enter(now, run, count);
            if self.untold.is_full() {
                self.tell();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_told(&self) -> bool {
        self.untold.is_empty()
    }

    /// Tells the machine what was sent.
    #[inline]
    fn tell(&mut self) {
        if !self.untold.is_empty() {
            self.machine.settle(self.attachment, &mut self.untold);
        }
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
        self.tell();
        if self.machine.receive_tally(now, attachment, tally) {
            self.ack_at = self.machine.ack_deadline();
        } else {
            self.allowance = Allowance::NONE;
        }
    }
}
