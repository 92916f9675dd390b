//! Attachments and sessions that end: what comes after.

use std::time::Instant;

use switchback_core::{CloseCode, CloseReason};

use crate::{ClosedBy, Ended, Why};

use super::{Gone, ServerEvent, ServerSession};

impl ServerSession {
    /// An attachment is gone.
    pub(super) fn after_loss(&mut self, now: Instant) {
        self.choose_carrier();
        if self.links.is_empty() && self.client_leaves() {
            return self.conclude(self.delivery.outbox.is_empty());
        }
        if self.links.is_empty() && !self.parked {
            self.parked = true;
            self.park_until = Some(now + self.config.park());
            self.delivery.closing.suspend();
            self.events.push_back(ServerEvent::Parked);
        }
    }

    pub(super) fn extend_closing(&mut self, now: Instant) {
        if !self.links.is_empty() {
            let (timeout, max) = (self.config.close_timeout(), self.config.park());
            self.delivery.closing.extend(now, timeout, max);
        }
    }

    /// Ends the session if the closing handshake is complete. A client that leaves is not waited
    /// for.
    pub(super) fn conclude_if_complete(&mut self) {
        let carrier = self.links.iter().find(|l| Some(l.number()) == self.carrier);
        let Some(link) = carrier else { return };
        if self.delivery.is_complete(link) || (self.client_leaves() && self.delivery.is_said(link))
        {
            self.conclude(self.delivery.outbox.is_empty());
        }
    }

    /// Tells whether the client has closed and will not come back to hear the end of it: it is a
    /// page that was left, say.
    pub(super) fn client_leaves(&self) -> bool {
        let closing = &self.delivery.closing;
        let leaves = |reason: &CloseReason| reason.code() == CloseCode::GOING_AWAY;
        // An answer to this side's close repeats its code.
        let is_answer = !closing.by_peer() && closing.local().is_some_and(leaves);
        !is_answer && closing.peer().is_some_and(|close| leaves(&close.reason))
    }

    /// The closing handshake is complete, or goes no further.
    pub(super) fn conclude(&mut self, delivered: bool) {
        if let Some((reason, by)) = self.delivery.closing.outcome(delivered) {
            self.end(reason, by);
        }
    }

    /// The park or the close timeout is over.
    pub(super) fn expire(&mut self) {
        let (reason, by) = self.delivery.closing.outcome(false).unwrap_or_else(|| {
            let reason = CloseReason::new(CloseCode::TIMED_OUT, "the session was not resumed");
            (reason, ClosedBy::Expired)
        });
        self.end(reason, by);
    }

    pub(super) fn end(&mut self, reason: CloseReason, by: ClosedBy) {
        if self.closed {
            return;
        }
        self.drop_links(&reason, |_| true);
        self.carrier = None;
        self.park_until = None;
        self.gone = self.why_gone(by).map(|why| Gone {
            why,
            ended: Some(Ended {
                received: self.delivery.received(),
                sent: self.delivery.outbox.last(),
            }),
        });
        self.closed = true;
        self.events.push_back(ServerEvent::Closed { reason, by });
    }

    /// What a client that comes back is told, if it is to be remembered.
    fn why_gone(&self, by: ClosedBy) -> Option<Why> {
        match by {
            ClosedBy::ProtocolError => None,
            // It had everything of the client, who may not know.
            _ if self.delivery.closing.peer().is_some() => Some(Why::Closed),
            ClosedBy::Expired => Some(Why::Expired),
            // It was closing, and the client was away for as long as it might be.
            ClosedBy::TimedOut if self.parked => Some(Why::Expired),
            ClosedBy::Overflow => Some(Why::Overflow),
            _ => None,
        }
    }
}
