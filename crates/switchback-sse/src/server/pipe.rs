//! A bounded queue of events between the application and the response body that hyper polls.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::Event;

/// What an event costs beside its bytes, so that a queue of tiny events is bounded too.
const OVERHEAD: usize = 64;

/// The writing end, shared by all who may end the stream. One task at a time writes.
pub(super) struct Pipe {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Event>,
    /// What the events in the queue cost.
    cost: usize,
    /// Nothing is written any more.
    ended: bool,
    /// The reader has taken everything and the end, or need not.
    finished: bool,
    /// The reader is gone.
    gone: bool,
    reader: Option<Waker>,
    /// The writer's, for room.
    room: Option<Waker>,
    /// The writer's, for the end.
    over: Option<Waker>,
}

/// Why nothing can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The reader is gone.
    Gone,
    /// The pipe was ended.
    Ended,
}

impl Pipe {
    /// Makes a pipe that takes events while those in it cost less than `capacity` bytes.
    pub(super) fn new(capacity: usize) -> (Arc<Self>, EventQueue) {
        let pipe = Arc::new(Self {
            capacity,
            state: Mutex::default(),
        });
        let queue = EventQueue { pipe: pipe.clone() };
        (pipe, queue)
    }

    /// Waits until an event can be pushed. Makes the reader read meanwhile.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let mut state = self.lock();
        if let Some(stop) = state.stop() {
            return Poll::Ready(Err(stop));
        }
        if state.has_room(self.capacity) {
            return Poll::Ready(Ok(()));
        }
        remember(&mut state.room, cx);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        Poll::Pending
    }

    /// Adds an event if there is room. The reader learns of it at the next [`flush`](Self::flush).
    pub(super) fn try_push(&self, event: Event) -> Result<(), (Event, Option<Stop>)> {
        let mut state = self.lock();
        let stop = state.stop();
        if stop.is_some() || !state.has_room(self.capacity) {
            return Err((event, stop));
        }
        state.push(event);
        Ok(())
    }

    /// Makes the reader read.
    pub(super) fn flush(&self) -> Result<(), Stop> {
        let mut state = self.lock();
        if state.gone {
            return Err(Stop::Gone);
        }
        let reader = if state.queue.is_empty() {
            None
        } else {
            state.reader.take()
        };
        drop(state);
        wake(reader);
        Ok(())
    }

    /// Ends the stream behind what is in the queue and a last event, for which there is always
    /// room.
    pub(super) fn end(&self, last: Option<Event>) {
        let mut state = self.lock();
        if state.ended {
            return;
        }
        state.ended = true;
        if let Some(event) = last {
            state.push(event);
        }
        let waiting = state.waiting();
        drop(state);
        waiting.into_iter().for_each(wake);
    }

    /// Ends the stream at once. What is in the queue is dropped.
    pub(super) fn abort(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.finished = true;
        let queue = std::mem::take(&mut state.queue);
        state.cost = 0;
        let waiting = state.waiting();
        drop(state);
        drop(queue);
        waiting.into_iter().for_each(wake);
    }

    /// Waits until the reader has taken everything and the end (`true`), or is gone (`false`).
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        if state.finished {
            Poll::Ready(true)
        } else if state.gone {
            Poll::Ready(false)
        } else {
            remember(&mut state.over, cx);
            Poll::Pending
        }
    }

    /// Says why nothing can be written, if so.
    pub(super) fn stopped(&self) -> Option<Stop> {
        self.lock().stop()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stop(&self) -> Option<Stop> {
        // In this order: a reader that goes away after the end has nothing left to wait for.
        if self.ended {
            Some(Stop::Ended)
        } else if self.gone {
            Some(Stop::Gone)
        } else {
            None
        }
    }

    fn has_room(&self, capacity: usize) -> bool {
        self.queue.is_empty() || self.cost < capacity
    }

    fn push(&mut self, event: Event) {
        self.cost += event.encoded().len() + OVERHEAD;
        self.queue.push_back(event);
    }

    /// Everybody who waits, to be woken once the lock is released.
    fn waiting(&mut self) -> [Option<Waker>; 3] {
        [self.reader.take(), self.room.take(), self.over.take()]
    }
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The events that an [`EventSender`](crate::EventSender) sends, as the body of its response
/// takes them.
pub struct EventQueue {
    pipe: Arc<Pipe>,
}

impl Stream for EventQueue {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.pipe.lock();
        let Some(event) = state.queue.pop_front() else {
            if state.ended {
                state.finished = true;
                let over = state.over.take();
                drop(state);
                wake(over);
                return Poll::Ready(None);
            }
            remember(&mut state.reader, cx);
            return Poll::Pending;
        };
        state.cost -= event.encoded().len() + OVERHEAD;
        // The body hands on what it takes, so with the last event all is done. (A client may act
        // upon it, and go away, before the body asks again.)
        let over = if state.ended && state.queue.is_empty() {
            state.finished = true;
            state.over.take()
        } else {
            None
        };
        // Not at every event: a writer that was woken for one would be woken for each.
        let room = if state.cost <= self.pipe.capacity / 2 {
            state.room.take()
        } else {
            None
        };
        drop(state);
        wake(over);
        wake(room);
        Poll::Ready(Some(event))
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        let mut state = self.pipe.lock();
        state.gone = true;
        let queue = std::mem::take(&mut state.queue);
        state.cost = 0;
        let waiting = state.waiting();
        drop(state);
        drop(queue);
        waiting.into_iter().for_each(wake);
    }
}

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventQueue").field(&self.pipe).finish()
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Pipe")
            .field("events", &state.queue.len())
            .field("cost", &state.cost)
            .field("ended", &state.ended)
            .field("gone", &state.gone)
            .finish_non_exhaustive()
    }
}
