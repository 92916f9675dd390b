//! A session that is not told at once of what was sent in it.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use switchback_core::Run;
use switchback_session::{Allowance, Ledger, ServerEvent, ServerSession};

/// A session, and what was sent of broadcasts since it was told last: as drivers do, it is told before
/// anything else changes it.
#[derive(Debug)]
pub(super) struct Untold {
    session: ServerSession,
    attachment: u64,
    /// What is left of what may be sent there, while there is something to tell.
    allowance: Allowance,
    ledger: Ledger,
}

impl Untold {
    pub(super) fn new(session: ServerSession) -> Self {
        Self {
            session,
            attachment: 0,
            allowance: Allowance::NONE,
            ledger: Ledger::default(),
        }
    }

    /// Sends as much of a run as is allowed and taken, without a word to the session.
    pub(super) fn send_run(
        &mut self,
        now: Instant,
        attachment: u64,
        run: &mut Run,
        mut take: impl FnMut(&Run) -> bool,
    ) -> usize {
        let is_due = self.session.ack_deadline().is_some_and(|at| at <= now);
        if self.is_told() || is_due || self.attachment != attachment || self.ledger.is_full() {
            self.settle();
            self.attachment = attachment;
            self.allowance = self.session.allowance(now, attachment);
        }
        let mut sent = 0;
        let mut first = run.clone();
        first.truncate(self.allowance.covers(run));
        while !first.is_empty() && take(&first) {
            first.advance(1);
            run.advance(1);
            sent += 1;
        }
        self.allowance.spend(run, sent);
        self.ledger.enter(now, run, sent);
        sent
    }

    pub(super) fn is_told(&self) -> bool {
        self.ledger.is_empty()
    }

    /// To be told does not matter for that.
    pub(super) fn poll_event(&mut self) -> Option<ServerEvent> {
        self.session.poll_event()
    }

    pub(super) fn settle(&mut self) {
        if !self.is_told() {
            self.session.settle(self.attachment, &mut self.ledger);
        }
    }
}

impl Deref for Untold {
    type Target = ServerSession;

    fn deref(&self) -> &ServerSession {
        &self.session
    }
}

impl DerefMut for Untold {
    fn deref_mut(&mut self) -> &mut ServerSession {
        self.settle();
        &mut self.session
    }
}
