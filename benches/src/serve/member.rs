//! A bare WebSocket or long-poll in the list: a bounded queue, and a task that writes it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use switchback::{Error, Message};
use switchback_core::Transport;

use super::room::Outcome;

/// How many messages wait for a client. They share their payloads.
const CAPACITY: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Message>,
    waker: Option<Waker>,
    closed: bool,
}

impl Queue {
    pub(super) fn push(&self, message: &Message) -> Outcome {
        let mut state = self.lock();
        if state.closed {
            return Outcome::Gone;
        }
        if state.messages.len() == CAPACITY {
            return Outcome::Full;
        }
        state.messages.push_back(message.clone());
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
        Outcome::Sent
    }

    fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Message> {
        let mut state = self.lock();
        match state.messages.pop_front() {
            Some(message) => Poll::Ready(message),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.messages = VecDeque::new();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what is queued until the transport ends: all that waited in one flush.
pub(super) async fn run<T: Transport>(mut transport: T, queue: Arc<Queue>) {
    let mut held = None;
    let _ = poll_fn(|cx| poll(&mut transport, &queue, &mut held, cx)).await;
    queue.close();
}

fn poll<T: Transport>(
    transport: &mut T,
    queue: &Queue,
    held: &mut Option<Message>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    // Also what answers pings and notices the end.
    while let Poll::Ready(received) = transport.poll_recv(cx)? {
        if received.is_none() {
            return Poll::Ready(Ok(()));
        }
    }
    loop {
        if let Some(message) = held {
            ready!(transport.poll_send(cx, message))?;
        }
        *held = match queue.poll_pop(cx) {
            Poll::Ready(message) => Some(message),
            Poll::Pending => break,
        };
    }
    *held = None;
    ready!(transport.poll_flush(cx))?;
    Poll::Pending
}
