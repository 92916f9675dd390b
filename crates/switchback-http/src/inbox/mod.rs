mod late;
mod refusals;

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use serde_json::json;
use switchback_core::{CloseReason, Error, Limits, Message};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use self::late::Late;
use self::refusals::{bad_batch, close_of, ended};
use crate::fatal::Fatal;
use crate::{Query, Refusal, batch, json, read_body};

/// The server half of the numbered POST (`docs/protocol.md`, 2.4): POST handlers put messages in,
/// the transport takes them out.
///
/// Holds `recv_buffer` bytes of messages, one message at least. A POST waits for room up to the
/// handshake timeout, then says what it could place.
///
/// A client has one POST under way at a time, so a newer POST overtakes an older one wherever that
/// stands: the older takes no further message and is answered at once. So a client holds the
/// memory of one body, however many requests it sends.
pub struct Inbox {
    limits: Limits,
    state: Mutex<State>,
    /// Something that a waiting POST has to look at: room, a newer POST, the end.
    changed: Notify,
}

struct State {
    queue: VecDeque<Message>,
    /// What the messages in the queue cost.
    bytes: usize,
    /// The number of the last message taken in.
    received: u64,
    /// Counts POSTs: the one with the latest number is the one that the client waits for.
    turn: u64,
    end: End,
    /// The receiver's.
    waker: Option<Waker>,
}

enum End {
    Open,
    /// The connection has ended, but POSTs may still come.
    Late(Box<Late>),
    /// The peer closed; said behind the messages in the queue.
    Closed(CloseReason),
    /// The connection ended otherwise; said behind the messages in the queue too.
    Failed(Fatal),
}

/// What a message costs beside its payload, so that empty messages are bounded too.
const OVERHEAD: usize = 64;

fn cost(message: &Message) -> usize {
    message.len().saturating_add(OVERHEAD)
}

