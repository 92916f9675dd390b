//! Writes and reads the transports.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use switchback_core::{
    CloseCode, CloseReason, Error, ErrorKind, Message, Run, Transport, TransportKind,
};

use super::Driver;
use crate::client::Dialled;
use crate::connection::machine::Machine;
use crate::connection::outbox::{Outbox, drain};
use crate::connection::{Event, State};

/// One transport of the connection.
pub(super) struct Link {
    pub(super) attachment: u64,
    pub(super) transport: Box<dyn Transport>,
    /// The transport tells whether it has more to read at once.
    pub(super) tells: bool,
    /// Being closed, by a time: reads and sends nothing any more.
    pub(super) closing: Option<Box<(CloseReason, Instant)>>,
    pub(super) unflushed: bool,
    /// It can send no more; reading tells why.
    pub(super) failed: Option<Error>,
}

impl Link {
    /// Gives the transport a message. `false`: it has no room, or has failed.
    #[inline]
    pub(super) fn take(&mut self, cx: &mut Context<'_>, message: &Message) -> bool {
        if self.failed.is_some() {
            return false;
        }
        let sent = self.transport.poll_send(cx, message);
        let taken = self.note_sent(sent);
        self.unflushed |= taken;
        taken
    }

    /// Gives the transport messages, which it takes out of the run. `false`: it has no room for all, or
    /// has failed.
    #[inline]
    pub(super) fn take_run(&mut self, cx: &mut Context<'_>, run: &mut Run) -> bool {
        if self.failed.is_some() {
            return false;
        }
        // Some may be taken where not all are.
        self.unflushed = true;
        let sent = self.transport.poll_send_run(cx, run);
        self.note_sent(sent)
    }

    /// Keeps the failure. Returns whether all was taken.
    #[inline]
    fn note_sent(&mut self, sent: Poll<Result<(), Error>>) -> bool {
        match sent {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                self.failed = Some(error);
                false
            }
            Poll::Pending => false,
        }
    }
}

enum Step {
    /// Nothing more to read now.
    Drained,
    /// There may be more to read.
    More,
    /// With what the transport said, where it said something.
    Ended(Option<Result<CloseReason, Error>>),
}

/// How many transports may be closing at a time.
const MAX_CLOSING: usize = 8;

/// How long a transport that is no longer needed may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

impl Driver {
    pub(super) fn kind_of(&self, attachment: u64) -> Option<TransportKind> {
        let link = self
            .links
            .iter()
            .find(|link| link.attachment == attachment)?;
        Some(link.transport.info().kind())
    }

    pub(super) fn begin_close(&mut self, now: Instant, attachment: u64, why: &CloseReason) {
        if let Some(dials) = &mut self.dials {
            dials.cancel(attachment);
        }
        // A client that attaches again and again does not pile up what it has left behind.
        let is_closing = |link: &Link| link.closing.is_some();
        if self.links.iter().filter(|link| is_closing(link)).count() >= MAX_CLOSING
            && let Some(oldest) = self.links.iter().position(is_closing)
        {
            self.links.remove(oldest);
        }
        for link in &mut self.links {
            if link.attachment == attachment && link.closing.is_none() {
                link.closing = Some(Box::new((why.clone(), now + CLOSE_TIMEOUT)));
            }
        }
    }

