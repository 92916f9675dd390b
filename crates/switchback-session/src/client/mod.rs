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
mod starting;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use switchback_core::{CloseReason, Message, Run};

pub use config::ClientConfig;
pub use event::{Action, ClientEvent, Failure, FailureWhy};
pub use probation::Memory;

use crate::delivery::{Allowance, Delivery, Link, Tally};
use crate::{ClosedBy, Entropy, ProtocolError, SessionId, Token};
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

    /// Tells whether the messages that come on an attachment may be counted in a [`Tally`]; see
    /// [`ServerSession::may_tally`](crate::ServerSession::may_tally).
    #[inline]
    pub fn may_tally(&self, attachment: u64) -> bool {
        self.position(attachment).is_some_and(|index| {
            let Attachment { link, role, .. } = &self.links[index];
            *role != Role::Opening && self.delivery.may_tally(link)
        })
    }

    /// Messages came on an attachment where [they may be counted](Self::may_tally), and were passed on.
    #[inline]
    pub fn receive_tally(&mut self, now: Instant, attachment: u64, tally: Tally) {
        if let Some(index) = self.position(attachment)
            && !tally.is_empty()
        {
            let link = &mut self.links[index].link;
            self.delivery.receive_tally(now, link, tally);
        }
    }

    /// A message came from the transport of an attachment. Returns it if it is for the application:
    /// each once and in order, whichever attachments they come on.
    ///
    /// # Errors
    ///
    /// The server broke the protocol. The session has ended (`Closed` says so); close this
    /// transport with the error's [`close_reason`](ProtocolError::close_reason).
    pub fn receive(
        &mut self,
        now: Instant,
        attachment: u64,
        message: Message,
    ) -> Result<Option<Message>, ProtocolError> {
        let Some(index) = self.position(attachment) else {
            return Ok(None);
        };
        let is_opening = self.links[index].role == Role::Opening;
        let result = if is_opening {
            self.take_first(now, index, message)
        } else {
            self.take_frame(now, index, message)
        };
        match result {
            // Whoever answers a try in a strange way: other transports may do better.
            Err(error) if self.is_attempt(attachment) => {
                self.reject(now, attachment, FailureWhy::Protocol, error.to_string());
                Ok(None)
            }
            Err(error) => {
                // The transport is the caller's to close: it has the error.
                self.links.retain(|a| a.link.number() != attachment);
                self.end(now, error.close_reason(), ClosedBy::ProtocolError);
                Err(error)
            }
            Ok(message) => Ok(message),
        }
    }

    /// Offers to `take` what is to go onto the transport of an attachment, one message after the
    /// other, until nothing is left or `take` refuses one by `false`: that one is offered again the
    /// next time, unless something else has become more urgent.
    pub fn transmit(&mut self, now: Instant, attachment: u64, take: impl FnMut(&Message) -> bool) {
        self.transmit_from(now, attachment, &mut std::iter::empty(), take);
    }

    /// [Sends](Self::send) messages and [transmits](Self::transmit) them at once, in one go. Takes no
    /// more out of the iterator than there is room for, and nothing where the attachment does not
    /// carry messages: [`send_from`](Self::send_from) takes what is left as far as it can be kept.
    #[inline]
    pub fn transmit_from(
        &mut self,
        now: Instant,
        attachment: u64,
        messages: &mut impl Iterator<Item = Message>,
        take: impl FnMut(&Message) -> bool,
    ) {
        let Some(index) = self.position(attachment) else {
            return;
        };
        let is_carrier = self.current == Some(attachment);
        let link = &mut self.links[index].link;
        self.delivery
            .transmit(now, link, is_carrier, messages, take);
        if self.delivery.closing.is_closing() {
            self.conclude(now);
        }
    }

    /// Tells how many messages may be sent on an attachment at once: send each, then tell of it by
    /// [`sent`](Self::sent). That is what [`transmit_from`](Self::transmit_from) does with most of them, in a
    /// few steps. None where something else goes first, there is no room, or the attachment does not carry
    /// messages.
    ///
    /// It holds until anything but [`sent`](Self::sent) is called that may change the session. Ask again when
    /// the [`deadline`](Self::deadline) has passed: an acknowledgement may have become due.
    #[inline]
    pub fn allowance(&self, now: Instant, attachment: u64) -> Allowance {
        match self.position(attachment) {
            Some(index) if self.current == Some(attachment) => {
                self.delivery.allowance(now, &self.links[index].link)
            }
            _ => Allowance::NONE,
        }
    }

    /// Numbers a message that was sent on an attachment because it was [allowed](Self::allowance), and
    /// keeps it until it is acknowledged. On one that does not carry messages it does nothing.
    #[inline]
    pub fn sent(&mut self, now: Instant, attachment: u64, message: Message) {
        if let Some((delivery, link)) = self.carrying(attachment) {
            delivery.sent(now, link, message);
        } else {
            debug_assert!(false, "sent where it was not allowed");
        }
    }

    /// Offers to `take` as much of a run as may go on an attachment at once, which may be nothing. `take`
    /// takes messages out at the front. Those are taken out of the run; what is left has to wait.
    #[inline]
    pub fn transmit_run(
        &mut self,
        now: Instant,
        attachment: u64,
        run: &mut Run,
        take: impl FnOnce(&mut Run),
    ) {
        if let Some((delivery, link)) = self.carrying(attachment) {
            delivery.transmit_run(now, link, run, take);
        }
    }

    /// Returns what sends on an attachment, if that carries messages.
    #[inline]
    fn carrying(&mut self, attachment: u64) -> Option<(&mut Delivery, &mut Link)> {
        let index = self.position(attachment)?;
        let carries = self.current == Some(attachment);
        carries.then(|| (&mut self.delivery, &mut self.links[index].link))
    }

    /// Withholds acknowledgements, or lets them go again. The peer's replay buffer fills, and it stops
    /// sending: for a driver whose application is slow. It should go on reading all the same, as far
    /// as it can keep what comes, because what the application itself waits for, the acknowledgement
    /// of its messages, may be behind the peer's.
    pub fn hold_acks(&mut self, held: bool) {
        self.delivery.hold_acks(held);
    }

    /// Tells whether [`transmit`](Self::transmit) has anything to offer for an attachment: a message for
    /// which there was no room, or an acknowledgement for which the peer waits. For drivers that put
    /// off calling it.
    #[inline]
    pub fn is_owing(&self, now: Instant, attachment: u64) -> bool {
        self.position(attachment)
            .is_some_and(|index| self.delivery.is_owing(now, &self.links[index].link))
    }

    /// When an acknowledgement is due: the part of the [`deadline`](Self::deadline) that a message of
    /// the peer's application can move ahead.
    #[inline]
    pub fn ack_deadline(&self) -> Option<Instant> {
        self.delivery.deadline()
    }

    /// Numbers a message and keeps it until the server has acknowledged it, also while the client
    /// connects or reconnects.
    ///
    /// # Errors
    ///
    /// Gives the message back when the replay buffer is full or the session is closing: when
    /// [`is_writable`](Self::is_writable) is `false`.
    pub fn send(&mut self, message: Message) -> Result<(), Message> {
        if self.closed {
            return Err(message);
        }
        self.delivery.send(message)
    }

    /// [Sends](Self::send) messages for as long as there is room; takes no more out of the iterator.
    pub fn send_from(&mut self, messages: &mut impl Iterator<Item = Message>) {
        if !self.closed {
            self.delivery.send_from(messages);
        }
    }

    /// Tells whether [`send`](Self::send) would take a message. While the server ends a session and
    /// has asked to come back for a new one, it would not, but will again.
    pub fn is_writable(&self) -> bool {
        !self.closed && self.delivery.is_writable()
    }

    /// Returns how many messages, and how many bytes, may wait for their acknowledgement. The peer's
    /// buffer is as large unless it was configured otherwise.
    pub fn window(&self) -> (usize, usize) {
        self.delivery.outbox.window()
    }

    /// Returns how many messages, and how many bytes, wait for their acknowledgement.
    pub fn unacknowledged(&self) -> (usize, usize) {
        self.delivery.outbox.size()
    }

    /// Takes out what was not acknowledged when the session ended: every message that the server
    /// has not received, and perhaps some that it has. Empty before the end.
    pub fn take_unacknowledged(&mut self) -> Vec<Message> {
        if self.closed {
            self.delivery.outbox.drain()
        } else {
            Vec::new()
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
