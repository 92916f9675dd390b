//! The server's end of a session.

mod ending;
mod event;
mod frames;
mod heartbeat;
mod numbers;
mod remains;
mod sending;
mod tokens;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use switchback_core::{CloseCode, CloseReason};

pub use event::{Refused, ServerEvent};
pub use remains::{Gone, Remains};

use crate::codes::{self, Meaning};
use crate::delivery::{Delivery, Link};
use crate::{ClosedBy, Config, Control, Entropy, Hello, Opened, SessionId, Token};
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
    /// Most often there is one.
    links: SmallVec<[Link; 1]>,
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
            links: SmallVec::new(),
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
        let event = self.events.pop_front();
        if self.events.is_empty() {
            // They are rare, and there are many sessions.
            self.events = VecDeque::new();
        }
        event
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
        self.links.shrink_to_fit();
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
        self.links.shrink_to_fit();
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
