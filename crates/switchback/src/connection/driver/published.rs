//! What the broadcasts bring to which the connection has subscribed.
//!
//! It goes behind what the application had sent before it was published, and before what the
//! application sends afterwards. Nobody reads a broadcast ahead of the transport, unless that order
//! asks for it: what is behind is in the log, once for all its subscribers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use smallvec::SmallVec;
use switchback_core::{
    Broadcast, CloseCode, CloseReason, Error, ErrorKind, Listener, Message, Run, Subscription,
};

use super::Driver;
use crate::connection::outbox::Outbox;

/// To how many broadcasts a connection subscribes at most: all of them are looked at with each drive.
const MAX_SUBSCRIPTIONS: usize = 1024;

/// How much is read ahead of the transport at most, because messages are to be sent behind it: in pieces,
/// and in bytes of what was published.
const MAX_PIECES: usize = 1024;
const MAX_AHEAD: usize = 1024 * 1024;

#[derive(Default)]
// What every delivery touches comes first.
#[repr(C)]
pub(super) struct Published {
    /// Most often there is one.
    subscriptions: SmallVec<[Subscription; 1]>,
    /// The subscription to read first.
    turn: usize,
    /// Is told that something was published. There is one once the connection has subscribed.
    listener: Option<Arc<dyn Listener>>,
    /// Messages were missed: nothing may go that was not read or sent before.
    lagged: bool,
    /// Read, and not taken by a transport.
    pieces: VecDeque<Piece>,
    /// How many bytes were published of that.
    ahead: usize,
}

/// What has its turn before what is in the outbox.
enum Piece {
    Run(Run),
    /// Taken out of the outbox, because something was published behind it.
    Sent(VecDeque<Message>),
}

impl Published {
    /// Tells whether nothing has its turn before what is in the outbox.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && !self.lagged
    }

    /// Tells whether it is the turn of something that the application has sent.
    #[inline]
    pub(super) fn is_sent_next(&self, outbox: &Outbox) -> bool {
        match self.pieces.front() {
            Some(Piece::Sent(_)) => true,
            Some(Piece::Run(_)) => false,
            None => outbox.is_queued() && !self.lagged,
        }
    }

    /// Takes what the application has sent, if it is its turn.
    pub(super) fn take_sent(&mut self, outbox: &Outbox, queue: &mut VecDeque<Message>) {
        match self.pieces.front_mut() {
            Some(Piece::Sent(sent)) => {
                std::mem::swap(sent, queue);
                self.pieces.pop_front();
            }
            None if !self.lagged => outbox.take(queue),
            Some(Piece::Run(_)) | None => {}
        }
    }

    /// Returns what was published, if it is its turn.
    #[inline]
    fn next(&mut self, outbox: &Outbox) -> Option<Run> {
        if self.is_sent_next(outbox) {
            return None;
        }
        match self.pieces.pop_front() {
            Some(Piece::Run(run)) => {
                self.ahead -= run.bytes();
                Some(run)
            }
            _ => self.read(),
        }
    }

    /// Puts back what was left of a run.
    fn put_back(&mut self, run: Run) {
        self.ahead += run.bytes();
        self.pieces.push_front(Piece::Run(run));
    }

    /// Reads what was published, of one subscription after the other; `None` when there is nothing: the
    /// connection is told when there is.
    fn read(&mut self) -> Option<Run> {
        let listener = self.listener.as_ref()?;
        let count = self.subscriptions.len();
        for _ in 0..count {
            self.turn += 1;
            if self.turn >= count {
                self.turn = 0;
            }
            match self.subscriptions[self.turn].next_or_listen(listener) {
                Some(Ok(run)) => return Some(run),
                Some(Err(_)) => {
                    self.lag();
                    break;
                }
                None => {}
            }
        }
        None
    }

    /// Reads nothing more: nothing goes behind what is missing.
    fn lag(&mut self) {
        self.lagged = true;
        self.subscriptions.clear();
    }

    /// Reads all that was published by now. Returns whether anything is to be sent before what the
    /// application sends next.
    fn read_ahead(&mut self, outbox: &Outbox) -> bool {
        while self.subscriptions.iter().any(Subscription::is_behind)
            && let Some(run) = self.read()
        {
            if outbox.is_queued() {
                let mut sent = VecDeque::new();
                outbox.take(&mut sent);
                self.pieces.push_back(Piece::Sent(sent));
            }
            self.ahead += run.bytes();
            let run = match self.pieces.back_mut() {
                Some(Piece::Run(last)) => last.append(run),
                _ => Err(run),
            };
            if let Err(run) = run {
                self.pieces.push_back(Piece::Run(run));
            }
            if self.pieces.len() > MAX_PIECES || self.ahead > MAX_AHEAD {
                self.lag();
            }
        }
        !self.is_empty()
    }
}

