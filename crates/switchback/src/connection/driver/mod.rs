//! Moves messages between the application's queues, the machine and the transports.

mod decide;
mod links;
mod published;
mod short;

use std::collections::VecDeque;
use std::fmt;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use switchback_core::{
    CloseCode, CloseReason, Error, ErrorKind, Message, Transport, TransportKind,
};
use switchback_session::{ClosedBy, Entropy, Failure, Hello, Refused};

use self::links::Link;
use self::published::Published;
pub(super) use self::short::Received;
use super::asked::Asked;
use super::machine::{Machine, PLAIN};
use super::outbox::{OVERHEAD, Outbox, cost, drain};
use super::{Event, State};
use crate::client::Dials;

/// Moves messages between the application's queues, the machine and the transports.
///
/// It owns no task and no timer: whoever holds the lock calls [`drive`](Self::drive). All waiting
/// happens through the waker that it is given.
///
/// What the short way touches comes first: where thousands of connections take turns, each of them is
/// cold, and costs as much as the cache lines that are needed of it.
#[repr(C)]
pub(crate) struct Driver {
    /// A transport may have something to read.
    readable: bool,
    /// The transport had more to give at once when it was last read, the short way.
    buffered: bool,
    /// There is more inbound than the application should let wait.
    full: bool,
    /// The application went away.
    discarding: bool,
    /// The application has subscribed to a broadcast at some time.
    subscribed: bool,
    /// A transport was open at some time.
    pub(super) opened: bool,
    /// What the endpoint does about a change of the session.
    pub(super) park_change: Option<bool>,
    /// How much the machine was given since the last flush, in bytes and messages.
    deferred: usize,
    /// Most often there is one.
    links: SmallVec<[Link; 1]>,
    pub(super) machine: Asked,
    /// Goes behind what is staged, and before what is in the outbox.
    published: Published,
    /// Taken out of the outbox and not numbered yet.
    staged: VecDeque<Message>,
    /// What the application has not taken.
    inbound: VecDeque<Event>,
    inbound_bytes: usize,
    inbound_limit: usize,
    dials: Option<Box<Dials>>,
    state: State,
    /// How the connection ended, for [`Driver::take`]. `None` while it is open.
    end: Option<Result<(), Error>>,
    /// The failures of the first connect, once the machine gave up.
    pub(super) gave_up: Option<Vec<Failure>>,
    /// The application wants to close, as soon as the machine has taken all it sent, and at that
    /// time at the latest.
    closing: Option<(CloseReason, Instant)>,
    /// That time passed, and what the machine had not taken was dropped.
    fell_short: bool,
}

/// How many messages may wait for the application, whatever their size.
const MAX_INBOUND: usize = 256;
/// From how many on, beside the messages that a peer may send ahead, other events are not queued any
/// more.
const MAX_EVENTS: usize = 4 * MAX_INBOUND;
/// How much room an empty queue keeps after a burst.
const KEPT_INBOUND: usize = 32;
/// How many bytes of replies may wait for others that leave in the same write.
const DEFERRED: usize = 16 * 1024;
/// Rounds of one drive before it lets others run.
const MAX_ROUNDS: usize = 32;

/// How long a close waits for room for what the application has sent before.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

