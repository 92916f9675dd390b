//! Attachments and sessions that end: what comes after.

use std::time::{Duration, Instant};

use switchback_core::{CloseCode, CloseReason, TransportKind};

use crate::codes::{self, Meaning};
use crate::delivery::Delivery;
use crate::{ClosedBy, SessionId, Why};

use super::choice::Command;
use super::{Action, ClientEvent, ClientSession, Failure, FailureWhy, Role};

impl ClientSession {
    /// Gives up the transport in use if nothing has come for too long.
    pub(super) fn drop_silent(&mut self, now: Instant, index: usize) {
        if self.links[index].link.is_alive(now, self.silence) {
            return;
        }
        let dead = self.links.remove(index);
        let attachment = dead.link.number();
        self.actions.push_back(Action::Cancel { attachment });
        let text = format!("nothing came for {:?}", self.silence);
        let failure = Failure::new(dead.kind, FailureWhy::Silent, text);
        self.lost(now, None, failure);
    }

    /// The transport in use has ended.
    pub(super) fn lost(&mut self, now: Instant, clean: Option<CloseReason>, failure: Failure) {
        let ended = self.current.take();
        self.cancel_retiring();
        let was_clean = clean.is_some();
        // What looks like somebody else may be this client's own `select`, on trial or late.
        let is_own = self.stray_select || self.on_trial().is_some();
        let is_own = |why: &CloseReason| is_own && why.code() == CloseCode::SUPERSEDED;
        if let Some(why) = clean.filter(|why| !is_own(why)) {
            if self.delivery.closing.peer().is_some() {
                // It has said its last and does not wait for more.
                return self.finish(now, Some(failure), false);
            }
            if why.code() == CloseCode::TIMED_OUT {
                self.choice.unanswered(now, &self.config, self.silence);
            }
            match codes::of_transport(why.code()) {
                Meaning::Final => {
                    let by = match why.code() {
                        CloseCode::SUPERSEDED => ClosedBy::Superseded,
                        _ => ClosedBy::Aborted,
                    };
                    return self.end(now, why, by);
                }
                Meaning::Later => self.choice.hint(now, None, true),
                Meaning::Back => {}
            }
        }
        if let Some(trial) = self.on_trial() {
            self.current = ended;
            return self.take_over(now, trial, true);
        }
        if let Some(delay) = failure.retry_after {
            self.choice.hint(now, Some(delay), false);
        }
        self.reconnect(now, was_clean, Some(failure));
    }

    pub(super) fn reconnect(&mut self, now: Instant, clean: bool, failure: Option<Failure>) {
        let (config, entropy) = (&self.config, &mut *self.entropy);
        let next = self.choice.died(now, config, entropy, clean);
        self.events.push_back(ClientEvent::Reconnecting {
            failures: failure.into_iter().collect(),
            delay: next.saturating_duration_since(now),
        });
        self.advance(now);
    }

    /// Another session takes the place of this one.
    pub(super) fn start_anew(&mut self, id: SessionId, why: Why) {
        let unacknowledged = self.delivery.outbox.drain();
        self.delivery = Delivery::new(self.config.session());
        self.id = id;
        self.token = None;
        self.stray_select = false;
        self.events.push_back(ClientEvent::StartedAnew {
            why,
            unacknowledged,
        });
    }

    /// Ends transports that have retired and that the server has not ended.
    pub(super) fn retire(&mut self, now: Instant) {
        let actions = &mut self.actions;
        self.links.retain(|a| {
            let over = matches!(a.role, Role::Retiring { until } if until <= now);
            if over {
                actions.push_back(Action::Close {
                    attachment: a.link.number(),
                    why: CloseCode::TRANSPORT_CHANGED.into(),
                });
            }
            !over
        });
    }

    pub(super) fn cancel_retiring(&mut self) {
        let actions = &mut self.actions;
        self.links.retain(|a| {
            let retiring = matches!(a.role, Role::Retiring { .. });
            if retiring {
                let attachment = a.link.number();
                actions.push_back(Action::Cancel { attachment });
            }
            !retiring
        });
    }

