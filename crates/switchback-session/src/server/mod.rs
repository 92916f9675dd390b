//! The server's end of a session.

mod ending;
mod event;
mod heartbeat;
mod numbers;
mod remains;
mod tokens;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchback_core::{CloseCode, CloseReason, Message, Run};

pub use event::{Refused, ServerEvent};
pub use remains::{Gone, Remains};

use crate::codes::{self, Meaning};
use crate::delivery::{Allowance, Delivery, Link, Tally};
use crate::{
    ClosedBy, Config, Control, Entropy, Frame, Hello, Opened, ProtocolError, SessionId, Token,
};
use heartbeat::Heartbeat;
use numbers::Numbers;
use tokens::Tokens;

/// The server's end of a session: numbering, acknowledgements, replay, tokens, fencing, the choice
/// of the carrier, heartbeat and park, as a pure state machine.
///
/// # Driving it
///
/// The owner keeps the sessions by their id. For each opening request with a [`Hello`] it looks the
/// session up, or makes one ([`new`](Self::new), [`new_instead`](Self::new_instead)), asks
/// [`authorize`](Self::authorize) before it accepts the transport and [`attach`](Self::attach)es it
/// afterwards. Then, after any call:
///
/// - obey and pass on all [`poll_event`](Self::poll_event) gives;
/// - for each attachment in [`live`](Self::live) whose transport has room, hand over what
///   [`transmit`](Self::transmit) offers, then flush;
/// - call [`handle_timeout`](Self::handle_timeout) at [`deadline`](Self::deadline).
///
/// Calls for an attachment that is not live any more do nothing.
#[derive(Debug)]
// What every message touches comes first: of thousands of sessions each is cold.
#[repr(C)]
pub struct ServerSession {
    carrier: Option<u64>,
    links: Vec<Link>,
    events: VecDeque<ServerEvent>,
    delivery: Delivery,
    closed: bool,
    parked: bool,
    /// Answers the first attachment, a resume that failed.
    instead: Option<Gone>,
    /// Why a client that comes back finds it gone.
    gone: Option<Gone>,
    selected: Option<u64>,
    park_until: Option<Instant>,
    tokens: Tokens,
    numbers: Numbers,
    heartbeat: Heartbeat,
    id: SessionId,
    config: Arc<Config>,
}

impl ServerSession {
    /// Makes a session for a [`Hello::New`]. It waits for its first attachment as if it were
    /// parked.
    pub fn new(now: Instant, config: impl Into<Arc<Config>>, id: SessionId) -> Self {
        let config = config.into();
        Self {
            delivery: Delivery::new(&config),
            id,
            links: Vec::new(),
            tokens: Tokens::default(),
            numbers: Numbers::default(),
            heartbeat: Heartbeat::new(&config),
            selected: None,
            carrier: None,
            instead: None,
            park_until: Some(now + config.park()),
            parked: false,
            closed: false,
            gone: None,
            events: VecDeque::new(),
            config,
        }
    }

    /// Makes a session for a [`Hello::Resume`] that names no session of this server, or one that
    /// refused it as [`Refused::Unknown`]: with a new, random `id`. The next
    /// [`attach`](Self::attach), with that same hello, tells the client why: a [`Why`](crate::Why), or
    /// what [`Remains`] tell.
    pub fn new_instead(
        now: Instant,
        config: impl Into<Arc<Config>>,
        id: SessionId,
        gone: impl Into<Gone>,
    ) -> Self {
        let mut session = Self::new(now, config, id);
        session.instead = Some(gone.into());
        session
    }

