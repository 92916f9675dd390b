use std::fmt;
use std::sync::Arc;

use switchback_core::{Broadcast, CloseReason, Error, ErrorKind, Message};

use super::Shared;

/// Sends on a [`Connection`](crate::Connection) from any task. Cheap to clone.
///
/// Holding one does not keep the connection open.
#[derive(Clone)]
pub struct Sender(Arc<Shared>);

impl Sender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Queues a message if there is room below the hard limit. Never waits for room. To send to many
    /// connections, [`Broadcast`] does better.
    ///
    /// # Errors
    ///
    /// As [`Connection::try_send`](crate::Connection::try_send).
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.0.enqueue(message.into())
    }

    /// Sends a message, waiting while the outbound queue is over its soft limit.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`](crate::Connection::send).
    ///
    /// # Cancel safety
    ///
    /// As [`Connection::send`](crate::Connection::send).
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.0.send(message.into()).await
    }

    /// Sends everything that is published on a broadcast from now on, as
    /// [`Connection::subscribe`](crate::Connection::subscribe) does.
    ///
    /// # Errors
    ///
    /// As [`Connection::subscribe`](crate::Connection::subscribe).
    pub fn subscribe(&self, broadcast: &Broadcast) -> Result<(), Error> {
        self.0.subscribe(broadcast)
    }

    /// Sends no more of a broadcast than what was published by now. Returns whether the connection had
    /// subscribed.
    pub fn unsubscribe(&self, broadcast: &Broadcast) -> bool {
        self.0.unsubscribe(broadcast)
    }

    /// Begins to close the connection; its owner sees the end.
    pub fn close(&self, why: impl Into<CloseReason>) {
        self.0.start_close(why.into());
    }

    /// Tells whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        matches!(self.0.state(), super::State::Closed(_))
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("id", &self.0.id())
            .finish_non_exhaustive()
    }
}

/// A message that was not sent, and why.
// One pointer, so that what `send` returns goes through registers.
pub struct SendError(Box<Unsent>);

struct Unsent {
    message: Message,
    error: Error,
}

impl SendError {
    #[cold]
    pub(super) fn new(message: Message, error: Error) -> Self {
        Self(Box::new(Unsent { message, error }))
    }

    /// Tells whether the queue was full. Any other failure means that this message will never go.
    pub fn is_full(&self) -> bool {
        self.0.error.kind() == ErrorKind::Full
    }

    /// Gives the message back.
    pub fn into_message(self) -> Message {
        self.0.message
    }

    /// Returns why it was not sent.
    pub fn error(&self) -> &Error {
        &self.0.error
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message was not sent")
    }
}

/// The display text and its cause, because that is what a `main` that returns the error prints.
impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}: {:?}", self.0.error)
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.error)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        error.0.error
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;
    use std::task::Poll;

    use super::*;

    /// Larger, each result of `send` would go through memory, in two writes and one read of both.
    #[test]
    fn a_result_fits_into_two_registers() {
        assert!(size_of::<Poll<Result<(), SendError>>>() <= 2 * size_of::<usize>());
    }
}
