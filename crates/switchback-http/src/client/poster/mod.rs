//! The client half of the numbered POST.

mod backoff;
mod outbox;
mod wakers;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use switchback_core::{CloseReason, Error, ErrorKind, Limits, Message, TransportKind};
use tokio::time::{Instant, Sleep, sleep};

use self::backoff::Backoff;
use self::outbox::Outbox;
use self::wakers::Wakers;
use super::{Lane, refusal_error};
use crate::fatal::Fatal;
use crate::{batch, headers};

/// Sends messages upstream by numbered POSTs (`docs/protocol.md`, 2.4), and the close by DELETE.
///
/// Keeps `send_buffer` bytes of messages, one message at least, until the server has acknowledged
/// them. One POST is under way at a time, with everything that a batch can take. A POST that fails
/// on the network is sent again; the server skips what it has. After 10 s of failures the poster
/// fails, and at once when the server refuses.
///
/// No task is spawned: POSTs proceed while any of the methods is polled. The methods may wait in
/// different tasks' contexts.
#[derive(Debug)]
pub struct Poster {
    lane: Lane,
    transport: TransportKind,
    headers: HeaderMap,
    outbox: Outbox,
    step: Step,
    backoff: Backoff,
    try_timeout: Duration,
    close_timeout: Duration,
    closing: Closing,
    failed: Option<Fatal>,
    wakers: Arc<Wakers>,
}

/// What is under way on the lane.
#[derive(Debug)]
enum Step {
    Idle,
    Posting {
        count: usize,
        timeout: Pin<Box<Sleep>>,
    },
    Deleting {
        timeout: Pin<Box<Sleep>>,
    },
    /// Between two tries.
    Pausing(Pin<Box<Sleep>>),
}

#[derive(Debug)]
enum Closing {
    Open,
    /// The messages are to be sent, then a DELETE with this target.
    Begun {
        target: String,
        timeout: Pin<Box<Sleep>>,
    },
    /// It is over, well or not.
    Done,
}

/// The answers to POST and DELETE are short.
const MAX_ANSWER: usize = 16 * 1024;

/// How long tries may fail before the poster does.
const RETRY_FOR: Duration = Duration::from_secs(10);

impl Poster {
    /// Makes a poster for the connection with the id `connection`.
    pub fn new(lane: Lane, transport: TransportKind, connection: String, limits: &Limits) -> Self {
        let mut headers = HeaderMap::new();
        let mut failed = None;
        match HeaderValue::try_from(connection) {
            Ok(id) => drop(headers.insert(headers::CONNECTION, id)),
            Err(error) => {
                let text = "the connection id that the server gave cannot be sent back";
                let error = Error::with_message(ErrorKind::Protocol, text).with_source(error);
                failed = Some(Fatal::new(error));
            }
        }
        Self {
            lane,
            transport,
            headers,
            outbox: Outbox::new(limits),
            step: Step::Idle,
            backoff: Backoff::new(RETRY_FOR),
            // The server may wait for room for as long as a handshake may take, and the body
            // and the answer take their time too.
            try_timeout: limits.handshake_time().saturating_mul(2),
            close_timeout: limits.close_time(),
            closing: Closing::Open,
            failed,
            wakers: Arc::default(),
        }
    }

    /// Adds headers to every request: credentials, say.
    #[must_use]
    pub fn with_headers(mut self, mut headers: HeaderMap) -> Self {
        // Ours win.
        headers.extend(std::mem::take(&mut self.headers));
        self.headers = headers;
        self
    }

    /// Sets how long tries may fail before the poster does. Default 10 s.
    #[must_use]
    pub fn with_retry_for(mut self, retry_for: Duration) -> Self {
        self.backoff.set_retry_for(retry_for);
        self
    }

