use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::{CloseReason, Error, Message, Transport};

/// `async` versions of the methods of [`Transport`], for every transport.
pub trait TransportExt: Transport {
    /// Receives the next message; `Ok(None)` after a clean close of the peer.
    ///
    /// # Errors
    ///
    /// As [`Transport::poll_recv`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped future loses nothing.
    fn recv(&mut self) -> Recv<'_, Self> {
        Recv { transport: self }
    }

    /// Sends a message and flushes it.
    ///
    /// # Errors
    ///
    /// As [`Transport::poll_send`] and [`Transport::poll_flush`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future either has not taken the message, or has taken it whole; then the next
    /// send or flush writes it. [`Send::is_taken`] tells which.
    fn send(&mut self, message: impl Into<Message>) -> Send<'_, Self> {
        Send {
            transport: self,
            message: Some(message.into()),
        }
    }

    /// Hands everything taken so far to the network.
    ///
    /// # Errors
    ///
    /// As [`Transport::poll_flush`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: call it again to go on.
    fn flush(&mut self) -> Flush<'_, Self> {
        Flush { transport: self }
    }

    /// Closes the connection and waits until that is complete.
    ///
    /// # Errors
    ///
    /// As [`Transport::poll_close`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: call it again to go on. The reason of the first call counts.
    fn close(&mut self, why: impl Into<CloseReason>) -> Close<'_, Self> {
        Close {
            transport: self,
            why: why.into(),
        }
    }
}

impl<T: Transport + ?Sized> TransportExt for T {}

/// The future of [`TransportExt::recv`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Recv<'a, T: ?Sized> {
    transport: &'a mut T,
}

impl<T: Transport + ?Sized> Future for Recv<'_, T> {
    type Output = Result<Option<Message>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.transport.poll_recv(cx)
    }
}

/// The future of [`TransportExt::send`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Send<'a, T: ?Sized> {
    transport: &'a mut T,
    message: Option<Message>,
}

impl<T: ?Sized> Send<'_, T> {
    /// Tells whether the transport has taken the message.
    pub fn is_taken(&self) -> bool {
        self.message.is_none()
    }
}

impl<T: Transport + ?Sized> Future for Send<'_, T> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(message) = &this.message {
            ready!(this.transport.poll_send(cx, message))?;
        }
        if let Some(message) = this.message.take() {
            message.recycle();
        }
        this.transport.poll_flush(cx)
    }
}

/// The future of [`TransportExt::flush`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Flush<'a, T: ?Sized> {
    transport: &'a mut T,
}

impl<T: Transport + ?Sized> Future for Flush<'_, T> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.transport.poll_flush(cx)
    }
}

/// The future of [`TransportExt::close`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Close<'a, T: ?Sized> {
    transport: &'a mut T,
    why: CloseReason,
}

impl<T: Transport + ?Sized> Future for Close<'_, T> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.transport.poll_close(cx, &this.why)
    }
}