impl Inbox {
    /// Makes an empty inbox.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            state: Mutex::new(State {
                queue: VecDeque::new(),
                bytes: 0,
                received: 0,
                turn: 0,
                end: End::Open,
                waker: None,
            }),
            changed: Notify::new(),
        }
    }

    /// Handles a whole POST: checks `first`, reads the body, skips what was received before, waits
    /// for room for the rest, and answers `200 {"received":R}` or a refusal.
    ///
    /// # Cancel safety
    ///
    /// Messages that were taken in stay so when the future is dropped; the client sends the batch
    /// again and they are skipped.
    pub async fn post<B: Body>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        match self.receive(request).await {
            Ok(received) => json::response(StatusCode::OK, &json!({ "received": received })),
            Err(refusal) => refusal.into_response(),
        }
    }

    /// Handles a whole DELETE: queues the peer's close behind the messages and answers `204`, also
    /// when the connection has ended already. `400` for a code that may not be sent.
    pub fn delete<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match close_of(request.uri()) {
            Ok(reason) => {
                self.end(End::Closed(reason));
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            Err(refusal) => refusal.into_response(),
        }
    }

    /// Takes the next message out. `None`: the peer closed, and everything that it sent before was
    /// taken out.
    ///
    /// Remembers the waker of the latest call.
    ///
    /// # Errors
    ///
    /// What [`shut`](Self::shut) was given, once everything received before was taken out; what
    /// [`shut_after`](Self::shut_after) was given, when its time is over too.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the caller goes away after `Pending`.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        let mut state = self.lock();
        let Some(message) = state.queue.pop_front() else {
            let over = state.poll_late(cx).is_ready();
            let end = match &mut state.end {
                End::Closed(_) => Poll::Ready(Ok(None)),
                End::Failed(fatal) => Poll::Ready(Err(fatal.say())),
                End::Open | End::Late(_) => {
                    state.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
            drop(state);
            if over {
                self.changed.notify_waiters();
            }
            return end;
        };
        state.bytes -= cost(&message);
        // Not at every message: a POST that was woken for one message would be woken for each.
        let roomy = state.bytes <= self.limits.recv_buffer() / 2;
        drop(state);
        if roomy {
            self.changed.notify_waiters();
        }
        Poll::Ready(Ok(Some(message)))
    }

    /// Returns why the peer closed, from the moment that its DELETE arrived; messages from before
    /// may still be waiting.
    pub fn close_reason(&self) -> Option<CloseReason> {
        match &self.lock().end {
            End::Closed(reason) => Some(reason.clone()),
            End::Open | End::Late(_) | End::Failed(_) => None,
        }
    }

    /// Ends the inbox because the connection ended. POSTs, waiting ones too, are answered with
    /// 404 `unknown_connection`, or with 410 `closed` where the error carries a close. Does
    /// nothing after the peer's close.
    pub fn shut(&self, error: Error) {
        self.end(End::Failed(Fatal::new(error)));
    }

    /// Ends the inbox like [`shut`](Self::shut), but only after `time`: until then it takes POSTs and
    /// a DELETE that were under way when the connection ended. A second call does not prolong it.
    ///
    /// Returns whether POSTs may still come; `false` when the inbox has ended already.
    pub fn shut_after(&self, time: Duration, error: Error) -> bool {
        let mut state = self.lock();
        if matches!(state.end, End::Open) {
            state.end = End::Late(Box::new(Late::new(time, error)));
        }
        let late = matches!(state.end, End::Late(_));
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        late
    }

    /// Returns until when late POSTs are taken: `Some` from [`shut_after`](Self::shut_after) on, until
    /// the receiver was told the end.
    pub fn late_until(&self) -> Option<Instant> {
        match &self.lock().end {
            End::Late(late) => Some(late.until()),
            End::Open | End::Closed(_) | End::Failed(_) => None,
        }
    }

    async fn receive<B: Body>(&self, request: Request<B>) -> Result<u64, Refusal> {
        let first = Query::of(request.uri())
            .number("first")
            .filter(|&first| first > 0)
            .ok_or_else(|| Refusal::bad_request("the parameter first is not a number from 1 up"))?;
        let turn = self.begin(first)?;
        let reading = read_body(
            request.into_body(),
            batch::max_body(&self.limits),
            self.limits.handshake_time(),
        );
        let Some(body) = unless(self.overtaken(turn), reading).await else {
            return self.received();
        };
        let mut batch = Numbered {
            next: first,
            messages: batch::decode(&body?, &self.limits)
                .map_err(|error| bad_batch(&error))?
                .into(),
        };
        let deadline = Instant::now() + self.limits.handshake_time();
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look at the state, so that no change in between is missed.
            changed.as_mut().enable();
            if let Some(received) = self.take_in(turn, &mut batch)? {
                return Ok(received);
            }
            if timeout_at(deadline, changed).await.is_err() {
                return self.received();
            }
        }
    }

    /// Lets a POST begin, and overtake the one before.
    fn begin(&self, first: u64) -> Result<u64, Refusal> {
        let mut state = self.lock();
        state.check_open()?;
        if first > state.received + 1 {
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                "gap",
                format!(
                    "the batch begins with message {first}, but only {} were received",
                    state.received
                ),
            ));
        }
        state.turn += 1;
        let turn = state.turn;
        drop(state);
        self.changed.notify_waiters();
        Ok(turn)
    }

    /// Waits until a POST is not the latest any more, or the inbox has ended.
    async fn overtaken(&self, turn: u64) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.lock().is_latest(turn) {
                return;
            }
            changed.await;
        }
    }

    /// Takes in what there is room for. `Some` is the answer; `None` when the rest must wait.
    ///
    /// Everything happens under one lock, message by message: of two POSTs with the same messages,
    /// whichever comes second finds them received.
    fn take_in(&self, turn: u64, batch: &mut Numbered) -> Result<Option<u64>, Refusal> {
        let mut state = self.lock();
        let before = state.received;
        while let Some(message) = batch.messages.front() {
            if batch.next > state.received {
                if !state.is_latest(turn) || !state.has_room(message, self.limits.recv_buffer()) {
                    break;
                }
                state.received = batch.next;
                state.bytes += cost(message);
                state.queue.extend(batch.messages.pop_front());
            } else {
                batch.messages.pop_front();
            }
            batch.next += 1;
        }
        let answer = if batch.messages.is_empty() || !state.is_latest(turn) {
            state.answer().map(Some)
        } else {
            Ok(None)
        };
        let progressed = state.received > before;
        let waker = state.waker.take_if(|_| progressed);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        answer
    }

    fn received(&self) -> Result<u64, Refusal> {
        self.lock().answer()
    }

    fn end(&self, end: End) {
        let mut state = self.lock();
        if matches!(state.end, End::Closed(_) | End::Failed(_)) {
            return;
        }
        state.end = end;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_latest(&self, turn: u64) -> bool {
        self.turn == turn && self.is_open()
    }

    fn is_open(&self) -> bool {
        match &self.end {
            End::Open => true,
            End::Late(late) => !late.is_over(),
            End::Closed(_) | End::Failed(_) => false,
        }
    }

    /// Waits until the time for late POSTs is over, if it has begun.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let End::Late(late) = &mut self.end else {
            return Poll::Pending;
        };
        ready!(late.poll_over(cx));
        if let End::Late(late) = std::mem::replace(&mut self.end, End::Open) {
            self.end = End::Failed(late.into_fatal());
        }
        Poll::Ready(())
    }

    fn has_room(&self, message: &Message, capacity: usize) -> bool {
        self.queue.is_empty() || self.bytes.saturating_add(cost(message)) <= capacity
    }

    /// What a POST is told that was under way when the inbox ended or something else happened.
    fn answer(&self) -> Result<u64, Refusal> {
        match &self.end {
            // The messages of the POST that were taken in are delivered before the close.
            End::Open | End::Late(_) | End::Closed(_) => Ok(self.received),
            End::Failed(fatal) => Err(ended(fatal.error())),
        }
    }

    /// Refuses a POST that comes after the end.
    fn check_open(&self) -> Result<(), Refusal> {
        match &self.end {
            End::Open => Ok(()),
            End::Late(late) if late.is_over() => Err(ended(late.error())),
            End::Late(_) => Ok(()),
            End::Closed(_) => Err(Refusal::unknown_connection()),
            End::Failed(fatal) => Err(ended(fatal.error())),
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Inbox")
            .field("messages", &state.queue.len())
            .field("bytes", &state.bytes)
            .field("received", &state.received)
            .field("open", &state.is_open())
            .finish_non_exhaustive()
    }
}

/// The part of a batch that is not placed yet.
struct Numbered {
    /// The number of the first of the messages.
    next: u64,
    messages: VecDeque<Message>,
}

/// Awaits `work`; `None` as soon as `stop` is done.
async fn unless<T>(stop: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    let mut stop = pin!(stop);
    let mut work = pin!(work);
    poll_fn(|cx| {
        if stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

#[cfg(test)]
mod tests;
