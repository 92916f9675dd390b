use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use switchback_core::{
    CloseReason, Error, ErrorKind, Message, Transport, TransportInfo, TransportKind,
};
use tokio::time::Instant;

use super::LongPollServer;
use super::connection::Connection;
use crate::timer::Timer;

/// The server's end of a long-poll connection.
///
/// Made by [`LongPollServer::open`] or handed out by [`LongPollServer::handle`]. It does no I/O of
/// its own: it shares queues with the requests that the server is given.
///
/// [`poll_send`](Transport::poll_send) takes messages until the send buffer is full of messages
/// that no poll has carried away; what was carried away and is not acknowledged yet does not count,
/// so that a sender need not stand still for a round trip. `poll_flush` never waits.
///
/// [`poll_close`](Transport::poll_close) waits until a poll was answered with the close, which it
/// is when its cursor acknowledges everything before. From the first call of it, the connection
/// stays known for the close timeout even when this transport is dropped, so that the client learns
/// of the close though a response was lost.
pub struct LongPoll {
    info: TransportInfo,
    connection: Arc<Connection>,
    server: LongPollServer,
    /// One for each method that waits, because each remembers its own waker.
    silence_recv: Timer,
    silence_send: Timer,
    close_timer: Timer,
    phase: Phase,
    close_reason: Option<CloseReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// `poll_close` was called.
    Closing,
    /// The peer has closed and everything before was received.
    ClosedByPeer,
    /// This side has closed.
    Closed,
    Failed(ErrorKind),
}

impl LongPoll {
    pub(super) fn new(connection: Arc<Connection>, server: LongPollServer) -> Self {
        Self {
            info: TransportInfo::new(TransportKind::LongPoll),
            connection,
            server,
            silence_recv: Timer::new(),
            silence_send: Timer::new(),
            close_timer: Timer::new(),
            phase: Phase::Open,
            close_reason: None,
        }
    }

    /// Says where the client is, for [`info`](Transport::info). Only who accepted the socket knows.
    pub fn set_peer_addr(&mut self, peer_addr: impl Into<Option<SocketAddr>>) {
        self.info = self.info.clone().with_peer_addr(peer_addr);
    }

    /// Tells whether the client has been silent too long. Registers the waker for when it will be.
    fn poll_silence(&mut self, cx: &mut Context<'_>, sending: bool) -> Poll<Error> {
        let patience = self.server.patience();
        let timer = if sending {
            &mut self.silence_send
        } else {
            &mut self.silence_recv
        };
        loop {
            let deadline = self.connection.silent_since() + patience;
            if deadline <= Instant::now() {
                break;
            }
            // Polls do not touch the timer: when it fires, it is set to where they moved it.
            ready!(timer.poll_at_least(cx, deadline));
        }
        let error = Error::with_message(ErrorKind::TimedOut, "the client polls no more");
        self.vanish(ErrorKind::TimedOut);
        Poll::Ready(error)
    }

    /// Ends the connection without a close.
    fn vanish(&mut self, kind: ErrorKind) {
        self.phase = Phase::Failed(kind);
        self.connection.vanish();
        self.connection.inbox.shut(kind.into());
        self.server.forget(&self.connection.id);
    }

    /// The error of a method that can do nothing any more.
    fn ended(&self) -> Option<Error> {
        match self.phase {
            Phase::Open => None,
            Phase::Closing | Phase::Closed | Phase::ClosedByPeer => Some(ErrorKind::Closed.into()),
            Phase::Failed(kind) => Some(kind.into()),
        }
    }
}

impl Transport for LongPoll {
    fn info(&self) -> &TransportInfo {
        &self.info
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        if self.phase == Phase::ClosedByPeer {
            return Poll::Ready(Ok(None));
        }
        if let Some(error) = self.ended() {
            return Poll::Ready(Err(error));
        }
        match self.connection.inbox.poll_recv(cx) {
            Poll::Ready(Ok(Some(message))) => Poll::Ready(Ok(Some(message))),
            Poll::Ready(Ok(None)) => {
                self.phase = Phase::ClosedByPeer;
                self.close_reason = self.connection.inbox.close_reason();
                Poll::Ready(Ok(None))
            }
            Poll::Ready(Err(error)) => {
                self.vanish(error.kind());
                Poll::Ready(Err(error))
            }
            Poll::Pending => self.poll_silence(cx, false).map(Err),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>> {
        if let Some(error) = self.ended() {
            return Poll::Ready(Err(error));
        }
        match self.connection.poll_send(cx, message) {
            Poll::Ready(sent) => Poll::Ready(sent),
            Poll::Pending => self.poll_silence(cx, true).map(Err),
        }
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Phase::Failed(kind) = self.phase {
            return Poll::Ready(Err(kind.into()));
        }
        self.connection.flush();
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>> {
        if self.phase == Phase::Open {
            if !self.connection.is_open() {
                // The peer was first, and nobody has received that yet.
                self.phase = Phase::ClosedByPeer;
                self.close_reason = self.connection.inbox.close_reason();
                return Poll::Ready(Ok(()));
            }
            self.phase = Phase::Closing;
            self.connection.close(why);
            let error = Error::new(ErrorKind::Closed).with_close(why.clone());
            self.connection.inbox.shut(error);
            self.server.linger(self.connection.id);
            // Nobody will ask for these, and the connection may outlive this transport.
            while let Poll::Ready(Ok(Some(_))) = self.connection.inbox.poll_recv(cx) {}
        }
        if self.phase != Phase::Closing {
            return Poll::Ready(Ok(()));
        }
        if self.connection.poll_close_told(cx).is_ready() {
            self.phase = Phase::Closed;
            return Poll::Ready(Ok(()));
        }
        let timeout = self.server.limits().close_time();
        if self.close_timer.poll_after(cx, timeout).is_pending() {
            return Poll::Pending;
        }
        self.vanish(ErrorKind::TimedOut);
        Poll::Ready(Err(Error::with_message(
            ErrorKind::TimedOut,
            "the client did not pick up the close in time",
        )))
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        self.close_reason.as_ref()
    }
}

impl Drop for LongPoll {
    fn drop(&mut self) {
        // While closing, the connection outlives its transport until the server sweeps it.
        if self.phase == Phase::Open {
            self.vanish(ErrorKind::Reset);
        }
    }
}

impl fmt::Debug for LongPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongPoll")
            .field("info", &self.info)
            .field("connection", &self.connection.id)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
