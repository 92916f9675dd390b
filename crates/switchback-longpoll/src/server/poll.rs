use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;

use super::connection::Connection;
use super::respond;
use crate::proto::{Answer, Ticket};
use crate::timer::Timer;

/// The future of [`LongPollServer::poll`](super::LongPollServer::poll).
///
/// Dropping it, as a server does when the client has gone away, loses no message.
#[must_use = "futures do nothing unless awaited"]
pub struct PollResponse {
    inner: Inner,
}

enum Inner {
    Ready(Option<Response<Full<Bytes>>>),
    Waiting(Waiting),
}

struct Waiting {
    connection: Arc<Connection>,
    ticket: Ticket,
    window: Duration,
    timer: Timer,
}

impl PollResponse {
    pub(super) fn ready(response: Response<Full<Bytes>>) -> Self {
        Self {
            inner: Inner::Ready(Some(response)),
        }
    }

    pub(super) fn waiting(connection: Arc<Connection>, ticket: Ticket, window: Duration) -> Self {
        Self {
            inner: Inner::Waiting(Waiting {
                connection,
                ticket,
                window,
                timer: Timer::new(),
            }),
        }
    }
}

impl Waiting {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        if let Poll::Ready(answer) = self.connection.poll_answer(self.ticket, cx) {
            return Poll::Ready(answer);
        }
        ready!(self.timer.poll_after(cx, self.window));
        Poll::Ready(self.connection.window_ended(self.ticket))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.connection.leave(self.ticket);
    }
}

impl Future for PollResponse {
    type Output = Response<Full<Bytes>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.inner {
            Inner::Waiting(waiting) => {
                let answer = ready!(waiting.poll(cx));
                self.inner = Inner::Ready(None);
                Poll::Ready(respond::answer(answer))
            }
            Inner::Ready(response) => match response.take() {
                Some(response) => Poll::Ready(response),
                // Polled again after it was ready, which no executor does.
                None => Poll::Pending,
            },
        }
    }
}

impl fmt::Debug for PollResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.inner {
            Inner::Ready(_) => "ready",
            Inner::Waiting(_) => "waiting",
        };
        f.debug_struct("PollResponse")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
