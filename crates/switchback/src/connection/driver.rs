use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Instant;

use switchback_core::{
    CloseCode, CloseReason, Error, ErrorKind, Message, Transport, TransportKind,
};
use switchback_session::{Action, ClientEvent, ClosedBy, Hello, ServerEvent};

use super::machine::{Machine, PLAIN};
use super::outbox::{OVERHEAD, Outbox};
use super::{Event, State};
use crate::client::{Dialled, Dials};

/// Moves messages between the application's queues, the machine and the transports.
///
/// It owns no task and no timer: whoever holds the lock calls [`drive`](Self::drive). All waiting
/// happens through the waker that it is given.
pub(crate) struct Driver {
    pub(super) machine: Machine,
    links: Vec<Link>,
    dials: Option<Dials>,
    inbound: VecDeque<Event>,
    inbound_bytes: usize,
    inbound_limit: usize,
    state: State,
    /// How the connection ended, for [`Driver::take`]. `None` while it is open.
    end: Option<Result<(), Error>>,
    /// The failures of the first connect, once the machine gave up.
    pub(super) gave_up: Option<Vec<switchback_session::Failure>>,
    /// What the endpoint does about a change of the session.
    pub(super) park_change: Option<bool>,
    /// The application wants to close, as soon as the machine has taken all it sent, and at that
    /// time at the latest.
    closing: Option<(CloseReason, Instant)>,
}

/// One transport of the connection.
struct Link {
    attachment: u64,
    transport: Box<dyn Transport>,
    /// Being closed: reads and sends nothing any more.
    closing: Option<(CloseReason, Instant)>,
    unflushed: bool,
}

/// How many messages may wait for the application, whatever their size.
const MAX_INBOUND: usize = 256;
/// Rounds of one drive before it lets others run.
const MAX_ROUNDS: usize = 32;

