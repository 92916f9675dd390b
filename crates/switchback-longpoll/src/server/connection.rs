use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use switchback_core::{CloseReason, Error, ErrorKind, Limits, Message};
use switchback_http::{ConnectionId, Inbox, batch};
use tokio::time::Instant;

use crate::proto::{Answer, Downstream, Ticket};

/// What a transport and the requests of its client share.
///
/// The transport and the request handlers run in different tasks. Each side does a little under
/// the lock, then wakes the other outside of it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// Upstream: what POSTs bring.
    pub(super) inbox: Inbox,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    downstream: Downstream,
    /// When the last poll ended, or the connection began. Means nothing while a poll is live.
    last_poll: Instant,
    /// Of the live poll.
    poll: Option<Waker>,
    /// Of `poll_send`, waiting for room.
    send: Option<Waker>,
    /// Of `poll_close`, waiting for the close to be picked up.
    close: Option<Waker>,
}

impl State {
    /// Takes all wakers: something has changed that concerns everyone.
    fn everyone(&mut self) -> [Option<Waker>; 3] {
        [self.poll.take(), self.send.take(), self.close.take()]
    }
}

impl Connection {
    pub(super) fn new(id: ConnectionId, limits: &Limits) -> Self {
        Self {
            id,
            inbox: Inbox::new(limits),
            state: Mutex::new(State {
                downstream: Downstream::new(limits),
                last_poll: Instant::now(),
                poll: None,
                send: None,
                close: None,
            }),
        }
    }

    // ---- for the transport

    /// Queues a message; an error when the connection has ended or is closing.
    pub(super) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        message: &Message,
    ) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        if !state.downstream.is_open() {
            return Poll::Ready(Err(ErrorKind::Closed.into()));
        }
        if state.downstream.has_room(message.len()) {
            state.downstream.push(batch::record(message));
            return Poll::Ready(Ok(()));
        }
        state.send = Some(cx.waker().clone());
        let poll = state.poll.take();
        drop(state);
        // The only way to make room is that a poll carries something away.
        wake([poll]);
        Poll::Pending
    }

    /// Lets the live poll carry away what is queued.
    pub(super) fn flush(&self) {
        let poll = self.lock().poll.take();
        wake([poll]);
    }

    /// Tells whether messages can still be queued.
    pub(super) fn is_open(&self) -> bool {
        self.lock().downstream.is_open()
    }

    /// Begins to close.
    pub(super) fn close(&self, why: &CloseReason) {
        let mut state = self.lock();
        state.downstream.close(why.clone());
        let wakers = state.everyone();
        drop(state);
        wake(wakers);
    }

    /// Waits until a poll has carried away the close.
    pub(super) fn poll_close_told(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.downstream.is_close_told() {
            return Poll::Ready(());
        }
        state.close = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends the connection by the peer's close. A poll that still waits is told the same.
    pub(super) fn end(&self, why: Option<CloseReason>) {
        let mut state = self.lock();
        state
            .downstream
            .end(why.unwrap_or_else(CloseReason::normal));
        let wakers = state.everyone();
        drop(state);
        wake(wakers);
    }

    /// Ends the connection without a close.
    pub(super) fn vanish(&self) {
        let mut state = self.lock();
        state.downstream.vanish();
        let wakers = state.everyone();
        drop(state);
        wake(wakers);
    }

    /// Returns since when the client has not been polling; now, while it does.
    pub(super) fn silent_since(&self) -> Instant {
        let state = self.lock();
        if state.downstream.is_polled() {
            Instant::now()
        } else {
            state.last_poll
        }
    }

    // ---- for requests

    pub(super) fn opening(&self) -> Bytes {
        let mut state = self.lock();
        let batch = state.downstream.opening();
        let send = state.send.take();
        drop(state);
        wake([send]);
        batch
    }

    pub(super) fn arrive(&self, cursor: u64) -> Result<Ticket, Answer> {
        let mut state = self.lock();
        let ticket = state.downstream.arrive(cursor)?;
        // The poll that was superseded, and whoever waits for the acknowledgement.
        let wakers = state.everyone();
        drop(state);
        wake(wakers);
        Ok(ticket)
    }

    pub(super) fn poll_answer(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.lock();
        let Some(answer) = state.downstream.answer(ticket) else {
            state.poll = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.last_poll = Instant::now();
        // What was carried away has made room; the close may have been told.
        let wakers = match answer {
            Answer::Batch(_) | Answer::Closed(_) => [state.send.take(), state.close.take()],
            Answer::BadCursor(_) | Answer::Superseded | Answer::Gone => [None, None],
        };
        drop(state);
        wake(wakers);
        Poll::Ready(answer)
    }

    pub(super) fn window_ended(&self, ticket: Ticket) -> Answer {
        let mut state = self.lock();
        state.last_poll = Instant::now();
        state.downstream.window_ended(ticket)
    }

    pub(super) fn leave(&self, ticket: Ticket) {
        let mut state = self.lock();
        if state.downstream.leave(ticket) {
            state.last_poll = Instant::now();
            state.poll = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock panics half-way; a poisoned lock is not worth a second panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake<const N: usize>(wakers: [Option<Waker>; N]) {
    for waker in wakers.into_iter().flatten() {
        waker.wake();
    }
}
