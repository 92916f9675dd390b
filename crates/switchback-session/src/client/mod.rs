//! The client's end of a session.

mod choice;
mod config;
mod event;
mod gate;
mod probation;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use switchback_core::{CloseCode, CloseReason, Message, TransportKind};

pub use config::ClientConfig;
pub use event::{Action, ClientEvent, Failure, FailureWhy};
pub use probation::Memory;

use crate::codes::{self, Meaning};
use crate::delivery::{AckPolicy, Delivery, Link};
use crate::{
    ClosedBy, Control, Entropy, Frame, Hello, Opened, ProtocolError, SessionId, Token, Why,
};
use choice::{Choice, Command};

/// The shortest silence that a server can ask its client to take for death.
const MIN_SILENCE: Duration = Duration::from_secs(1);

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
///   [`next_transmit`](Self::next_transmit) gives and confirm each with
///   [`transmitted`](Self::transmitted), then flush;
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
    silence: Duration,
    /// The application has closed while the server was asking to come back: it does not.
    leaving: bool,
    closed: bool,
    actions: VecDeque<Action>,
    events: VecDeque<ClientEvent>,
}

/// A transport that is open.
#[derive(Debug)]
struct Attachment {
    link: Link,
    kind: TransportKind,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Waits for `opened`.
    Opening,
    /// Selected: carries the session.
    Current,
    /// The one before; the server ends it when it gets `select`. Ended here at the time.
    Retiring { until: Instant },
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

    /// The transport of an attachment has opened: its handshake succeeded.
    pub fn opened(&mut self, now: Instant, attachment: u64) {
        let Some(kind) = self.choice.attempt(attachment) else {
            return;
        };
        if self.position(attachment).is_some() {
            return;
        }
        self.choice.opened(now, &self.config, attachment);
        self.links.push(Attachment {
            // Numbers and the check of silence begin with `opened`.
            link: Link::new(now, attachment, 1, 1, now),
            kind,
            role: Role::Opening,
        });
    }

    /// The transport of an attachment could not be opened.
    pub fn failed(&mut self, now: Instant, attachment: u64, failure: Failure) {
        self.links
            .retain(|a| a.link.number() != attachment || a.role != Role::Opening);
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
        let ended = self.links.remove(index);
        let failure = ending(ended.kind, clean.as_ref());
        match ended.role {
            Role::Opening => self.failed(now, attachment, failure),
            Role::Retiring { .. } => {}
            Role::Current => self.lost(now, clean, failure),
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
            Err(error) if is_opening => {
                self.reject(now, attachment, FailureWhy::Protocol, error.to_string());
                Ok(None)
            }
            Err(error) => {
                // The transport is the caller's to close: it has the error.
                self.links.retain(|a| a.link.number() != attachment);
                self.end(error.close_reason(), ClosedBy::ProtocolError);
                Err(error)
            }
            Ok(message) => Ok(message),
        }
    }

    /// Returns what to put onto the transport of an attachment next.
    pub fn next_transmit(&mut self, now: Instant, attachment: u64) -> Option<&Message> {
        let index = self.position(attachment)?;
        let is_carrier = self.current == Some(attachment);
        let link = &mut self.links[index].link;
        self.delivery.next_transmit(now, link, is_carrier)
    }

