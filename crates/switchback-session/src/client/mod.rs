//! The client's end of a session.

mod attachment;
mod choice;
mod config;
mod ending;
mod event;
mod frames;
mod gate;
mod opening;
mod probation;
mod sending;
mod starting;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use switchback_core::CloseReason;

pub use config::ClientConfig;
pub use event::{Action, ClientEvent, Failure, FailureWhy};
pub use probation::Memory;

use crate::delivery::Delivery;
use crate::{ClosedBy, Entropy, SessionId, Token};
use attachment::{Attachment, Role};
use choice::Choice;
use ending::ending;

/// The client's end of a session: numbering, acknowledgements, replay, and the choice of the
/// transport, as a pure state machine.
///
/// # Driving it
///
/// After any call:
///
/// - do what all [`poll_action`](Self::poll_action) says, and tell the outcome of each
///   [`Action::Start`] by [`opened`](Self::opened) or [`failed`](Self::failed);
/// - pass on what [`poll_event`](Self::poll_event) gives;
/// - for each attachment in [`live`](Self::live) whose transport has room, hand over what
///   [`transmit`](Self::transmit) offers, then flush;
/// - call [`handle_timeout`](Self::handle_timeout) at [`deadline`](Self::deadline).
///
/// Calls for an attachment that is not live any more do nothing.
pub struct ClientSession {
    config: ClientConfig,
    entropy: Box<dyn Entropy + Send>,
    id: SessionId,
    /// The token of the attachment selected last; `None` before the first.
    token: Option<Token>,
    delivery: Delivery,
    choice: Choice,
    links: Vec<Attachment>,
    current: Option<u64>,
    /// An attachment has failed its trial: its `select` may be under way still, and end any other.
    stray_select: bool,
    silence: Duration,
    /// The application has closed while the server was asking to come back: it does not.
    leaving: bool,
    closed: bool,
    actions: VecDeque<Action>,
    events: VecDeque<ClientEvent>,
}

impl ClientSession {
    /// Makes a session that begins to connect at once. `memory` is what an earlier session for the
    /// same endpoint has learnt.
    pub fn new(
        now: Instant,
        config: ClientConfig,
        memory: Option<Memory>,
        mut entropy: Box<dyn Entropy + Send>,
    ) -> Self {
        let mut session = Self {
            id: SessionId::random(&mut *entropy),
            token: None,
            delivery: Delivery::new(config.session()),
            choice: Choice::new(now, &config, memory.unwrap_or_default()),
            links: Vec::new(),
            current: None,
            stray_select: false,
            silence: config.session().silence(),
            leaving: false,
            closed: false,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            config,
            entropy,
        };
        session.advance(now);
        session
    }

    /// Returns the id of the session that is open, or asked for.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Returns what was learnt of the endpoint so far.
    pub fn memory(&self) -> Memory {
        self.choice.memory().clone()
    }

    /// Returns the next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Tells whether [`poll_action`](Self::poll_action) or [`poll_event`](Self::poll_event) has
    /// something to give.
    #[inline]
    pub fn has_events(&self) -> bool {
        !self.actions.is_empty() || !self.events.is_empty()
    }

    /// The transport of an attachment has opened: its handshake succeeded.
    pub fn opened(&mut self, now: Instant, attachment: u64) {
        let Some(kind) = self.choice.attempt(attachment) else {
            return;
        };
        if self.position(attachment).is_some() {
            return;
        }
        self.choice.opened(now, &self.config, attachment);
        self.links.push(Attachment::new(now, attachment, kind));
    }

    /// The transport of an attachment could not be opened.
    pub fn failed(&mut self, now: Instant, attachment: u64, failure: Failure) {
        self.drop_attempt(attachment);
        let (config, entropy) = (&self.config, &mut *self.entropy);
        self.choice
            .failed(now, config, entropy, attachment, failure);
        self.obey(now);
    }