impl Driver {
    pub(super) fn new(machine: Machine, dials: Option<Dials>, inbound_limit: usize) -> Self {
        Self {
            machine,
            links: Vec::with_capacity(1),
            dials,
            inbound: VecDeque::new(),
            inbound_bytes: 0,
            inbound_limit,
            state: State::Connecting,
            end: None,
            gave_up: None,
            park_change: None,
            closing: None,
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Tells a connecting client that it is connected, or why it is not.
    pub(crate) fn connected(&mut self) -> Option<Result<(), Vec<switchback_session::Failure>>> {
        if let Some(failures) = self.gave_up.take() {
            return Some(Err(failures));
        }
        match self.state {
            State::Connecting => None,
            State::Closed(_) => Some(Err(Vec::new())),
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
        self.links.push(Link {
            attachment,
            transport,
            closing: None,
            unflushed: false,
        });
    }

    /// Lets a server session decide about an attachment.
    pub(crate) fn attach(
        &mut self,
        now: Instant,
        hello: &Hello,
        transport: Box<dyn Transport>,
        entropy: &mut dyn switchback_session::Entropy,
    ) -> Result<(), (switchback_session::Refused, Box<dyn Transport>)> {
        let Machine::Server(session) = &mut self.machine else {
            return Err((switchback_session::Refused::Unknown, transport));
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
                self.inbound_bytes -= message.len() + OVERHEAD;
            }
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

    /// Replies to several requests of one read leave in one write: while more of them wait for
    /// the application, flushing waits for the last.
    pub(super) fn may_defer_flush(&self) -> bool {
        !self.inbound.is_empty()
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

    /// Does everything that can be done now.
    pub(super) fn drive(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        outbox: &Outbox,
        flush: bool,
    ) {
        for round in 0.. {
            let mut progress = false;
            // An application that does not read must not make its peer look silent.
            if !self.is_full()
                && self
                    .machine
                    .deadline()
                    .is_some_and(|deadline| deadline <= now)
            {
                self.machine.handle_timeout(now);
                progress = true;
            }
            while self.machine.is_writable() {
                let Some(message) = outbox.pop() else { break };
                if self.machine.send(message).is_err() {
                    debug_assert!(false, "a writable machine takes a message");
                }
                progress = true;
            }
            if let Some((why, _)) = self
                .closing
                .take_if(|(_, by)| outbox.is_empty() || *by <= now)
            {
                self.machine.close(now, why, None);
                outbox.close(true);
                progress = true;
            }
            progress |= self.decide(now, outbox);
            progress |= self.dial(cx, now);
            progress |= self.work_links(cx, now);
            progress |= self.decide(now, outbox);
            if !progress {
                break;
            }
            if round == MAX_ROUNDS {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if flush {
            self.flush(cx, now);
            self.decide(now, outbox);
        }
    }

    fn is_full(&self) -> bool {
        self.inbound_bytes >= self.inbound_limit || self.inbound.len() >= MAX_INBOUND
    }

    fn push(&mut self, event: Event) {
        if let Event::Message(message) = &event {
            self.inbound_bytes += message.len() + OVERHEAD;
        }
        self.inbound.push_back(event);
    }

    /// Carries out what the machine wants.
    fn decide(&mut self, now: Instant, outbox: &Outbox) -> bool {
        let progress = match &mut self.machine {
            Machine::Server(_) => self.decide_server(now, outbox),
            Machine::Client(_) => self.decide_client(now),
            Machine::Plain(_) => self.decide_plain(now),
        };
        if let State::Closed(_) = self.state {
            outbox.close(true);
        }
        progress
    }

    fn decide_server(&mut self, now: Instant, outbox: &Outbox) -> bool {
        let mut progress = false;
        while let Machine::Server(session) = &mut self.machine
            && let Some(event) = session.poll_event()
        {
            progress = true;
            match event {
                ServerEvent::Drop { attachment, why } => self.begin_close(now, attachment, why),
                ServerEvent::Parked => {
                    self.park_change = Some(true);
                    self.state = State::Reconnecting { since: now };
                    self.push(Event::Reconnecting);
                }
                ServerEvent::Resumed { attachment } => {
                    self.park_change = Some(false);
                    if let Some(transport) = self.kind_of(attachment) {
                        self.state = State::Open { transport };
                        self.push(Event::Resumed { transport });
                    }
                }
                ServerEvent::Carrier { attachment } => {
                    if let Some(transport) = self.kind_of(attachment) {
                        let moved = matches!(self.state, State::Open { transport: old } if old != transport);
                        self.state = State::Open { transport };
                        if moved {
                            self.push(Event::Moved { transport });
                        }
                    }
                }
                ServerEvent::Closed { reason, by } => {
                    self.park_change = Some(false);
                    self.finish(now, reason, error_kind(by));
                }
                ServerEvent::Closing { .. } => outbox.close(true),
                _ => {}
            }
        }
        progress
    }

    fn decide_client(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Machine::Client(session) = &mut self.machine
            && let Some(action) = session.poll_action()
        {
            progress = true;
            match action {
                Action::Start {
                    attachment,
                    kind,
                    hello,
                } => {
                    if let Some(dials) = &mut self.dials {
                        dials.start(attachment, kind, &hello);
                    }
                }
                Action::Cancel { attachment } => {
                    if let Some(dials) = &mut self.dials {
                        dials.cancel(attachment);
                    }
                    self.links.retain(|link| link.attachment != attachment);
                }
                Action::Close { attachment, why } => self.begin_close(now, attachment, why),
                _ => {}
            }
        }
        while let Machine::Client(session) = &mut self.machine
            && let Some(event) = session.poll_event()
        {
            progress = true;
            match event {
                ClientEvent::Open {
                    kind: transport,
                    resumed,
                    ..
                } => {
                    self.state = State::Open { transport };
                    if let Some(dials) = &self.dials
                        && let Machine::Client(session) = &self.machine
                    {
                        dials.remember(session.memory());
                    }
                    if resumed {
                        self.push(Event::Resumed { transport });
                    }
                }
                ClientEvent::StartedAnew {
                    why,
                    unacknowledged,
                } => {
                    self.push(Event::StartedAnew {
                        why,
                        unacknowledged,
                    });
                }
                ClientEvent::Moved {
                    kind: transport, ..
                } => {
                    self.state = State::Open { transport };
                    self.push(Event::Moved { transport });
                }
                ClientEvent::Reconnecting { .. } => {
                    if let State::Open { .. } = self.state {
                        self.state = State::Reconnecting { since: now };
                        self.push(Event::Reconnecting);
                    }
                }
                ClientEvent::GaveUp { failures } => {
                    self.gave_up = Some(failures);
                    let why = CloseReason::new(CloseCode::ABNORMAL, "no transport works");
                    self.finish(now, why, Some(ErrorKind::Refused));
                }
                // The outbox stays open: what it holds goes on in a new session, if the server has
                // asked to come back.
                ClientEvent::Closing { .. } => {}
                ClientEvent::Closed { reason, by } => self.finish(now, reason, error_kind(by)),
                _ => {}
            }
        }
        progress
    }

    /// A plain connection closes once everything the application sent is on its way.
    fn decide_plain(&mut self, now: Instant) -> bool {
        let Machine::Plain(plain) = &mut self.machine else {
            return false;
        };
        if plain.next_transmit().is_none()
            && !plain.closed
            && let Some(why) = plain.closing.clone()
        {
            plain.closed = true;
            self.begin_close(now, PLAIN, why.clone());
            self.finish(now, why, None);
            return true;
        }
        false
    }

    /// Ends the connection; what the application has not taken yet stays. The first end counts.
    fn finish(&mut self, now: Instant, reason: CloseReason, kind: Option<ErrorKind>) {
        let attachments: Vec<u64> = self.links.iter().map(|link| link.attachment).collect();
        for attachment in attachments {
            self.begin_close(now, attachment, reason.clone());
        }
        if let Some(dials) = &mut self.dials {
            dials.cancel_all();
        }
        if self.end.is_none() {
            self.end = Some(match kind {
                None => Ok(()),
                Some(kind) => Err(Error::with_message(
                    kind,
                    format!("the connection ended: {reason}"),
                )
                .with_close(reason.clone())),
            });
            self.state = State::Closed(reason);
        }
    }

    fn kind_of(&self, attachment: u64) -> Option<TransportKind> {
        let link = self
            .links
            .iter()
            .find(|link| link.attachment == attachment)?;
        Some(link.transport.info().kind())
    }

    fn begin_close(&mut self, now: Instant, attachment: u64, why: CloseReason) {
        if let Some(dials) = &mut self.dials {
            dials.cancel(attachment);
        }
        for link in &mut self.links {
            if link.attachment == attachment && link.closing.is_none() {
                link.closing = Some((why.clone(), now + CLOSE_TIMEOUT));
            }
        }
    }

    fn dial(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        while let Some(dials) = &mut self.dials
            && let Poll::Ready(Dialled { attachment, result }) = dials.poll(cx)
        {
            progress = true;
            let Machine::Client(session) = &mut self.machine else {
                break;
            };
            match result {
                Ok(transport) => {
                    session.opened(now, attachment);
                    self.plug(attachment, transport);
                }
                Err(failure) => session.failed(now, attachment, failure),
            }
        }
        progress
    }

    fn work_links(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        let mut index = 0;
        while index < self.links.len() {
            let step = match self.links[index].closing {
                Some(_) => self.close_link(cx, now, index),
                None => self.work_link(cx, now, index),
            };
            match step {
                Step::Idle => index += 1,
                Step::Progress => {
                    progress = true;
                    index += 1;
                }
                Step::Ended(clean) => {
                    progress = true;
                    let link = self.links.swap_remove(index);
                    if link.closing.is_none() {
                        self.ended(now, link.attachment, clean);
                    }
                }
            }
        }
        progress
    }

    /// Writes and reads one transport.
    fn work_link(&mut self, cx: &mut Context<'_>, now: Instant, index: usize) -> Step {
        let Self { links, machine, .. } = self;
        let link = &mut links[index];
        let mut progress = false;
        while let Some(message) = machine.next_transmit(now, link.attachment) {
            match link.transport.poll_send(cx, message) {
                Poll::Ready(Ok(())) => {
                    machine.transmitted(now, link.attachment);
                    link.unflushed = true;
                    progress = true;
                }
                Poll::Ready(Err(_)) => return Step::Ended(None),
                Poll::Pending => break,
            }
        }
        loop {
            if self.is_full() {
                break;
            }
            let link = &mut self.links[index];
            let attachment = link.attachment;
            match link.transport.poll_recv(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(Some(message))) => {
                    progress = true;
                    match self.machine.receive(now, attachment, message) {
                        Ok(Some(message)) => self.push(Event::Message(message)),
                        Ok(None) => {}
                        Err(error) => {
                            self.begin_close(now, attachment, error.close_reason());
                            break;
                        }
                    }
                }
                Poll::Ready(Ok(None)) => {
                    let clean = link.transport.close_reason().cloned();
                    return Step::Ended(Some(Ok(clean.unwrap_or_else(CloseReason::normal))));
                }
                Poll::Ready(Err(error)) => return Step::Ended(Some(Err(error))),
            }
        }
        if progress { Step::Progress } else { Step::Idle }
    }

    fn close_link(&mut self, cx: &mut Context<'_>, now: Instant, index: usize) -> Step {
        let link = &mut self.links[index];
        let Some((why, until)) = &link.closing else {
            return Step::Idle;
        };
        if link.transport.poll_close(cx, why).is_ready() || *until <= now {
            return Step::Ended(None);
        }
        Step::Idle
    }

    /// A transport ended that nobody here had closed.
    fn ended(&mut self, now: Instant, attachment: u64, how: Option<Result<CloseReason, Error>>) {
        let clean = how.as_ref().and_then(|how| how.as_ref().ok().cloned());
        self.machine.detach(now, attachment, clean.clone());
        if let Machine::Plain(_) = self.machine {
            match how {
                Some(Ok(why)) => self.finish(now, why, None),
                Some(Err(error)) => {
                    self.state = State::Closed(error.close_code().into());
                    self.end.get_or_insert(Err(error));
                }
                None => self.finish(now, CloseCode::ABNORMAL.into(), Some(ErrorKind::Reset)),
            }
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) {
        let mut index = 0;
        while index < self.links.len() {
            let link = &mut self.links[index];
            if link.unflushed && link.closing.is_none() {
                match link.transport.poll_flush(cx) {
                    Poll::Ready(Ok(())) => link.unflushed = false,
                    Poll::Pending => {}
                    Poll::Ready(Err(error)) => {
                        let link = self.links.swap_remove(index);
                        self.ended(now, link.attachment, Some(Err(error)));
                        continue;
                    }
                }
            }
            index += 1;
        }
    }

    /// Delivers what was sent, then ends. The first reason counts.
    pub(super) fn close(&mut self, now: Instant, why: CloseReason) {
        if self.end.is_none() {
            self.closing.get_or_insert((why, now + DRAIN_TIMEOUT));
        }
    }

    /// Ends a session at once: it is in the way of others.
    pub(super) fn evict(&mut self, now: Instant, why: CloseReason) {
        match &mut self.machine {
            Machine::Server(session) => session.abort(why, ClosedBy::Overflow),
            machine => machine.close(now, why, None),
        }
    }

    /// Forgets what the application has not taken: it went away.
    pub(super) fn discard_inbound(&mut self) {
        self.inbound = VecDeque::new();
        self.inbound_bytes = 0;
    }
}

enum Step {
    Idle,
    Progress,
    /// With what the transport said, where it said something.
    Ended(Option<Result<CloseReason, Error>>),
}

/// Whether an end is an error to the application: a close that either side wanted is none.
fn error_kind(by: ClosedBy) -> Option<ErrorKind> {
    match by {
        ClosedBy::Local | ClosedBy::Peer => None,
        ClosedBy::Expired | ClosedBy::TimedOut => Some(ErrorKind::TimedOut),
        ClosedBy::Overflow => Some(ErrorKind::Full),
        ClosedBy::ProtocolError => Some(ErrorKind::Protocol),
        ClosedBy::Superseded | ClosedBy::Refused => Some(ErrorKind::Refused),
        _ => Some(ErrorKind::Reset),
    }
}

/// How long a close waits for room for what the application has sent before.
const DRAIN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// How long a transport that is no longer needed may take to close.
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A message that the application wants sent, with room or not.
pub(super) fn oversized(message: &Message, limit: usize) -> Option<Error> {
    (message.len() > limit).then(|| {
        Error::with_message(
            ErrorKind::TooLarge,
            format!(
                "the message has {} bytes, the limit is {limit}",
                message.len()
            ),
        )
    })
}
