use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, response};
use switchback_core::{Error, ErrorKind};
use switchback_http::{Lane, Url, refusal_error};
use tokio::time::Sleep;

use super::EventSourceConfig;
use super::incoming::{Incoming, is_event_stream, request_headers};
use super::location::{resolve, same_origin};
use crate::{MessageEvent, Parser};

/// The first wait that is added when a connection gave no event, and the longest one.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(20);

/// Receives the events of a URL, reconnecting by itself, as the `EventSource` of browsers
/// (WHATWG HTML, 9.2).
///
/// - When the connection fails or ends, it waits for the reconnection time and connects again, with
///   the last event ID in `Last-Event-ID`. A connection that gives no event makes it wait longer,
///   by a random time that grows up to 20 s.
/// - `204 No Content` is the server's way to say that this is enough.
/// - Another status, another content type, a certificate that is not trusted, or an event over the
///   limits end it with an error.
///
/// It runs while it is polled, spawns nothing, and holds no more than the event under way. Events
/// come from [`next`](Self::next), or from the implementation of `Stream`.
///
/// One thing differs from the letter of the standard, as it does in browsers: the last event ID
/// survives a reconnection after which the server sends events without one.
pub struct EventSource {
    url: Url,
    config: EventSourceConfig,
    state: State,
    last_event_id: String,
    reconnection_time: Duration,
    /// Connections in a row that gave no event.
    failures: u32,
    last_error: Option<Error>,
}

enum State {
    Begin,
    Requesting(Request),
    Open(Incoming),
    Waiting(Pin<Box<Sleep>>),
    Closed,
}

struct Request {
    lane: Lane,
    url: Url,
    headers: HeaderMap,
    redirects: usize,
    timeout: Pin<Box<Sleep>>,
}

/// Whether an [`EventSource`] is connected (WHATWG HTML, 9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadyState {
    /// There is no connection yet, or it is being made again.
    Connecting,
    /// Events may arrive.
    Open,
    /// No event will arrive any more.
    Closed,
}

/// What became of a request.
enum Answer {
    Stream,
    Redirect(Url),
    Enough,
    Failure(Error),
}

impl EventSource {
    /// Makes an event source. It connects when it is first polled.
    pub fn connect(url: &Url, config: &EventSourceConfig) -> Self {
        Self {
            url: url.clone(),
            config: config.clone(),
            state: State::Begin,
            last_event_id: config.last_event_id.clone(),
            reconnection_time: config.reconnection_time,
            failures: 0,
            last_error: None,
        }
    }

