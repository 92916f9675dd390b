use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use switchback_core::{Error, ErrorKind};

use super::pipe::Pipe;
use crate::Event;

/// Sends events into the body of a response that [`EventStream::channel`] made.
///
/// Dropping it ends the stream, once everything sent was delivered.
///
/// [`EventStream::channel`]: crate::EventStream::channel
#[derive(Debug)]
pub struct EventSender {
    pipe: Arc<Pipe>,
}

impl EventSender {
    pub(super) const fn new(pipe: Arc<Pipe>) -> Self {
        Self { pipe }
    }

    /// Sends an event, waiting for room in the queue.
    ///
    /// # Errors
    ///
    /// The client is gone. The error gives the event back.
    ///
    /// # Cancel safety
    ///
    /// The event of a dropped future was not sent. To keep it, wait for [`ready`](Self::ready) and
    /// call [`try_send`](Self::try_send).
    pub async fn send(&mut self, event: Event) -> Result<(), SendError> {
        if self.ready().await.is_err() {
            return Err(SendError {
                event,
                closed: true,
            });
        }
        self.try_send(event)
    }

    /// Sends an event if there is room in the queue.
    ///
    /// # Errors
    ///
    /// The queue is full or the client is gone. The error gives the event back.
    pub fn try_send(&mut self, event: Event) -> Result<(), SendError> {
        self.pipe
            .try_push(event)
            .map_err(|(event, stop)| SendError {
                event,
                closed: stop.is_some(),
            })?;
        // A reader that went away just now is told of at the next call.
        let _ = self.pipe.flush();
        Ok(())
    }

    /// Waits until there is room for an event.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Reset`]: the client is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ready(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_ready(cx)).await
    }

    /// Polls for room for an event. Remembers the waker of the latest call.
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.pipe
            .poll_room(cx)
            .map_err(|_| Error::new(ErrorKind::Reset))
    }

    /// Tells whether the client is gone.
    pub fn is_closed(&self) -> bool {
        self.pipe.stopped().is_some()
    }

    /// Waits until the client is gone.
    ///
    /// hyper notices that when the client closes its connection; where it vanishes without that,
    /// when keep-alives have not been acknowledged for as long as the operating system allows.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn closed(&mut self) {
        poll_fn(|cx| self.pipe.poll_over(cx).map(drop)).await;
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        self.pipe.end(None);
    }
}

/// An event that was not sent.
pub struct SendError {
    event: Event,
    closed: bool,
}

impl SendError {
    /// Gives the event back.
    pub fn into_event(self) -> Event {
        self.event
    }

    /// Tells whether the client is gone. Otherwise the queue is full.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.closed {
            "the client is gone"
        } else {
            "the queue of the event stream is full"
        })
    }
}

/// The display text, because that is what a `main` that returns the error prints.
impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for SendError {}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        Self::with_message(
            if error.closed {
                ErrorKind::Reset
            } else {
                ErrorKind::Full
            },
            error.to_string(),
        )
    }
}
