use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, response};
use switchback_core::{CloseReason, Error, ErrorKind, Limits, Message, TransportKind};
use switchback_http::{Lane, batch};
use tokio::time::Instant;

use crate::proto::{Reply, Retry};
use crate::timer::Timer;

/// An empty batch that comes sooner than this after the request did not wait for a message.
const SUSPICIOUSLY_SOON: Duration = Duration::from_millis(100);

/// How long to wait after such a batch, so that a server that does not wait is not flooded.
const CALM_DOWN: Duration = Duration::from_secs(1);

/// The client's half of the polls: one after the other on one lane, each acknowledging what the
/// one before brought.
///
/// The next poll is sent as soon as a batch is complete, but its response is not read before the
/// application has taken the whole batch. So what is held for a slow application is one batch, and
/// what a socket holds of the next.
#[derive(Debug)]
pub(super) struct Polls {
    lane: Lane,
    headers: HeaderMap,
    limits: Limits,
    /// How long a response may take to go on.
    patience: Duration,
    /// The number of the last message that was received.
    cursor: u64,
    /// What the application has not taken yet of the last batch.
    received: VecDeque<Message>,
    retry: Retry,
    stage: Stage,
    /// Of the stage: when the pause ends, or when patience does.
    timer: Timer,
}

#[derive(Debug)]
enum Stage {
    /// The next poll can be sent.
    Idle,
    /// The next poll must wait for the timer.
    Pause,
    /// A poll was sent.
    Head {
        since: Instant,
    },
    /// Its response is coming in.
    Body {
        since: Instant,
        head: Box<response::Parts>,
        body: BytesMut,
    },
    /// There will be no more polls.
    Closed(CloseReason),
    Failed(ErrorKind),
}

impl Polls {
    /// `lane` has carried the opening request, whose response brought `first`.
    pub(super) fn new(
        lane: Lane,
        headers: HeaderMap,
        first: Vec<Message>,
        limits: Limits,
        patience: Duration,
        retry_for: Duration,
    ) -> Self {
        let mut polls = Self {
            lane,
            headers,
            patience,
            cursor: 0,
            received: VecDeque::new(),
            limits,
            retry: Retry::new(retry_for),
            stage: Stage::Idle,
            timer: Timer::new(),
        };
        polls.take_in(first);
        polls
    }