impl Driver {
    pub(super) fn new(machine: Machine, dials: Option<Dials>, inbound_limit: usize) -> Self {
        Self {
            machine: machine.into(),
            links: SmallVec::new(),
            dials: dials.map(Box::new),
            inbound: VecDeque::new(),
            inbound_bytes: 0,
            inbound_limit,
            full: false,
            discarding: false,
            subscribed: false,
            staged: VecDeque::new(),
            published: Published::default(),
            deferred: 0,
            readable: true,
            buffered: false,
            state: State::Connecting,
            end: None,
            opened: false,
            gave_up: None,
            park_change: None,
            closing: None,
            fell_short: false,
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Tells a connecting client that it is connected, or why it is not. One that was closed again
    /// at once was connected: it may have received something.
    pub(crate) fn connected(&mut self) -> Option<Result<(), (Vec<Failure>, CloseReason)>> {
        if self.opened {
            return Some(Ok(()));
        }
        match &self.state {
            State::Closed(why) => Some(Err((self.gave_up.take().unwrap_or_default(), why.clone()))),
            _ => None,
        }
    }

    /// Tells how a connection has ended that the application closes.
    pub(super) fn closed(&mut self) -> Option<Result<(), Error>> {
        if !self.is_done() {
            return None;
        }
        match &self.end {
            Some(Err(error)) if !error.is_closed() => {
                let text = if self.fell_short {
                    "the last messages found no room in time and were dropped"
                } else {
                    "the connection ended before the close was complete"
                };
                Some(Err(Error::with_message(error.kind(), text)))
            }
            _ => Some(Ok(())),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.machine.is_closed() && self.links.is_empty()
    }

    /// The transport that a message would take now.
    pub(super) fn transport(&self) -> Option<TransportKind> {
        match self.state {
            State::Open { transport } => Some(transport),
            _ => None,
        }
    }

    /// Adds the only transport of a plain connection.
    pub(super) fn plug_plain(&mut self, transport: Box<dyn Transport>) {
        self.state = State::Open {
            transport: transport.info().kind(),
        };
        self.plug(PLAIN, transport);
    }

    /// Adds the transport of an attachment that the session has accepted.
    pub(crate) fn plug(&mut self, attachment: u64, transport: Box<dyn Transport>) {
        self.readable = true;
        self.links.push(Link {
            attachment,
            tells: transport.has_buffered().is_some(),
            transport,
            closing: None,
            unflushed: false,
            failed: None,
        });
    }

    /// Tells whether a hello has a token of this session.
    pub(crate) fn knows(&self, hello: &Hello) -> bool {
        match (&*self.machine, hello) {
            (Machine::Server(session), Hello::Resume { token, .. }) => session.knows(token),
            _ => false,
        }
    }

    /// Lets a server session decide about an attachment.
    pub(crate) fn attach(
        &mut self,
        now: Instant,
        hello: &Hello,
        transport: Box<dyn Transport>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), (Refused, Box<dyn Transport>)> {
        let Machine::Server(session) = &mut *self.machine else {
            return Err((Refused::Unknown, transport));
        };
        match session.attach(now, hello, entropy) {
            Ok(attachment) => {
                self.plug(attachment, transport);
                Ok(())
            }
            Err(refused) => Err((refused, transport)),
        }
    }

    /// Gives the next event to the application. `Ready(Ok(None))`: closed cleanly.
    pub(super) fn take(&mut self) -> Poll<Result<Option<Event>, Error>> {
        if let Some(event) = self.inbound.pop_front() {
            if let Event::Message(message) = &event {
                self.inbound_bytes -= cost(message);
            }
            if self.inbound.is_empty() && self.inbound.capacity() > KEPT_INBOUND {
                self.inbound = VecDeque::new();
            }
            self.note_pace();
            return Poll::Ready(Ok(Some(event)));
        }
        match &mut self.end {
            None => Poll::Pending,
            Some(Ok(())) => Poll::Ready(Ok(None)),
            Some(end) => {
                let close = match &self.state {
                    State::Closed(close) => close.clone(),
                    _ => CloseReason::from(CloseCode::ABNORMAL),
                };
                // The cause is told once; afterwards the connection is just closed.
                let told = Error::new(ErrorKind::Closed).with_close(close);
                Poll::Ready(std::mem::replace(end, Err(told)).map(|()| None))
            }
        }
    }

    pub(super) fn has_inbound(&self) -> bool {
        !self.inbound.is_empty() || self.end.is_some()
    }

    /// Tells whether there may be something to read, or to flush.
    pub(super) fn is_behind(&self) -> bool {
        self.readable || self.deferred > 0
    }

    /// Tells whether something is to be flushed.
    #[inline]
    pub(super) fn has_deferred(&self) -> bool {
        self.deferred > 0
    }

    /// Takes a message past the outbox; gives it back where it is not its turn or there is no room.
    pub(super) fn send(&mut self, message: Message) -> Result<(), Message> {
        if !self.takes_messages() {
            return Err(message);
        }
        let len = message.len();
        self.machine.send(message)?;
        self.deferred += len + 1;
        Ok(())
    }

    /// Tells whether nothing is before what is in the outbox.
    fn is_unstaged(&self) -> bool {
        self.staged.is_empty() && self.published.is_empty()
    }

    fn takes_messages(&self) -> bool {
        self.is_unstaged() && self.closing.is_none() && self.end.is_none()
    }

    /// Tells whether writing may wait for more that the application sends: replies to several
    /// messages of one read leave together, with the last of them.
    pub(super) fn may_defer(&self) -> bool {
        !self.inbound.is_empty() && self.deferred < DEFERRED
    }

    /// When to drive at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let links = self
            .links
            .iter()
            .filter_map(|link| link.closing.as_ref().map(|c| c.1));
        let closing = self.closing.as_ref().map(|closing| closing.1);
        links.chain(closing).chain(self.machine.deadline()).min()
    }

    /// A transport may have called since the last time.
    pub(super) fn note_readable(&mut self, readable: bool) {
        self.readable |= readable;
    }

    /// Does everything that can be done now. `readable`: a transport has called since the last
    /// time. `due`: a timer may be due.
    pub(super) fn drive(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        outbox: &Outbox,
        readable: bool,
        due: bool,
    ) {
        self.note_readable(readable);
        // An application that does not read must not make its peer look silent.
        if due && self.machine.deadline().is_some_and(|at| at <= now) {
            if self.readable || self.is_overfull() {
                self.machine.excuse(now);
            }
            self.machine.handle_timeout(now);
        }
        for round in 0.. {
            self.stage(outbox);
            let mut again = self.decide(now, outbox);
            again |= self.dial(cx, now);
            again |= self.work_links(cx, now, outbox);
            again |= self.stow(now, outbox);
            again |= self.judge_lag(now);
            again |= self.machine.has_events();
            if !again && self.flush(cx) {
                break;
            }
            if round == MAX_ROUNDS {
                cx.waker().wake_by_ref();
                break;
            }
        }
    }

    /// Takes what others have sent, if nothing is before it.
    fn stage(&mut self, outbox: &Outbox) {
        if self.staged.is_empty() {
            self.published.take_sent(outbox, &mut self.staged);
        }
    }

    /// Keeps what no transport took, as far as there is room. Returns whether that changed anything.
    fn stow(&mut self, now: Instant, outbox: &Outbox) -> bool {
        let mut released = 0;
        if !self.staged.is_empty() {
            let mut messages = drain(&mut self.staged, &mut released);
            self.machine.send_from(&mut messages);
            drop(messages);
            if released > 0 {
                outbox.release(released);
            }
        }
        let mut stowed = released > 0;
        if self.closing.is_some() && self.staged.is_empty() {
            stowed |= self.stow_published();
        }
        let empty = self.is_unstaged() && !outbox.is_queued();
        let closing = self.closing.take_if(|(_, by)| empty || *by <= now);
        let closes = closing.is_some();
        if let Some((why, _)) = closing {
            self.fell_short = !empty;
            let why = if empty { why } else { falling_short(why) };
            self.machine.close(now, why, None);
            outbox.close(true);
            self.staged.clear();
            self.forget_published();
        }
        if self.subscribed && self.end.is_some() {
            self.forget_published();
        }
        // There is more to stage.
        let more = self.staged.is_empty() && self.published.is_sent_next(outbox);
        stowed || closes || more
    }

    /// The application is slow: the peer gets no acknowledgement, and so stops sending.
    fn is_full(&self) -> bool {
        self.inbound_bytes >= self.inbound_limit || self.inbound.len() >= MAX_INBOUND
    }

    /// Nothing more is read. It goes on beyond [full](Self::is_full) for what a peer may have sent
    /// by then, because the application may be waiting for what is behind that: for an
    /// acknowledgement which makes room for its reply.
    fn is_overfull(&self) -> bool {
        let (messages, bytes) = self.machine.window();
        self.inbound_bytes >= self.inbound_limit + bytes + messages * OVERHEAD
            || self.inbound.len() >= MAX_INBOUND + messages
    }

    /// Tells the machine whether the application keeps up.
    fn note_pace(&mut self) {
        let full = self.is_full();
        if full != self.full {
            self.full = full;
            self.machine.hold_acks(full);
            // What was withheld is to be sent.
            self.deferred += usize::from(!full);
        }
    }

    fn push(&mut self, event: Event) {
        // An application that never reads has the state to look at.
        let message = matches!(event, Event::Message(_));
        let most = MAX_EVENTS + self.machine.window().0;
        if self.discarding || (!message && self.inbound.len() >= most) {
            return;
        }
        if let Event::Message(message) = &event {
            self.inbound_bytes += cost(message);
        }
        self.inbound.push_back(event);
    }

    /// Delivers what was sent, then ends. The first reason counts.
    pub(super) fn close(&mut self, now: Instant, why: CloseReason, outbox: &Outbox) {
        self.remember();
        self.end_subscriptions(outbox);
        if self.end.is_none() {
            self.closing.get_or_insert((why, now + DRAIN_TIMEOUT));
        }
    }

    /// Ends a connection at once: it is in the way of others.
    pub(super) fn evict(&mut self, now: Instant, why: CloseReason) {
        match &mut *self.machine {
            Machine::Server(session) => session.abort(why, ClosedBy::Overflow),
            Machine::Client(session) => session.abort(now, why, ClosedBy::Overflow),
            Machine::Plain(plain) => {
                plain.give_up();
                plain.closed = true;
                self.finish(now, why, Some(ErrorKind::Full));
            }
        }
    }

    /// Forgets what the application has not taken: it went away.
    /// Whatever comes from now on is dropped, so that the end is never behind it.
    pub(super) fn discard_inbound(&mut self) {
        self.discarding = true;
        self.inbound = VecDeque::new();
        self.inbound_bytes = 0;
        self.note_pace();
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What the peer is told in place of a normal close when messages are missing before it.
fn falling_short(why: CloseReason) -> CloseReason {
    if why.code() == CloseCode::NORMAL {
        CloseReason::new(CloseCode::SLOW_CONSUMER, "the last messages found no room")
    } else {
        why
    }
}

#[cfg(test)]
mod tests;