    pub(super) fn extend_closing(&mut self, now: Instant) {
        let session = self.config.session();
        let (timeout, max) = (session.close_timeout(), session.park());
        self.delivery.closing.extend(now, timeout, max);
    }

    /// Returns whether the server that ends the session wants the client back, and when.
    pub(super) fn come_back(&self) -> Option<(Option<Duration>, Meaning)> {
        let closing = &self.delivery.closing;
        let close = closing
            .peer()
            .filter(|_| closing.by_peer() && !self.leaving)?;
        let meaning = codes::of_session(close.reason.code());
        (close.reconnect.is_some() || meaning != Meaning::Final)
            .then_some((close.reconnect, meaning))
    }

    /// Ends the session if the closing handshake is complete.
    pub(super) fn conclude(&mut self, now: Instant) {
        if self.on_trial().is_some() {
            // The server may have moved there, and then wants to hear it there.
            return;
        }
        if let Some(index) = self.current.and_then(|current| self.position(current))
            && self.delivery.is_complete(&self.links[index].link)
        {
            let kind = self.links[index].kind;
            let failure = Failure::new(kind, FailureWhy::Closed, "the server closed the session");
            self.finish(now, Some(failure), true);
        }
    }

    /// The closing handshake is complete, or will not be any more. Ends the session, or begins
    /// another one if the server has asked for that.
    pub(super) fn finish(&mut self, now: Instant, failure: Option<Failure>, complete: bool) {
        let peer_closed = self.delivery.closing.peer().is_some();
        let delivered = complete || (peer_closed && self.delivery.outbox.is_empty());
        let Some((reason, by)) = self.delivery.closing.outcome(delivered) else {
            return;
        };
        let Some((delay, meaning)) = self.come_back() else {
            return self.end(now, reason, by);
        };
        self.choice.hint(now, delay, meaning == Meaning::Later);
        self.choice.cancel_attempts();
        self.obey(now);
        self.close_links(&reason);
        let id = SessionId::random(&mut *self.entropy);
        self.start_anew(id, Why::Ended);
        self.reconnect(now, true, failure);
    }

    pub(super) fn close_links(&mut self, why: &CloseReason) {
        self.current = None;
        for ended in self.links.drain(..) {
            let attachment = ended.link.number();
            // The session ends on the attachment in use: the server must not take the end of
            // another one, which may arrive first, for it.
            let why = match ended.role {
                Role::Current | Role::Trial => why.clone(),
                Role::Opening | Role::Retiring { .. } => CloseCode::TRANSPORT_CHANGED.into(),
            };
            self.actions.push_back(Action::Close { attachment, why });
        }
    }

    pub(super) fn end(&mut self, now: Instant, reason: CloseReason, by: ClosedBy) {
        if self.closed {
            return;
        }
        self.choice.stop(now, &self.config);
        while let Some(command) = self.choice.poll_command() {
            if let Command::Cancel { attachment } = command
                && self.on_trial() != Some(attachment)
            {
                self.links.retain(|a| a.link.number() != attachment);
                self.actions.push_back(Action::Cancel { attachment });
            }
        }
        self.close_links(&reason);
        self.closed = true;
        self.events.push_back(ClientEvent::Closed { reason, by });
    }
}

/// Describes the end of a transport.
pub(super) fn ending(kind: TransportKind, clean: Option<&CloseReason>) -> Failure {
    let Some(reason) = clean else {
        return Failure::new(kind, FailureWhy::Cut, "the transport was cut");
    };
    let why = match reason.code() {
        CloseCode::SUPERSEDED => FailureWhy::Superseded,
        CloseCode::UNKNOWN_SESSION => FailureWhy::Unknown,
        _ => FailureWhy::Closed,
    };
    Failure::new(kind, why, format!("closed by the server: {reason}"))
}