    /// Receives the next event, connecting as often as it takes; `None` when the server wants no
    /// reconnection, and for ever after that or an error.
    ///
    /// # Errors
    ///
    /// The server refuses, does not speak this protocol, or breaks a limit. A connection that
    /// cannot be made or is cut is no error: it is made again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped future loses nothing.
    pub async fn next(&mut self) -> Result<Option<MessageEvent>, Error> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Polls for the next event. Remembers the waker of the latest call.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<MessageEvent>, Error>> {
        loop {
            match &mut self.state {
                State::Begin => self.request(self.url.clone(), self.config.headers.clone(), 0),
                State::Requesting(request) => {
                    let answer = match request.lane.poll_head(cx) {
                        Poll::Ready(Ok(head)) => request.judge(&head, self.config.max_redirects),
                        Poll::Ready(Err(error)) => {
                            self.interrupted(error)?;
                            continue;
                        }
                        Poll::Pending => {
                            ready!(request.timeout.as_mut().poll(cx));
                            self.interrupted(Error::new(ErrorKind::TimedOut))?;
                            continue;
                        }
                    };
                    match answer {
                        Answer::Stream => self.open(),
                        Answer::Redirect(url) => self.redirect(url),
                        Answer::Enough => {
                            self.state = State::Closed;
                        }
                        Answer::Failure(error) => {
                            self.state = State::Closed;
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                State::Open(incoming) => {
                    let result = ready!(incoming.poll_event(cx));
                    if self.last_event_id != incoming.parser().last_event_id() {
                        self.last_event_id = incoming.parser().last_event_id().to_owned();
                    }
                    if let Some(time) = incoming.parser().retry() {
                        self.reconnection_time = time.min(self.config.max_reconnection_time);
                    }
                    match result {
                        Ok(Some(event)) => {
                            self.failures = 0;
                            return Poll::Ready(Ok(Some(event)));
                        }
                        Ok(None) => self.interrupted(Error::new(ErrorKind::Reset))?,
                        Err(error) => self.interrupted(error)?,
                    }
                }
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.state = State::Begin;
                }
                State::Closed => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Ends the event source.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Tells whether there is a connection.
    pub fn ready_state(&self) -> ReadyState {
        match self.state {
            State::Begin | State::Requesting(_) | State::Waiting(_) => ReadyState::Connecting,
            State::Open(_) => ReadyState::Open,
            State::Closed => ReadyState::Closed,
        }
    }

    /// Returns the last event ID: what the next connection begins behind.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Returns why the source had to connect again the last time, if it had to.
    pub fn last_error(&self) -> Option<&Error> {
        self.last_error.as_ref()
    }

    /// Returns the URL that every connection begins at.
    pub fn url(&self) -> &Url {
        &self.url
    }

    fn request(&mut self, url: Url, headers: HeaderMap, redirects: usize) {
        let mut lane = Lane::new(self.config.connector.clone(), url.clone());
        let mut sent = request_headers(&headers);
        sent.remove("last-event-id");
        // An id of control characters cannot be sent: it is as if there were none.
        if let Ok(id) = HeaderValue::from_bytes(self.last_event_id.as_bytes())
            && !id.is_empty()
        {
            sent.insert("last-event-id", id);
        }
        lane.start(Method::GET, url.path_and_query(), sent, Bytes::new());
        self.state = State::Requesting(Request {
            lane,
            url,
            headers,
            redirects,
            timeout: Box::pin(tokio::time::sleep(self.config.response_timeout)),
        });
    }

    fn redirect(&mut self, url: Url) {
        let State::Requesting(request) = std::mem::replace(&mut self.state, State::Closed) else {
            return;
        };
        let mut headers = request.headers;
        if !same_origin(&request.url, &url) {
            // Credentials are for the origin that they were given for.
            headers.remove(header::AUTHORIZATION);
            headers.remove(header::COOKIE);
        }
        self.request(url, headers, request.redirects + 1);
    }

    fn open(&mut self) {
        let State::Requesting(request) = std::mem::replace(&mut self.state, State::Closed) else {
            return;
        };
        let parser =
            Parser::with_limits(self.config.limits).with_last_event_id(self.last_event_id.clone());
        let silence_timeout = self.config.silence_timeout;
        self.state = State::Open(Incoming::new(request.lane, parser, silence_timeout));
    }

    /// Connects again in a while, unless that is futile (WHATWG HTML, 9.2.3).
    fn interrupted(&mut self, error: Error) -> Result<(), Error> {
        if is_futile(error.kind()) {
            self.state = State::Closed;
            return Err(error);
        }
        let mut delay = self.reconnection_time;
        // After a connection that gave events, none is added: servers that end each response of
        // their own accord set the pace by their reconnection time.
        if self.failures > 0 || !matches!(self.state, State::Open(_)) {
            delay += jitter(backoff(self.failures));
        }
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error);
        self.state = State::Waiting(Box::pin(tokio::time::sleep(delay)));
        Ok(())
    }
}

impl Request {
    fn judge(&self, head: &response::Parts, max_redirects: usize) -> Answer {
        match head.status {
            StatusCode::OK if is_event_stream(head) => Answer::Stream,
            StatusCode::OK => Answer::Failure(Error::with_message(
                ErrorKind::Protocol,
                "the server answered with something else than an event stream",
            )),
            StatusCode::NO_CONTENT => Answer::Enough,
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => match self.follow(head, max_redirects) {
                Ok(url) => Answer::Redirect(url),
                Err(error) => Answer::Failure(error),
            },
            status => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = status;
                Answer::Failure(refusal_error(&response))
            }
        }
    }

    fn follow(&self, head: &response::Parts, max_redirects: usize) -> Result<Url, Error> {
        let refused = |why| Error::with_message(ErrorKind::Refused, why);
        if self.redirects >= max_redirects {
            return Err(refused("the server redirects too often"));
        }
        let location = head
            .headers
            .get(header::LOCATION)
            .and_then(|location| location.to_str().ok())
            .ok_or_else(|| refused("the server redirects without a location"))?;
        let url = resolve(&self.url, location).map_err(|error| {
            refused("the server redirects to a malformed location").with_source(error)
        })?;
        if self.url.is_secure() && !url.is_secure() {
            return Err(refused("the server redirects from https to http"));
        }
        Ok(url)
    }
}

/// Tells whether connecting again would end in the same way.
fn is_futile(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Tls | ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::TooLarge
    )
}

fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF
        .saturating_mul(1 << failures.min(16))
        .min(MAX_BACKOFF)
}

/// A random part of a time, so that the clients of a server that was restarted do not come back all
/// at once. Nothing depends on its quality.
fn jitter(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 1024;
    time.saturating_mul(u32::try_from(random).unwrap_or_default()) / 1024
}

/// Gives events until [`next`](EventSource::next) would give `None`.
impl Stream for EventSource {
    type Item = Result<MessageEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx).map(Result::transpose)
    }
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSource")
            .field("url", &self.url)
            .field("ready_state", &self.ready_state())
            .field("last_event_id", &self.last_event_id)
            .field("reconnection_time", &self.reconnection_time)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}
