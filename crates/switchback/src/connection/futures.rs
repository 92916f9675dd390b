//! The futures of a connection's methods, by hand: each message passes through two of them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use switchback_core::{Error, Message};

use super::{Connection, Event, SendError, Shared};

/// Waits for events. Dropping it hands the connection to the background.
pub(super) struct Wait<'a> {
    pub(super) connection: &'a mut Connection,
    /// The connection relies on this future to come back when it is woken.
    pub(super) waiting: bool,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.waiting {
            self.connection.shared.stop_waiting();
        }
    }
}

pub(super) struct NextEvent<'a>(pub(super) Wait<'a>);

impl Future for NextEvent<'_> {
    type Output = Result<Option<Event>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let event = self.0.connection.poll_event(cx);
        self.0.waiting = event.is_pending();
        event
    }
}

pub(super) struct Recv<'a>(pub(super) Wait<'a>);

impl Recv<'_> {
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        let Wait {
            connection: Connection { shared, batch, .. },
            waiting,
        } = &mut self.0;
        loop {
            let event = shared.poll_batch(cx, batch);
            *waiting = event.is_pending();
            match ready!(event) {
                None => return Poll::Ready(Ok(batch.pop())),
                Some(event) => match event? {
                    Some(Event::Message(message)) => return Poll::Ready(Ok(Some(message))),
                    Some(_) => {}
                    None => return Poll::Ready(Ok(None)),
                },
            }
        }
    }
}

impl Future for Recv<'_> {
    type Output = Result<Option<Message>, Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.connection.batch.pop() {
            Some(message) => Poll::Ready(Ok(Some(message))),
            None => self.poll_more(cx),
        }
    }
}

/// Waits for the end of a connection that is being closed. Dropping it hands that to the background.
pub(super) struct Closed<'a> {
    shared: &'a Shared,
    waiting: bool,
}

impl<'a> Closed<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            waiting: false,
        }
    }
}

impl Future for Closed<'_> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let closed = self.shared.poll_closed(cx);
        self.waiting = closed.is_pending();
        closed
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        if self.waiting {
            self.shared.stop_waiting();
        }
    }
}

/// Sends at once where that is possible; only where it is not, there is something to wait for.
pub(super) enum Sending<'a> {
    Begun {
        shared: &'a Shared,
        message: Option<Message>,
        /// The application has more to take that it may reply to in the same write.
        more: bool,
    },
    Waiting(Pin<Box<dyn Future<Output = Result<(), SendError>> + Send + 'a>>),
}

impl<'a> Sending<'a> {
    pub(super) fn new(shared: &'a Shared, message: Message, more: bool) -> Self {
        Self::Begun {
            shared,
            message: Some(message),
            more,
        }
    }
}

impl Sending<'_> {
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        match self {
            Self::Begun { .. } => Poll::Ready(Ok(())),
            Self::Waiting(future) => future.as_mut().poll(cx),
        }
    }
}

impl Future for Sending<'_> {
    type Output = Result<(), SendError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Self::Begun {
            shared,
            message,
            more,
        } = &mut *self
            && let Some(message) = message.take()
        {
            let shared = *shared;
            match shared.send_past_outbox(message, *more)? {
                None => return Poll::Ready(Ok(())),
                Some(message) => *self = Self::Waiting(Box::pin(shared.send_own(message))),
            }
        }
        self.poll_waiting(cx)
    }
}