    /// Takes a message into the buffer. `Pending`: the buffer is full and the message was not
    /// taken; the call has tried to make room. Nothing is sent until [`poll_drive`](Self::poll_drive).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] after [`poll_close`](Self::poll_close), or what ended the poster. The
    /// message was not taken.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &Message,
    ) -> Poll<Result<(), Error>> {
        self.check()?;
        if !matches!(self.closing, Closing::Open) {
            return Poll::Ready(Err(ErrorKind::Closed.into()));
        }
        if !self.outbox.has_room(message) {
            if let Poll::Ready(Err(error)) = self.poll_drive(cx) {
                return Poll::Ready(Err(error));
            }
            if !self.outbox.has_room(message) {
                return Poll::Pending;
            }
        }
        self.outbox.push(message);
        Poll::Ready(Ok(()))
    }

    /// Drives POSTs. Ready when all messages were acknowledged.
    ///
    /// # Errors
    ///
    /// What ended the poster: the server refused ([`refusal_error`]) or broke the protocol, or
    /// could not be reached for too long.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the caller goes away after `Pending`.
    pub fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.check()?;
        let waker = self.wakers.register(cx.waker());
        let driven = ready!(self.drive(&mut Context::from_waker(&waker)));
        Poll::Ready(driven.map_err(|error| self.fail(error)))
    }

    /// Drives all POSTs, then tells the server to close, all within the close timeout.
    ///
    /// The reason of the first call counts. A call after the end is `Ready(Ok)`.
    ///
    /// # Errors
    ///
    /// What went wrong before the server had everything and confirmed the close;
    /// [`ErrorKind::TimedOut`] when that took too long.
    pub fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        why: &CloseReason,
    ) -> Poll<Result<(), Error>> {
        if matches!(self.closing, Closing::Open) {
            if self.failed.is_some() {
                self.closing = Closing::Done;
            } else {
                self.begin_close(why);
            }
        }
        let driven = match &self.closing {
            Closing::Done => return Poll::Ready(Ok(())),
            Closing::Open | Closing::Begun { .. } => self.poll_drive(cx),
        };
        let ended = match (driven, &mut self.closing) {
            (Poll::Ready(ended), _) => ended,
            (Poll::Pending, Closing::Begun { timeout, .. }) => {
                let waker = self.wakers.register(cx.waker());
                ready!(timeout.as_mut().poll(&mut Context::from_waker(&waker)));
                let text = "the server did not confirm the close in time";
                Err(self.fail(Error::with_message(ErrorKind::TimedOut, text)))
            }
            (Poll::Pending, Closing::Open | Closing::Done) => return Poll::Pending,
        };
        self.closing = Closing::Done;
        Poll::Ready(ended)
    }

    fn begin_close(&mut self, why: &CloseReason) {
        let code = why.code().as_u16().to_string();
        let target = self.lane.url().with_query(&[
            ("transport", self.transport.name()),
            ("code", &code),
            ("reason", why.reason()),
        ]);
        self.closing = Closing::Begun {
            target,
            timeout: Box::pin(sleep(self.close_timeout)),
        };
    }

    /// Says the error that ended the poster again.
    fn check(&mut self) -> Result<(), Error> {
        match &mut self.failed {
            Some(fatal) => Err(fatal.say()),
            None => Ok(()),
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.lane.abort();
        self.step = Step::Idle;
        self.failed.insert(Fatal::new(error)).say()
    }

    /// Goes on until there is nothing to do or to wait for.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match &mut self.step {
                Step::Idle => {
                    if !self.outbox.is_empty() {
                        self.post();
                    } else if let Closing::Begun { target, .. } = &self.closing {
                        let headers = self.headers.clone();
                        self.lane
                            .start(Method::DELETE, target, headers, Bytes::new());
                        let timeout = Box::pin(sleep(self.try_timeout));
                        self.step = Step::Deleting { timeout };
                    } else {
                        let _ = self.lane.poll_connecting(cx);
                        return Poll::Ready(Ok(()));
                    }
                }
                Step::Posting { count, timeout } => {
                    let answer = ready!(poll_answer(&mut self.lane, timeout, cx));
                    let count = *count;
                    self.step = Step::Idle;
                    self.posted(count, answer)?;
                }
                Step::Deleting { timeout } => {
                    let answer = ready!(poll_answer(&mut self.lane, timeout, cx));
                    self.step = Step::Idle;
                    if self.deleted(answer)? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Step::Pausing(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.step = Step::Idle;
                }
            }
        }
    }

    fn post(&mut self) {
        let batch = self.outbox.batch();
        let target = self.lane.url().with_query(&[
            ("transport", self.transport.name()),
            ("first", &batch.first.to_string()),
        ]);
        let mut headers = self.headers.clone();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(batch::CONTENT_TYPE),
        );
        self.lane.start(Method::POST, &target, headers, batch.body);
        self.step = Step::Posting {
            count: batch.count,
            timeout: Box::pin(sleep(self.try_timeout)),
        };
    }

    /// Takes the answer to a POST with `count` messages.
    fn posted(
        &mut self,
        count: usize,
        answer: Result<Response<Bytes>, Error>,
    ) -> Result<(), Error> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.outbox.lost(count);
                return self.again(error);
            }
        };
        match answer.status() {
            StatusCode::OK => {
                if self.outbox.acknowledge(received(answer.body())?)? {
                    self.backoff.succeeded();
                } else {
                    let pause = self.backoff.stalled(backoff::random());
                    self.step = Step::Pausing(Box::pin(sleep(pause)));
                }
                Ok(())
            }
            // The server's limits may be lower than ours. A single message it must take or refuse.
            StatusCode::PAYLOAD_TOO_LARGE if self.outbox.shrink(count) => Ok(()),
            _ => Err(refusal_error(&answer)),
        }
    }

    /// Takes the answer to a DELETE. `false`: another try is needed.
    fn deleted(&mut self, answer: Result<Response<Bytes>, Error>) -> Result<bool, Error> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.again(error).map(|()| false),
        };
        match answer.status() {
            // Gone already is as good as closed.
            StatusCode::NO_CONTENT | StatusCode::NOT_FOUND | StatusCode::GONE => Ok(true),
            _ => Err(refusal_error(&answer)),
        }
    }

    /// Sees to another try after `error`, if one makes sense.
    fn again(&mut self, error: Error) -> Result<(), Error> {
        let kind = match error.kind() {
            kind @ (ErrorKind::Reset | ErrorKind::Io | ErrorKind::TimedOut) => kind,
            // Nobody listens there: the server restarts, perhaps.
            ErrorKind::Refused => ErrorKind::Reset,
            _ => return Err(error),
        };
        match self.backoff.failed(Instant::now(), backoff::random()) {
            Some(pause) => {
                self.step = Step::Pausing(Box::pin(sleep(pause)));
                Ok(())
            }
            None => {
                let text = format!("all requests failed for {:?}", self.backoff.retry_for());
                Err(Error::with_message(kind, text).with_source(error))
            }
        }
    }
}

/// Waits for the answer to what was started, for so long.
fn poll_answer(
    lane: &mut Lane,
    timeout: &mut Pin<Box<Sleep>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<Bytes>, Error>> {
    if let Poll::Ready(answer) = lane.poll_whole(cx, MAX_ANSWER) {
        return Poll::Ready(answer);
    }
    ready!(timeout.as_mut().poll(cx));
    // The exchange is given up by the start of the next one.
    Poll::Ready(Err(ErrorKind::TimedOut.into()))
}

/// Reads `{"received":R}`.
fn received(body: &[u8]) -> Result<u64, Error> {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|answer| answer.get("received")?.as_u64())
        .ok_or_else(|| {
            Error::with_message(
                ErrorKind::Protocol,
                "the answer to a POST does not say what was received",
            )
        })
}

#[cfg(test)]
mod tests;