impl Driver {
    /// Subscribes to a broadcast, if the connection is open and has not yet.
    pub(in crate::connection) fn subscribe(
        &mut self,
        broadcast: &Broadcast,
        listener: Arc<dyn Listener>,
        outbox: &Outbox,
    ) -> Result<(), Error> {
        if self.end.is_some() || self.closing.is_some() || self.machine.is_closing() {
            return Err(ErrorKind::Closed.into());
        }
        let subscriptions = &mut self.published.subscriptions;
        if subscriptions.iter().any(|one| one.is_of(broadcast)) {
            return Ok(());
        }
        if subscriptions.len() == MAX_SUBSCRIPTIONS {
            let text = format!("a connection subscribes to {MAX_SUBSCRIPTIONS} broadcasts at most");
            return Err(Error::with_message(ErrorKind::Full, text));
        }
        // First: who publishes and then sends is to find it.
        outbox.set_subscribed(true);
        subscriptions.push(broadcast.subscribe());
        self.published.listener = Some(listener);
        self.subscribed = true;
        Ok(())
    }

    /// Sends what was published by now on a broadcast, and nothing of it from now on. Returns whether
    /// the connection had subscribed.
    pub(in crate::connection) fn unsubscribe(
        &mut self,
        broadcast: &Broadcast,
        outbox: &Outbox,
    ) -> bool {
        let is_of = |one: &Subscription| one.is_of(broadcast);
        let subscribed = self.published.subscriptions.iter().any(is_of);
        if subscribed {
            self.published.read_ahead(outbox);
            self.published.subscriptions.retain(|one| !is_of(one));
            self.published.subscriptions.shrink_to_fit();
            outbox.set_subscribed(!self.published.subscriptions.is_empty());
        }
        subscribed
    }

    /// Reads what was published by now, before the application sends something. Returns whether it is
    /// to wait for that.
    #[inline]
    pub(in crate::connection) fn read_ahead(&mut self, outbox: &Outbox) -> bool {
        self.subscribed && self.published.read_ahead(outbox)
    }

    /// Reads for the last time.
    pub(super) fn end_subscriptions(&mut self, outbox: &Outbox) {
        if self.subscribed {
            self.published.read_ahead(outbox);
            self.published.subscriptions = SmallVec::new();
        }
    }

    /// Ends a connection that has missed messages: it was too slow.
    pub(super) fn judge_lag(&mut self, now: Instant) -> bool {
        let lagged = self.published.lagged;
        if lagged {
            self.forget_published();
            let why = CloseReason::new(CloseCode::SLOW_CONSUMER, "too far behind a broadcast");
            self.evict(now, why);
        }
        lagged
    }

    pub(super) fn forget_published(&mut self) {
        self.subscribed = false;
        self.published = Published::default();
    }

    /// Gives one transport what was published before what is in the outbox, as far as it has room.
    /// `false`: something is left.
    pub(super) fn transmit_published(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        index: usize,
        outbox: &Outbox,
    ) -> bool {
        while let Some(mut run) = self.published.next(outbox) {
            let before = run.len();
            self.transmit_run(cx, now, index, &mut run);
            self.deferred += before - run.len();
            if !run.is_empty() {
                self.published.put_back(run);
                return false;
            }
        }
        !self.published.lagged
    }

    fn transmit_run(&mut self, cx: &mut Context<'_>, now: Instant, index: usize, run: &mut Run) {
        let link = &mut self.links[index];
        let (attachment, machine) = (link.attachment, &mut self.machine);
        let mut has_room = true;
        while has_room && !run.is_empty() {
            let len = run.len();
            let covered = machine.covers(now, attachment, run);
            if covered == len {
                has_room = link.take_run(cx, run);
            } else if covered > 0 {
                let mut first = run.clone();
                first.truncate(covered);
                has_room = link.take_run(cx, &mut first);
                run.advance(covered - first.len());
            }
            if run.len() < len {
                machine.sent_run(now, run, len - run.len());
            } else if has_room {
                // Something goes before the next one, or it is not as the others: that one by itself.
                let take = |message: &Message| {
                    has_room = link.take(cx, message);
                    has_room
                };
                machine.transmit(now, attachment, &mut run.by_ref().take(1), take);
                if run.len() == len {
                    return;
                }
            }
        }
    }

    /// Keeps what no transport took, as far as there is room. Returns whether that was anything.
    pub(super) fn stow_published(&mut self) -> bool {
        let mut stowed = false;
        while let Some(Piece::Run(run)) = self.published.pieces.front_mut() {
            let before = (run.len(), run.bytes());
            self.machine.send_from(run);
            stowed |= run.len() < before.0;
            self.published.ahead -= before.1 - run.bytes();
            if !run.is_empty() {
                break;
            }
            self.published.pieces.pop_front();
        }
        stowed
    }
}
