use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http_body::{Body, Frame};
use pin_project_lite::pin_project;

use super::EventQueue;
use crate::Event;
use crate::quiet::Quiet;

/// Events are joined into chunks of up to this many bytes. A chunk is one write, and one chunk of
/// the HTTP/1.1 chunked coding or one frame of HTTP/2.
const CHUNK_SIZE: usize = 64 * 1024;

/// An event of this size goes as it is: copying it would cost more than a write of its own.
const WHOLE_SIZE: usize = 16 * 1024;

const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

pin_project! {
    /// The body of an event stream: whatever events are there, joined into one chunk, and comments
    /// as keep-alives while there are none.
    ///
    /// Made by [`EventStream`](crate::EventStream).
    pub struct EventBody<S = EventQueue> {
        #[pin]
        events: S,
        // What goes before anything else: padding, or an event that did not fit into the last chunk.
        held: Option<Bytes>,
        ended: bool,
        keep_alive: Option<Quiet>,
    }
}

impl<S> EventBody<S> {
    /// Makes a body of events, preceded by a comment of `padding` bytes.
    pub(super) fn new(events: S, keep_alive: Option<Duration>, padding: usize) -> Self {
        Self {
            events,
            held: (padding > 0).then(|| comment_of(padding)),
            ended: false,
            keep_alive: keep_alive.map(Quiet::new),
        }
    }
}

impl<S: Stream<Item = Event>> Body for EventBody<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut this = self.project();
        let mut chunk = Chunk::new(this.held.take());
        while !*this.ended && chunk.takes_more() {
            match this.events.as_mut().poll_next(cx) {
                Poll::Ready(Some(event)) => *this.held = chunk.add(event.into_encoded()),
                Poll::Ready(None) => *this.ended = true,
                Poll::Pending => break,
            }
            if this.held.is_some() {
                break;
            }
        }
        let chunk = match chunk.finish() {
            Some(chunk) => {
                if let Some(keep_alive) = this.keep_alive {
                    keep_alive.put_off();
                }
                chunk
            }
            None if *this.ended => return Poll::Ready(None),
            None => match this.keep_alive {
                Some(keep_alive) => {
                    ready!(keep_alive.poll_due(cx));
                    KEEP_ALIVE
                }
                None => return Poll::Pending,
            },
        };
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.held.is_none()
    }
}

impl<S> fmt::Debug for EventBody<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBody")
            .field("ended", &self.ended)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}

/// A chunk under construction. A single event is handed on without a copy.
struct Chunk {
    first: Bytes,
    joined: BytesMut,
}

impl Chunk {
    fn new(first: Option<Bytes>) -> Self {
        Self {
            first: first.unwrap_or_default(),
            joined: BytesMut::new(),
        }
    }

    fn takes_more(&self) -> bool {
        self.first.len() < WHOLE_SIZE && self.joined.len() < CHUNK_SIZE
    }

    /// Adds an event, or gives it back when it is to go in the next chunk.
    fn add(&mut self, event: Bytes) -> Option<Bytes> {
        if self.first.is_empty() {
            self.first = event;
            return None;
        }
        if event.len() >= WHOLE_SIZE {
            return Some(event);
        }
        if self.joined.is_empty() {
            self.joined.reserve(2 * (self.first.len() + event.len()));
            self.joined.extend_from_slice(&self.first);
        }
        self.joined.extend_from_slice(&event);
        None
    }

    fn finish(self) -> Option<Bytes> {
        if !self.joined.is_empty() {
            Some(self.joined.freeze())
        } else if !self.first.is_empty() {
            Some(self.first)
        } else {
            None
        }
    }
}

/// A comment of `size` bytes, three at least.
fn comment_of(size: usize) -> Bytes {
    let mut comment = vec![b' '; size.max(3)];
    comment[0] = b':';
    let end = comment.len() - 2;
    comment[end..].fill(b'\n');
    comment.into()
}
