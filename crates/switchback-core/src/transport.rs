use std::fmt;
use std::task::{Context, Poll, ready};

use crate::{CloseReason, Error, Message, Run, TransportInfo};

/// One established, message-oriented, bidirectional connection to one peer, the same on the server
/// and on the client.
///
/// Messages arrive in order, each once, bit for bit as they were sent, until the connection ends;
/// what was in flight then is lost. (Sessions, in the facade, are what survives that.)
///
/// The methods are poll-based and need no `Pin`, so that receiving is cancel safe by construction
/// and a `Box<dyn Transport>` costs one allocation per connection and none per message. Use
/// [`TransportExt`](crate::TransportExt) for `async` versions.
///
/// # Contract
///
/// - One task owns the transport. Each method remembers the waker of its latest call only.
/// - [`poll_recv`](Self::poll_recv) also drives timers and control traffic, and flushes what that
///   produces: an application that only reads still answers pings.
/// - [`poll_send`](Self::poll_send) takes the message into a bounded buffer, or returns `Pending`
///   and has not taken it. Many sends, one [`poll_flush`](Self::poll_flush).
/// - A transport that was dropped ends the connection without a close, and frees all it holds.
/// - No method panics, whatever the peer sends and in whatever order they are called.
pub trait Transport: fmt::Debug + Send + Unpin {
    /// Describes this transport.
    fn info(&self) -> &TransportInfo;

    /// Receives the next message. `Ok(None)`: the peer closed cleanly and everything it sent
    /// before was delivered; [`close_reason`](Self::close_reason) then says why.
    ///
    /// After `Ok(None)` every further call gives `Ok(None)`; after an error every further call
    /// gives an error.
    ///
    /// # Errors
    ///
    /// The connection was cut, or the peer broke the protocol or a limit, or was silent too long.
    /// The peer has then been told, where that was possible.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the caller goes away after `Pending`.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>>;

    /// Receives messages and gives each to `take`, until that returns `false`, and none from then on, or
    /// no more is at hand. As
    /// [`poll_recv`](Self::poll_recv) for many messages: `Ready(Ok(true))` when there was at least
    /// one, `Ready(Ok(false))` where that gives `None`. The default asks for one after the other.
    ///
    /// # Errors
    ///
    /// As [`poll_recv`](Self::poll_recv), and only where no message was given before.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the caller goes away after `Pending`.
    fn poll_recv_each(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Message) -> bool,
    ) -> Poll<Result<bool, Error>> {
        self.poll_recv(cx).map_ok(|message| {
            let open = message.is_some();
            message.map(take);
            open
        })
    }

    /// Tells whether something that was received already waits in this transport, so that
    /// [`poll_recv`](Self::poll_recv) may give a message without reading: whoever replies may hold
    /// the flush back until then. `None`: this transport cannot tell, the default.
    fn has_buffered(&self) -> Option<bool> {
        None
    }

    /// Takes a message into the send buffer. `Pending`: the buffer is full and the message was not
    /// taken; the call has tried to make room by writing.
    ///
    /// # Errors
    ///
    /// The connection ended, by a close of either side or otherwise. The message was not taken.
    fn poll_send(&mut self, cx: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>>;

    /// Takes messages of a broadcast into the send buffer, out of the front of the run, which is empty
    /// when all were taken. `Pending`: the buffer is full, and what was not taken is still in the run.
    ///
    /// The default [sends](Self::poll_send) one after the other. A transport that shares encodings
    /// does better.
    ///
    /// # Errors
    ///
    /// As [`poll_send`](Self::poll_send). What was not taken is still in the run.
    fn poll_send_run(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Poll<Result<(), Error>> {
        while let Some(message) = run.front() {
            ready!(self.poll_send(cx, message))?;
            run.advance(1);
        }
        Poll::Ready(Ok(()))
    }

    /// Hands everything taken so far to the network.
    ///
    /// On a transport without a connection of its own (event stream, long-poll) this means: ready
    /// for the next response to pick up.
    ///
    /// # Errors
    ///
    /// The connection was cut. What was taken may not have arrived.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;

    /// Sends what was taken so far, then the close, then waits for the peer to confirm it where
    /// the protocol has a confirmation, no longer than the close timeout. Inbound messages that
    /// arrive meanwhile are dropped.
    ///
    /// The reason of the first call counts. A call after the connection ended is `Ready(Ok)`.
    ///
    /// # Errors
    ///
    /// The connection was cut, or the peer did not confirm in time, before the close was complete.
    fn poll_close(&mut self, cx: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>>;

    /// Why the connection was closed: what the peer said. `None` while it is open, and when it
    /// was cut without a close.
    fn close_reason(&self) -> Option<&CloseReason>;
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn info(&self) -> &TransportInfo {
        (**self).info()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        (**self).poll_recv(cx)
    }

    fn poll_recv_each(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Message) -> bool,
    ) -> Poll<Result<bool, Error>> {
        (**self).poll_recv_each(cx, take)
    }

    fn has_buffered(&self) -> Option<bool> {
        (**self).has_buffered()
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>> {
        (**self).poll_send(cx, message)
    }

    fn poll_send_run(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Poll<Result<(), Error>> {
        (**self).poll_send_run(cx, run)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        (**self).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>> {
        (**self).poll_close(cx, why)
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        (**self).close_reason()
    }
}

impl<T: Transport + ?Sized> Transport for &mut T {
    fn info(&self) -> &TransportInfo {
        (**self).info()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        (**self).poll_recv(cx)
    }

    fn poll_recv_each(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Message) -> bool,
    ) -> Poll<Result<bool, Error>> {
        (**self).poll_recv_each(cx, take)
    }

    fn has_buffered(&self) -> Option<bool> {
        (**self).has_buffered()
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>> {
        (**self).poll_send(cx, message)
    }

    fn poll_send_run(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Poll<Result<(), Error>> {
        (**self).poll_send_run(cx, run)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        (**self).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>> {
        (**self).poll_close(cx, why)
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        (**self).close_reason()
    }
}
