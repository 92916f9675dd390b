use std::time::Duration;

use futures_core::Stream;
use http::{HeaderName, HeaderValue, Request, Response, header};

use super::pipe::Pipe;
use super::{EventBody, EventSender};
use crate::Event;

/// Makes responses that are event streams, for `EventSource`, `curl -N` and any other client.
///
/// A stream begins with this value's settings, and its events come either from
/// [a channel](Self::channel) or from [a `Stream`](Self::respond). For messages in both directions
/// use [`SseServer`](crate::SseServer).
///
/// ```
/// use switchback_sse::{Event, EventStream};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (response, mut events) = EventStream::new().channel();
/// assert_eq!(response.headers()["content-type"], "text/event-stream");
/// events.send(Event::new().data("hello")?).await?;
/// # Ok::<(), switchback_sse::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventStream {
    keep_alive: Option<Duration>,
    padding: usize,
    queue_size: usize,
}

impl EventStream {
    /// Keep-alives every 25 s, no padding, a queue of 64 KiB.
    pub const fn new() -> Self {
        Self {
            keep_alive: Some(Duration::from_secs(25)),
            padding: 0,
            queue_size: 64 * 1024,
        }
    }

    /// Sets after how long without an event a comment is sent, so that proxies do not take the
    /// connection for dead and clients that are gone are noticed. `None`: never. Default 25 s.
    #[must_use]
    pub fn keep_alive(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.keep_alive = interval.into();
        self
    }

    /// Begins the stream with a comment of so many bytes, against proxies and old browsers that
    /// hold back the beginning of a response: 2 KiB are enough for those known. Default 0.
    #[must_use]
    pub const fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Sets how many bytes of events a [channel](Self::channel) holds before
    /// [`send`](EventSender::send) waits. One event is always taken. Default 64 KiB.
    #[must_use]
    pub const fn queue_size(mut self, bytes: usize) -> Self {
        self.queue_size = bytes;
        self
    }

    /// Makes a response and the sender of its events.
    pub fn channel(&self) -> (Response<EventBody>, EventSender) {
        let (pipe, queue) = Pipe::new(self.queue_size);
        (self.respond(queue), EventSender::new(pipe))
    }

    /// Makes a response of a stream of events. It ends when the stream ends.
    pub fn respond<S: Stream<Item = Event>>(&self, events: S) -> Response<EventBody<S>> {
        response(EventBody::new(events, self.keep_alive, self.padding))
    }
}

impl Default for EventStream {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the last event ID that a client comes back with: the events after that one are those
/// that it has missed. `None` when it has none, or sends what is not UTF-8.
pub fn last_event_id<B>(request: &Request<B>) -> Option<&str> {
    let id = request.headers().get("last-event-id")?;
    let id = std::str::from_utf8(id.as_bytes()).ok()?;
    (!id.is_empty()).then_some(id)
}

/// The headers of an event stream (`docs/protocol.md`, 2.2).
pub(super) fn response<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // Or nginx holds events back until its buffer is full.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}