    /// Returns the id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Tells whether [`attach`](Self::attach) would accept this hello. Changes nothing. (Whether
    /// the principal is the one that opened the session, the owner has to check.)
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn authorize(&self, hello: &Hello) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Unknown);
        }
        if self.instead.is_some() && hello.is_resume() {
            return Ok(());
        }
        let known = match hello {
            // A client that has a token resumes: a second `new` is somebody else's, or was
            // overtaken.
            Hello::New { .. } => !self.tokens.is_confirmed(),
            Hello::Resume { token, .. } => self.tokens.accept(token),
        };
        if !known || *hello.session() != self.id {
            return Err(Refused::Unknown);
        }
        if !self.numbers.accept(hello.attachment()) {
            return Err(Refused::Superseded);
        }
        match hello {
            Hello::Resume { received, .. } if *received > self.delivery.outbox.transmitted() => {
                Err(Refused::Invalid)
            }
            _ => Ok(()),
        }
    }

    /// Tells whether a token resumes this session, in constant time: who has another one is not to
    /// learn that the session exists.
    pub fn knows(&self, token: &Token) -> bool {
        self.tokens.accept(token)
    }

    /// Returns what tells a client that comes back why the session has ended, and how far it had come:
    /// that it was [closed](crate::Why::Closed), once the client's `close` had arrived, or was given up
    /// ([`Expired`](crate::Why::Expired), [`Overflow`](crate::Why::Overflow)). `None` before the end,
    /// and after any other.
    pub fn remains(&self) -> Option<Remains> {
        Some(Remains {
            gone: self.gone?,
            session: self.id,
            tokens: self.tokens.clone(),
        })
    }

    /// Adds an attachment, and queues `opened` on it. Returns its number.
    ///
    /// # Errors
    ///
    /// As [`authorize`](Self::authorize); nothing has changed then.
    pub fn attach(
        &mut self,
        now: Instant,
        hello: &Hello,
        entropy: &mut dyn Entropy,
    ) -> Result<u64, Refused> {
        self.authorize(hello)?;
        let number = hello.attachment();
        self.numbers.take(number, hello.fence());
        let instead = self.instead.take();
        if instead.is_none()
            && let Hello::Resume {
                token, received, ..
            } = hello
        {
            self.tokens.used(token, hello.fence());
            self.delivery.outbox.acknowledge(*received);
        }
        if hello.is_resume() && hello.fence() == number {
            // The client has lost it, even if this side has not noticed.
            self.mourn(now, |link| link.number() < number);
        }
        self.drop_links(&superseded(), |link| link.number() < hello.fence());
        self.make_room();

        let received = self.delivery.received();
        let next = self.delivery.outbox.first();
        let heartbeat = self.heartbeat.begin(now);
        let shortened = self.config.heartbeat() - heartbeat;
        let opened = Opened {
            session: self.id,
            token: self.tokens.issue(number, entropy),
            resumed: hello.is_resume() && instead.is_none(),
            why: instead.map(|gone| gone.why),
            ended: instead.and_then(|gone| gone.ended),
            received,
            next,
            heartbeat,
            timeout: self.config.silence().saturating_sub(shortened),
            park: self.config.park(),
            ack_messages: self.config.ack_messages(),
            ack_bytes: self.config.ack_bytes(),
            ack_delay: self.config.ack_delay(),
        };
        let mut link = Link::new(now, number, received + 1, next, heartbeat);
        link.owe_opened(Control::Opened(opened).encode());
        link.set_beside(hello.fence() < number);
        self.links.push(link);

        self.park_until = None;
        if std::mem::take(&mut self.parked) {
            self.events
                .push_back(ServerEvent::Resumed { attachment: number });
        }
        self.choose_carrier();
        self.extend_closing(now);
        Ok(number)
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// Tells whether [`poll_event`](Self::poll_event) has something to give.
    #[inline]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The transport of an attachment has ended: `clean` with what its peer closed it with, `None`
    /// when it was cut or failed.
    pub fn detach(&mut self, now: Instant, attachment: u64, clean: Option<CloseReason>) {
        let Some(index) = self.position(attachment) else {
            return;
        };
        if clean.is_none() {
            self.mourn(now, |link| link.number() == attachment);
        }
        self.links.remove(index);
        if let Some(why) = clean.filter(|why| why.code() != CloseCode::TRANSPORT_CHANGED) {
            if self.delivery.closing.peer().is_some() {
                // It has said its last and does not wait for more.
                let delivered = self.delivery.outbox.is_empty();
                return self.conclude(delivered);
            }
            let unused = self.links.is_empty() && !self.tokens.is_confirmed();
            let was_carrier = self.carrier == Some(attachment);
            let is_final = codes::of_transport(why.code()) == Meaning::Final;
            if unused || (was_carrier && is_final) {
                // A client that means to go on cuts the transport or sends another code.
                return self.end(why, ClosedBy::Aborted);
            }
        }
        self.after_loss(now);
    }

    /// Tells whether the messages that come on an attachment may be counted in a [`Tally`] and passed on,
    /// in place of giving each to [`receive`](Self::receive): what that does with most of them, in a few
    /// steps. It holds until anything but [`receive_tally`](Self::receive_tally) is called. What the
    /// tally does not count goes to [`receive`](Self::receive), after the tally.
    #[inline]
    pub fn may_tally(&self, attachment: u64) -> bool {
        self.position(attachment)
            .is_some_and(|index| self.delivery.may_tally(&self.links[index]))
    }

    /// Messages came on an attachment where [they may be counted](Self::may_tally), and were passed on.
    #[inline]
    pub fn receive_tally(&mut self, now: Instant, attachment: u64, tally: Tally) {
        if let Some(index) = self.position(attachment)
            && !tally.is_empty()
        {
            self.delivery
                .receive_tally(now, &mut self.links[index], tally);
        }
    }

    /// A message came from the transport of an attachment. Returns it if it is for the application:
    /// each once and in order, whichever attachments they come on.
    ///
    /// # Errors
    ///
    /// The client broke the protocol. The session has ended (`Closed` says so); close this
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
        let result = self.take_frame(now, index, message);
        if let Err(error) = &result {
            // The transport is the caller's to close: it has the error.
            if let Some(index) = self.position(attachment) {
                self.links.remove(index);
            }
            self.end(error.close_reason(), ClosedBy::ProtocolError);
        }
        result
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
        let is_carrier = self.carrier == Some(attachment);
        let link = &mut self.links[index];
        self.delivery
            .transmit(now, link, is_carrier, messages, take);
        if self.delivery.closing.is_closing() {
            self.conclude_if_complete();
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
            Some(index) if self.carrier == Some(attachment) => {
                self.delivery.allowance(now, &self.links[index])
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
        let carries = self.carrier == Some(attachment);
        carries.then(|| (&mut self.delivery, &mut self.links[index]))
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
            .is_some_and(|index| self.delivery.is_owing(now, &self.links[index]))
    }

    /// When an acknowledgement is due: the part of the [`deadline`](Self::deadline) that a message of
    /// the peer's application can move ahead.
    #[inline]
    pub fn ack_deadline(&self) -> Option<Instant> {
        self.delivery.deadline()
    }

    /// Numbers a message and keeps it until the client has acknowledged it, also while the session
    /// is parked.
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

    /// Tells whether [`send`](Self::send) would take a message.
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

    /// Takes out what was not acknowledged when the session ended: every message that the client
    /// has not received, and perhaps some that it has. Empty before the end.
    pub fn take_unacknowledged(&mut self) -> Vec<Message> {
        if self.closed {
            self.delivery.outbox.drain()
        } else {
            Vec::new()
        }
    }

    /// Closes the session when everything sent was delivered. The client may send until it knows.
    /// With `reconnect` it is asked to come back after so long, for a new session.
    ///
    /// Ends as [`ClosedBy::TimedOut`] when the client is attached and there is no progress for the
    /// close timeout, or when it does not come back before the park ends.
    pub fn close(&mut self, now: Instant, reason: CloseReason, reconnect: Option<Duration>) {
        if self.closed || !self.delivery.closing.begin(reason, reconnect) {
            return;
        }
        self.extend_closing(now);
    }

    /// Ends the session at once: closes all transports with `reason` and gives up what was not
    /// acknowledged.
    pub fn abort(&mut self, reason: CloseReason, by: ClosedBy) {
        self.end(reason, by);
    }

    /// Tells whether either side has begun to close the session: nothing can be sent any more.
    pub fn is_closing(&self) -> bool {
        self.closed || self.delivery.closing.is_closing()
    }

    /// Tells whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Tells whether the session waits for a resume.
    pub fn is_parked(&self) -> bool {
        self.parked
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). It moves when something happens, not
    /// with every message.
    pub fn deadline(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let ack = self.carrier.and_then(|_| self.delivery.deadline());
        let checks = self.links.iter().map(Link::check_at).min();
        let closing = self.delivery.closing.deadline();
        [self.park_until, ack, checks, closing]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed. May be called at any time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(self.park_until) || passed(self.delivery.closing.deadline()) {
            return self.expire();
        }
        self.delivery.handle_timeout(now);
        let answer = self.config.pong_timeout();
        let mut dead = Vec::new();
        for link in &mut self.links {
            if link.check_at() <= now && !link.heartbeat(now, answer) {
                dead.push(link.number());
            }
        }
        if !dead.is_empty() {
            let why = CloseReason::new(CloseCode::TIMED_OUT, "the ping was not answered in time");
            self.mourn(now, |link| dead.contains(&link.number()));
            self.drop_links(&why, |link| dead.contains(&link.number()));
            self.after_loss(now);
        }
    }

    /// Excuses the silence of all attachments: the driver did not read them, because the
    /// application does not take what has come. Call it before
    /// [`handle_timeout`](Self::handle_timeout), which then sends pings but judges nobody.
    pub fn excuse(&mut self, now: Instant) {
        for link in &mut self.links {
            link.excuse(now);
        }
    }

    /// Returns the attachments.
    pub fn live(&self) -> impl Iterator<Item = u64> {
        self.links.iter().map(Link::number)
    }

    /// Returns the attachment on which messages are sent.
    pub fn carrier(&self) -> Option<u64> {
        self.carrier
    }

    #[inline]
    fn position(&self, attachment: u64) -> Option<usize> {
        self.links
            .iter()
            .position(|link| link.number() == attachment)
    }

    fn take_frame(
        &mut self,
        now: Instant,
        index: usize,
        message: Message,
    ) -> Result<Option<Message>, ProtocolError> {
        let link = &mut self.links[index];
        link.note_rx(now);
        match Frame::decode(message)? {
            Frame::Message(message) => {
                let is_new = self.delivery.receive(now, link, message.len())?;
                if is_new && self.delivery.closing.is_closing() {
                    self.extend_closing(now);
                }
                return Ok(is_new.then_some(message));
            }
            Frame::Control(Control::Ack(received)) => {
                self.delivery.acknowledged(received)?;
                self.extend_closing(now);
            }
            Frame::Control(Control::Select(received)) => {
                self.delivery.acknowledged(received)?;
                link.owe_selected();
                let number = link.number();
                self.select(number);
            }
            Frame::Control(Control::Seq(number)) => link.set_rx(number),
            Frame::Control(Control::Close(close)) => {
                let reason = close.reason.clone();
                if self.delivery.peer_closes(close)? {
                    self.events.push_back(ServerEvent::Closing { reason });
                    self.extend_closing(now);
                }
            }
            Frame::Control(Control::Pong) | Frame::Unknown => {}
            Frame::Control(
                control @ (Control::Opened(_) | Control::Selected(_) | Control::Ping),
            ) => {
                return Err(ProtocolError::Misplaced(control.word()));
            }
        }
        if self.delivery.closing.is_closing() {
            self.conclude_if_complete();
        }
        Ok(None)
    }

    /// The client decided for an attachment: all others end, and none with a lower number comes
    /// any more (`docs/protocol.md`, 3.5).
    fn select(&mut self, number: u64) {
        self.selected = Some(number);
        self.tokens.selected(number);
        self.numbers.raise(number + 1);
        self.drop_links(&superseded(), |link| link.number() != number);
        self.choose_carrier();
    }

    /// Learns from the death of the carrier, if it is among these. (The others of a race or a
    /// hand-over are given up, or are silent because they do not work.)
    fn mourn(&mut self, now: Instant, dead: impl Fn(&Link) -> bool) {
        let carrier = self.links.iter().find(|l| Some(l.number()) == self.carrier);
        if let Some(link) = carrier.filter(|link| dead(link)) {
            self.heartbeat.died(now, link);
        }
    }

    /// Makes room for one more attachment. Whoever has to go may come back (1013): it could be the
    /// one that the client has just decided for.
    fn make_room(&mut self) {
        while self.links.len() >= self.config.max_attachments() {
            let spare = |link: &&Link| Some(link.number()) != self.carrier;
            let Some(oldest) = self.links.iter().filter(spare).map(Link::number).min() else {
                return;
            };
            let why = CloseReason::new(CloseCode::TRY_AGAIN_LATER, "too many attachments");
            self.drop_links(&why, |link| link.number() == oldest);
        }
    }

    fn drop_links(&mut self, why: &CloseReason, which: impl Fn(&Link) -> bool) {
        let events = &mut self.events;
        self.links.retain(|link| {
            let goes = which(link);
            if goes {
                events.push_back(ServerEvent::Drop {
                    attachment: link.number(),
                    why: why.clone(),
                });
            }
            !goes
        });
    }

    /// The carrier is the attachment last selected while it lives, else the newest.
    fn choose_carrier(&mut self) {
        let selected = self.selected.filter(|s| self.position(*s).is_some());
        let carrier = selected.or_else(|| self.links.iter().map(Link::number).max());
        if carrier != self.carrier {
            self.carrier = carrier;
            if let Some(attachment) = carrier {
                self.events.push_back(ServerEvent::Carrier { attachment });
            }
        }
    }
}

fn superseded() -> CloseReason {
    Refused::Superseded.close_reason()
}

#[cfg(test)]
mod tests;