    pub(super) fn dial(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        while let Some(dials) = &mut self.dials
            && let Poll::Ready(Dialled { attachment, result }) = dials.poll(cx)
        {
            progress = true;
            let Machine::Client(session) = &mut *self.machine else {
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

    /// Writes and reads all transports. Returns whether there may be more to do because of it.
    pub(super) fn work_links(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        outbox: &Outbox,
    ) -> bool {
        let mut again = false;
        let mut drained = true;
        let mut index = 0;
        while index < self.links.len() {
            let step = match self.links[index].closing {
                Some(_) => self.close_link(cx, now, index),
                None => self.work_link(cx, now, index, outbox),
            };
            match step {
                Step::Drained => index += 1,
                Step::More => {
                    drained = false;
                    index += 1;
                }
                Step::Ended(clean) => {
                    again = true;
                    let link = self.links.swap_remove(index);
                    self.links.shrink_to_fit();
                    if link.closing.is_none() {
                        self.ended(now, link.attachment, clean);
                    }
                }
            }
        }
        if self.readable {
            self.readable = !drained;
            self.buffered = false;
            // What was read may have made room to send, or called for a decision.
            again |= drained || !self.is_overfull();
            self.note_pace();
        }
        again
    }

    /// Gives one transport what it is to carry, and `messages` behind that, as far as it has room.
    pub(super) fn transmit(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        index: usize,
        messages: &mut impl Iterator<Item = Message>,
    ) {
        let link = &mut self.links[index];
        let attachment = link.attachment;
        let take = |message: &Message| link.take(cx, message);
        self.machine.transmit(now, attachment, messages, take);
    }

    /// Gives one transport what is staged.
    pub(super) fn transmit_staged(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        index: usize,
        outbox: &Outbox,
    ) {
        let link = &mut self.links[index];
        let attachment = link.attachment;
        let mut released = 0;
        let take = |message: &Message| link.take(cx, message);
        let mut messages = drain(&mut self.staged, &mut released);
        self.machine.transmit(now, attachment, &mut messages, take);
        drop(messages);
        if released > 0 {
            outbox.release(released);
        }
    }

    /// Writes and reads one transport.
    fn work_link(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        index: usize,
        outbox: &Outbox,
    ) -> Step {
        self.transmit_staged(cx, now, index, outbox);
        if self.staged.is_empty() && self.subscribed {
            self.transmit_published(cx, now, index, outbox);
        }
        let link = &mut self.links[index];
        if !self.readable && link.failed.is_none() {
            return Step::Drained;
        }
        loop {
            if self.is_overfull() {
                return Step::More;
            }
            let link = &mut self.links[index];
            let attachment = link.attachment;
            match link.transport.poll_recv(cx) {
                Poll::Pending => {
                    // Reading has no better reason to give.
                    return match link.failed.take() {
                        Some(error) => Step::Ended(Some(Err(error))),
                        None => Step::Drained,
                    };
                }
                Poll::Ready(Ok(Some(message))) => {
                    if self.machine.receive_next(now, attachment, &message) {
                        self.push(Event::Message(message));
                        continue;
                    }
                    match self.machine.receive(now, attachment, message) {
                        Ok(Some(message)) => self.push(Event::Message(message)),
                        // Perhaps an event came of it, which belongs before the next message.
                        Ok(None) => return Step::More,
                        Err(error) => {
                            self.begin_close(now, attachment, &error.close_reason());
                            return Step::More;
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
    }

    fn close_link(&mut self, cx: &mut Context<'_>, now: Instant, index: usize) -> Step {
        let link = &mut self.links[index];
        let Some((why, until)) = link.closing.as_deref() else {
            return Step::Drained;
        };
        if link.transport.poll_close(cx, why).is_ready() || *until <= now {
            return Step::Ended(None);
        }
        Step::Drained
    }

    /// A transport ended that nobody here had closed.
    pub(super) fn ended(
        &mut self,
        now: Instant,
        attachment: u64,
        how: Option<Result<CloseReason, Error>>,
    ) {
        let clean = match &how {
            Some(Ok(why)) => Some(why.clone()),
            // It would be so again on every transport: the session ends.
            Some(Err(error)) if error.kind() == ErrorKind::TooLarge => {
                Some(CloseCode::MESSAGE_TOO_BIG.into())
            }
            _ => None,
        };
        self.machine.detach(now, attachment, clean.clone());
        if let Machine::Plain(_) = *self.machine {
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

    /// Hands what was written to the network. `false`: a transport failed, and reading it may tell
    /// why.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        let mut fine = true;
        self.deferred = 0;
        for link in &mut self.links {
            if link.unflushed && link.closing.is_none() && link.failed.is_none() {
                match link.transport.poll_flush(cx) {
                    Poll::Ready(Ok(())) => link.unflushed = false,
                    Poll::Pending => {}
                    Poll::Ready(Err(error)) => {
                        link.failed = Some(error);
                        fine = false;
                    }
                }
            }
        }
        fine
    }
}