    /// The transport of an attachment took what [`next_transmit`](Self::next_transmit) gave last.
    pub fn transmitted(&mut self, now: Instant, attachment: u64) {
        if let Some(index) = self.position(attachment) {
            self.delivery.transmitted(now, &mut self.links[index].link);
            if self.delivery.closing.is_closing() {
                self.conclude(now);
            }
        }
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

    /// Tells whether [`send`](Self::send) would take a message. While the server ends a session and
    /// has asked to come back for a new one, it would not, but will again.
    pub fn is_writable(&self) -> bool {
        !self.closed && self.delivery.is_writable()
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
            return self.end(reason, ClosedBy::Local);
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
    pub fn abort(&mut self, reason: CloseReason, by: ClosedBy) {
        self.end(reason, by);
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
        let links = self.links.iter().filter_map(|a| match a.role {
            Role::Opening => None, // The choice watches over it.
            Role::Current => Some(a.link.check_at()),
            Role::Retiring { until } => Some(until),
        });
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
        if let Some(index) = self.current.and_then(|current| self.position(current))
            && !self.links[index].link.is_alive(now, self.silence)
        {
            let dead = self.links.remove(index);
            let attachment = dead.link.number();
            self.actions.push_back(Action::Cancel { attachment });
            let failure = Failure::new(
                dead.kind,
                FailureWhy::Silent,
                format!("nothing came for {:?}", self.silence),
            );
            self.lost(now, None, failure);
        }
        self.advance(now);
    }

    /// Returns the attachments whose transports are open.
    pub fn live(&self) -> impl Iterator<Item = u64> {
        self.links.iter().map(|a| a.link.number())
    }

    /// Returns the attachment that was selected: messages are sent on it.
    pub fn carrier(&self) -> Option<u64> {
        self.current
    }

    fn position(&self, attachment: u64) -> Option<usize> {
        self.links
            .iter()
            .position(|a| a.link.number() == attachment)
    }

    /// Runs the choice machine and does what it wants.
    fn advance(&mut self, now: Instant) {
        let (config, entropy) = (&self.config, &mut *self.entropy);
        self.choice.advance(now, config, entropy);
        self.obey(now);
    }

    fn obey(&mut self, now: Instant) {
        while let Some(command) = self.choice.poll_command() {
            match command {
                Command::Start {
                    attachment,
                    kind,
                    fence,
                } => {
                    let hello = self.hello(attachment, fence);
                    self.actions.push_back(Action::Start {
                        attachment,
                        kind,
                        hello,
                    });
                }
                Command::Cancel { attachment } => {
                    self.links.retain(|a| a.link.number() != attachment);
                    self.actions.push_back(Action::Cancel { attachment });
                }
                Command::RoundFailed { failures, next } => {
                    if self.token.is_none() && failures.iter().any(|f| f.why == FailureWhy::Unknown)
                    {
                        // Somebody has this id already. Nothing was sent under it.
                        self.id = SessionId::random(&mut *self.entropy);
                    }
                    self.events.push_back(ClientEvent::Reconnecting {
                        failures,
                        delay: next.saturating_duration_since(now),
                    });
                }
                Command::GiveUp { failures } => {
                    self.closed = true;
                    self.events.push_back(ClientEvent::GaveUp { failures });
                }
            }
        }
    }

    fn hello(&self, attachment: u64, fence: u64) -> Hello {
        let session = self.id;
        match &self.token {
            None => Hello::New {
                session,
                attachment,
                fence,
            },
            Some(token) => Hello::Resume {
                session,
                token: token.clone(),
                attachment,
                fence,
                received: self.delivery.received(),
            },
        }
    }

    /// Takes the first frame of an attachment, which must be `opened`.
    fn take_first(
        &mut self,
        now: Instant,
        index: usize,
        message: Message,
    ) -> Result<Option<Message>, ProtocolError> {
        match Frame::decode(message)? {
            Frame::Control(Control::Opened(opened)) => self.accepted(now, index, opened)?,
            Frame::Unknown => {}
            _ => return Err(ProtocolError::NotOpened),
        }
        Ok(None)
    }

    /// The server has accepted an attachment: decides for it, unless it leads to another session
    /// than the one that goes on elsewhere.
    fn accepted(
        &mut self,
        now: Instant,
        index: usize,
        opened: Opened,
    ) -> Result<(), ProtocolError> {
        let (attachment, kind) = (self.links[index].link.number(), self.links[index].kind);
        let goes_on = opened.session == self.id && (self.token.is_none() || opened.resumed);
        if !goes_on && self.token.is_none() {
            return Err(ProtocolError::BadControl("opened"));
        }
        if !goes_on && self.current.is_some() {
            // Another server, perhaps, that knows nothing of the session.
            let text = "the session is not known there";
            self.reject(now, attachment, FailureWhy::Unknown, text.to_owned());
            return Ok(());
        }
        if !goes_on && self.is_closing() {
            // The server has ended it already.
            self.finish(now, None, false);
            return Ok(());
        }
        if goes_on {
            let expected = self.delivery.received() + 1;
            if opened.next == 0 || opened.next > expected {
                let number = opened.next;
                return Err(ProtocolError::Gap { expected, number });
            }
            self.delivery.acknowledged(opened.received)?;
        } else {
            if opened.next != 1 || opened.received != 0 {
                return Err(ProtocolError::BadControl("opened"));
            }
            self.start_anew(opened.session, opened.why.unwrap_or(Why::Unknown));
        }
        let resumed = goes_on && self.token.is_some();
        self.token = Some(opened.token);
        self.silence = opened.timeout.max(MIN_SILENCE);
        self.delivery.set_ack_policy(AckPolicy {
            messages: opened.ack_messages.max(1),
            bytes: opened.ack_bytes.max(1),
            delay: opened.ack_delay,
        });
        self.settle(now, index, opened.next, opened.received + 1);
        let event = match self.current.replace(attachment) {
            Some(from) => ClientEvent::Moved {
                from,
                to: attachment,
                kind,
            },
            None => ClientEvent::Open {
                attachment,
                kind,
                resumed,
            },
        };
        self.events.push_back(event);
        let (config, entropy) = (&self.config, &mut *self.entropy);
        self.choice.settle(now, config, entropy, attachment);
        if self.delivery.closing.is_closing() {
            self.choice.stop_probing();
            self.extend_closing(now);
        }
        self.obey(now);
        Ok(())
    }

    /// Decides for an attachment; the one in use so far delivers what is under way on it.
    fn settle(&mut self, now: Instant, index: usize, rx: u64, tx: u64) {
        let until = now + self.config.session().close_timeout();
        for attachment in &mut self.links {
            if attachment.role == Role::Current {
                attachment.role = Role::Retiring { until };
            }
        }
        let chosen = &mut self.links[index];
        chosen.role = Role::Current;
        chosen.link.note_rx(now);
        chosen.link.set_positions(rx, tx);
        chosen.link.owe_select();
        // The first check of silence; it sets the next.
        chosen.link.is_alive(now, self.silence);
    }

    /// Gives up an attachment that has opened and is not what was wanted.
    fn reject(&mut self, now: Instant, attachment: u64, why: FailureWhy, text: String) {
        let Some(index) = self.position(attachment) else {
            return;
        };
        let kind = self.links.remove(index).kind;
        // A clean close, so that the server does not keep a session for nobody.
        self.actions.push_back(Action::Close {
            attachment,
            why: CloseReason::normal(),
        });
        self.failed(now, attachment, Failure::new(kind, why, text));
    }

    fn take_frame(
        &mut self,
        now: Instant,
        index: usize,
        message: Message,
    ) -> Result<Option<Message>, ProtocolError> {
        let link = &mut self.links[index].link;
        link.note_rx(now);
        match Frame::decode(message)? {
            Frame::Message(message) => {
                let message = self.delivery.receive(now, link, message)?;
                if message.is_some() {
                    self.extend_closing(now);
                }
                return Ok(message);
            }
            Frame::Control(Control::Ack(received)) => {
                self.delivery.acknowledged(received)?;
                self.extend_closing(now);
            }
            Frame::Control(Control::Seq(number)) => link.set_rx(number),
            Frame::Control(Control::Ping) => link.owe_pong(),
            Frame::Control(Control::Close(close)) => {
                let reason = close.reason.clone();
                if self.delivery.peer_closes(close)? {
                    self.choice.stop_probing();
                    self.events.push_back(ClientEvent::Closing { reason });
                    self.extend_closing(now);
                    self.obey(now);
                }
            }
            Frame::Unknown => {}
            Frame::Control(control @ (Control::Opened(_) | Control::Select(_) | Control::Pong)) => {
                return Err(ProtocolError::Misplaced(control.word()));
            }
        }
        if self.delivery.closing.is_closing() {
            self.conclude(now);
        }
        Ok(None)
    }

    /// The transport in use has ended.
    fn lost(&mut self, now: Instant, clean: Option<CloseReason>, failure: Failure) {
        self.current = None;
        self.cancel_retiring();
        let was_clean = clean.is_some();
        if let Some(why) = clean {
            if self.delivery.closing.peer().is_some() {
                // It has said its last and does not wait for more.
                return self.finish(now, Some(failure), false);
            }
            match codes::of_transport(why.code()) {
                Meaning::Final => {
                    let by = match why.code() {
                        CloseCode::SUPERSEDED => ClosedBy::Superseded,
                        _ => ClosedBy::Aborted,
                    };
                    return self.end(why, by);
                }
                Meaning::Later => self.choice.hint(now, None, true),
                Meaning::Back => {}
            }
        }
        if let Some(delay) = failure.retry_after {
            self.choice.hint(now, Some(delay), false);
        }
        self.reconnect(now, was_clean, Some(failure));
    }

    fn reconnect(&mut self, now: Instant, clean: bool, failure: Option<Failure>) {
        let (config, entropy) = (&self.config, &mut *self.entropy);
        let next = self.choice.died(now, config, entropy, clean);
        self.events.push_back(ClientEvent::Reconnecting {
            failures: failure.into_iter().collect(),
            delay: next.saturating_duration_since(now),
        });
        self.advance(now);
    }

    /// Another session takes the place of this one.
    fn start_anew(&mut self, id: SessionId, why: Why) {
        let unacknowledged = self.delivery.outbox.drain();
        self.delivery = Delivery::new(self.config.session());
        self.id = id;
        self.token = None;
        self.events.push_back(ClientEvent::StartedAnew {
            why,
            unacknowledged,
        });
    }

    /// Ends transports that have retired and that the server has not ended.
    fn retire(&mut self, now: Instant) {
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

    fn cancel_retiring(&mut self) {
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

    fn extend_closing(&mut self, now: Instant) {
        let session = self.config.session();
        let (timeout, max) = (session.close_timeout(), session.park());
        self.delivery.closing.extend(now, timeout, max);
    }

    /// Returns whether the server that ends the session wants the client back, and when.
    fn come_back(&self) -> Option<(Option<Duration>, Meaning)> {
        let closing = &self.delivery.closing;
        let close = closing
            .peer()
            .filter(|_| closing.by_peer() && !self.leaving)?;
        let meaning = codes::of_session(close.reason.code());
        (close.reconnect.is_some() || meaning != Meaning::Final)
            .then_some((close.reconnect, meaning))
    }

    /// Ends the session if the closing handshake is complete.
    fn conclude(&mut self, now: Instant) {
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
    fn finish(&mut self, now: Instant, failure: Option<Failure>, complete: bool) {
        let peer_closed = self.delivery.closing.peer().is_some();
        let delivered = complete || (peer_closed && self.delivery.outbox.is_empty());
        let Some((reason, by)) = self.delivery.closing.outcome(delivered) else {
            return;
        };
        let Some((delay, meaning)) = self.come_back() else {
            return self.end(reason, by);
        };
        self.choice.hint(now, delay, meaning == Meaning::Later);
        self.choice.cancel_attempts();
        self.obey(now);
        self.close_links(&reason);
        let id = SessionId::random(&mut *self.entropy);
        self.start_anew(id, Why::Ended);
        self.reconnect(now, true, failure);
    }

    fn close_links(&mut self, why: &CloseReason) {
        self.current = None;
        for ended in self.links.drain(..) {
            let attachment = ended.link.number();
            // The session ends on the attachment in use: the server must not take the end of
            // another one, which may arrive first, for it.
            let why = match ended.role {
                Role::Current => why.clone(),
                Role::Opening | Role::Retiring { .. } => CloseCode::TRANSPORT_CHANGED.into(),
            };
            self.actions.push_back(Action::Close { attachment, why });
        }
    }

    fn end(&mut self, reason: CloseReason, by: ClosedBy) {
        if self.closed {
            return;
        }
        self.choice.stop();
        while let Some(command) = self.choice.poll_command() {
            if let Command::Cancel { attachment } = command {
                self.links.retain(|a| a.link.number() != attachment);
                self.actions.push_back(Action::Cancel { attachment });
            }
        }
        self.close_links(&reason);
        self.closed = true;
        self.events.push_back(ClientEvent::Closed { reason, by });
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

/// Describes the end of a transport.
fn ending(kind: TransportKind, clean: Option<&CloseReason>) -> Failure {
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

#[cfg(test)]
mod tests;