    /// The network has returned, or a page became visible: if the client waits to reconnect, it
    /// does so at once (through the gate).
    pub fn wake(&mut self, now: Instant) {
        let (config, entropy) = (&self.config, &mut *self.entropy);
        self.choice.wake(now, config, entropy);
        self.obey(now);
    }

    /// The transport of an attachment has ended: `clean` with what its peer closed it with, `None`
    /// when it was cut or failed.
    pub fn detach(&mut self, now: Instant, attachment: u64, clean: Option<CloseReason>) {
        let Some(index) = self.position(attachment) else {
            return;
        };
        let failure = ending(self.links[index].kind, clean.as_ref());
        match self.links[index].role {
            // Whatever it was closed with: the end of the one in use tells what it means.
            Role::Opening | Role::Trial => self.failed(now, attachment, failure),
            Role::Retiring { .. } => drop(self.links.remove(index)),
            Role::Current => {
                self.links.remove(index);
                self.lost(now, clean, failure);
            }
        }
    }

    /// Closes the session when everything sent was delivered. The server may send until it knows.
    ///
    /// Ends as [`ClosedBy::TimedOut`] when there is no progress for the close timeout, connected or
    /// not. A session that never was open and has nothing to deliver ends at once.
    pub fn close(&mut self, now: Instant, reason: CloseReason) {
        if self.closed {
            return;
        }
        if self.token.is_none() && self.delivery.outbox.is_empty() {
            return self.end(now, reason, ClosedBy::Local);
        }
        self.leaving = true;
        if self.delivery.closing.begin(reason, None) {
            self.choice.stop_probing();
            self.extend_closing(now);
            self.obey(now);
        }
    }

    /// Ends the session at once: closes all transports with `reason` and gives up what was not
    /// acknowledged.
    pub fn abort(&mut self, now: Instant, reason: CloseReason, by: ClosedBy) {
        self.end(now, reason, by);
    }

    /// Tells whether the session is being closed for good: nothing can be sent any more.
    pub fn is_closing(&self) -> bool {
        self.closed || (self.delivery.closing.is_closing() && self.come_back().is_none())
    }

    /// Tells whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). It moves when something happens, not
    /// with every message.
    pub fn deadline(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let ack = self.current.and_then(|_| self.delivery.deadline());
        let links = self.links.iter().filter_map(Attachment::deadline);
        links
            .chain(ack)
            .chain(self.delivery.closing.deadline())
            .chain(self.choice.deadline())
            .min()
    }

    /// Time has passed. May be called at any time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        if self.delivery.closing.deadline().is_some_and(|at| at <= now) {
            return self.finish(now, None, false);
        }
        self.delivery.handle_timeout(now);
        self.retire(now);
        if let Some(index) = self.current.and_then(|current| self.position(current)) {
            self.links[index].link.release_select(now);
            self.drop_silent(now, index);
        }
        self.advance(now);
    }

    /// Excuses the silence of all attachments: the driver did not read them, because the
    /// application does not take what has come. Call it before
    /// [`handle_timeout`](Self::handle_timeout), which then sends pings but judges nobody.
    pub fn excuse(&mut self, now: Instant) {
        for attached in &mut self.links {
            attached.link.excuse(now);
        }
    }

    /// Returns the attachments whose transports are open.
    pub fn live(&self) -> impl Iterator<Item = u64> {
        self.links.iter().map(|a| a.link.number())
    }

    /// Returns the attachment that was selected: messages are sent on it.
    pub fn carrier(&self) -> Option<u64> {
        self.current
    }

    #[inline]
    fn position(&self, attachment: u64) -> Option<usize> {
        self.links
            .iter()
            .position(|a| a.link.number() == attachment)
    }
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession")
            .field("id", &self.id)
            .field("delivery", &self.delivery)
            .field("choice", &self.choice)
            .field("links", &self.links)
            .field("current", &self.current)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