    /// Receives the next message; `None` after the server's close.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Message>, Error>> {
        if (self.received.is_empty() || matches!(self.stage, Stage::Idle))
            && let Poll::Ready(Err(error)) = self.poll_drive(cx)
        {
            self.fail(&error);
            return Poll::Ready(Err(error));
        }
        if let Some(message) = self.received.pop_front() {
            if self.received.is_empty() {
                // An idle connection keeps nothing.
                self.received = VecDeque::new();
            }
            return Poll::Ready(Ok(Some(message)));
        }
        match &self.stage {
            Stage::Closed(_) => Poll::Ready(Ok(None)),
            Stage::Failed(kind) => Poll::Ready(Err((*kind).into())),
            _ => Poll::Pending,
        }
    }

    /// Returns the server's close, once everything before it was received.
    pub(super) fn close_reason(&self) -> Option<&CloseReason> {
        match &self.stage {
            Stage::Closed(why) if self.received.is_empty() => Some(why),
            _ => None,
        }
    }

    /// Tells whether the server has closed or the polls have failed.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Closed(_) | Stage::Failed(_))
    }

    /// Ends the polls, and drops what was received.
    pub(super) fn fail(&mut self, error: &Error) {
        self.lane.abort();
        self.timer.clear();
        self.received = VecDeque::new();
        self.stage = Stage::Failed(error.kind());
    }

    /// Sends polls and takes in their responses until it must wait, for the network or for the
    /// application, or there will be no more.
    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match &mut self.stage {
                Stage::Closed(_) | Stage::Failed(_) => return Poll::Ready(Ok(())),
                Stage::Idle => self.start(),
                Stage::Body { .. } if !self.received.is_empty() => return Poll::Ready(Ok(())),
                Stage::Pause => {
                    ready!(self.timer.poll(cx));
                    self.stage = Stage::Idle;
                }
                Stage::Head { since } => {
                    let since = *since;
                    match self.lane.poll_head(cx) {
                        Poll::Ready(Ok(head)) => {
                            self.timer.set(self.patience);
                            self.stage = Stage::Body {
                                since,
                                head: Box::new(head),
                                body: BytesMut::new(),
                            };
                        }
                        Poll::Ready(Err(error)) => self.lost(error)?,
                        Poll::Pending => ready!(self.poll_patience(cx))?,
                    }
                }
                Stage::Body { body, .. } => match self.lane.poll_chunk(cx) {
                    Poll::Ready(Ok(Some(chunk))) => {
                        if body.len() + chunk.len() > batch::max_body(&self.limits) {
                            return Poll::Ready(Err(too_large()));
                        }
                        body.extend_from_slice(&chunk);
                        // A slow network is not a lost response.
                        self.timer.set(self.patience);
                    }
                    Poll::Ready(Ok(None)) => self.finish()?,
                    Poll::Ready(Err(error)) => self.lost(error)?,
                    Poll::Pending => ready!(self.poll_patience(cx))?,
                },
            }
        }
    }

    fn start(&mut self) {
        let cursor = self.cursor.to_string();
        let target = self.lane.url().with_query(&[
            ("transport", TransportKind::LongPoll.name()),
            ("cursor", &cursor),
        ]);
        self.lane
            .start(Method::GET, &target, self.headers.clone(), Bytes::new());
        self.timer.set(self.patience);
        self.stage = Stage::Head {
            since: Instant::now(),
        };
    }

    /// The response is complete.
    fn finish(&mut self) -> Result<(), Error> {
        let Stage::Body { since, head, body } = std::mem::replace(&mut self.stage, Stage::Idle)
        else {
            return Ok(());
        };
        let response = Response::from_parts(*head, body.freeze());
        match Reply::read(&response, &self.limits) {
            Reply::Messages(messages) => {
                self.retry.succeeded();
                if messages.is_empty() && since.elapsed() < SUSPICIOUSLY_SOON {
                    self.pause(CALM_DOWN);
                }
                self.take_in(messages);
                Ok(())
            }
            Reply::Closed(why) => {
                self.timer.clear();
                self.stage = Stage::Closed(why);
                Ok(())
            }
            Reply::Superseded => self.again(Error::with_message(
                ErrorKind::Protocol,
                "another poll overtakes this client's again and again",
            )),
            Reply::Failed(error) => Err(error),
        }
    }

    fn take_in(&mut self, messages: Vec<Message>) {
        self.cursor += messages.len() as u64;
        self.received.extend(messages);
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.timer.poll(cx));
        self.lane.abort();
        Poll::Ready(self.again(Error::with_message(
            ErrorKind::TimedOut,
            "the server does not answer a poll",
        )))
    }

    /// Repeats the poll if that may help.
    fn lost(&mut self, error: Error) -> Result<(), Error> {
        match error.kind() {
            ErrorKind::Reset | ErrorKind::Io | ErrorKind::TimedOut | ErrorKind::Refused => {
                self.again(error)
            }
            _ => Err(error),
        }
    }

    /// Repeats the poll after a while, with the same cursor; gives the error back when that was
    /// done for long enough.
    fn again(&mut self, error: Error) -> Result<(), Error> {
        let random = RandomState::new().hash_one(self.cursor);
        match self.retry.failed(Instant::now().into_std(), random) {
            Some(delay) => {
                self.pause(delay);
                Ok(())
            }
            None => Err(error),
        }
    }

    fn pause(&mut self, delay: Duration) {
        self.timer.set(delay);
        self.stage = Stage::Pause;
    }
}

fn too_large() -> Error {
    Error::with_message(
        ErrorKind::TooLarge,
        "a response is larger than a batch may be",
    )
}
