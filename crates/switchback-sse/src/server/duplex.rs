use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use switchback_core::{
    CloseReason, Error, ErrorKind, Message, Transport, TransportInfo, TransportKind,
};
use tokio::time::{Sleep, sleep, sleep_until};

use super::endpoint::Entry;
use super::pipe::Stop;
use crate::{Event, proto};

/// The server's end of a duplex connection, made by [`SseServer::open`](crate::SseServer::open).
///
/// It is driven by the HTTP server: what it sends goes out when the body of its response is polled,
/// what it receives comes in by POST handlers. So flushing never waits, and closing waits until the
/// HTTP server has taken the close event.
#[derive(Debug)]
pub struct Sse {
    info: TransportInfo,
    entry: Entry,
    close_timeout: Duration,
    close_reason: Option<CloseReason>,
    closing: Closing,
    /// Of a sender that waits for late POSTs; the receiver's is the inbox's.
    late: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Closing {
    No,
    /// The close event is in the queue; cut at this time.
    UnderWay(Pin<Box<Sleep>>),
    Done,
}

impl Sse {
    pub(super) const fn new(entry: Entry, close_timeout: Duration) -> Self {
        Self {
            info: TransportInfo::new(TransportKind::Sse),
            entry,
            close_timeout,
            close_reason: None,
            closing: Closing::No,
            late: None,
        }
    }

    /// Tells the transport the address of its peer, of which only the owner of the socket knows.
    pub fn set_peer_addr(&mut self, peer_addr: impl Into<Option<SocketAddr>>) {
        self.info = TransportInfo::new(TransportKind::Sse).with_peer_addr(peer_addr);
    }

    /// Waits until nothing can come any more: of a stream that was cut, late POSTs. To say before
    /// that that nothing can be sent would make the owner give the connection up.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.entry.link.inbox.late_until() else {
            return Poll::Ready(());
        };
        let timer = self
            .late
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        timer.as_mut().poll(cx)
    }

    /// Says why nothing can be sent.
    fn error_of(&self, stop: Stop) -> Error {
        let closed = self.entry.link.inbox.close_reason();
        match (closed, stop) {
            (Some(close), _) => Error::new(ErrorKind::Closed).with_close(close),
            (None, Stop::Ended) => Error::new(ErrorKind::Closed),
            (None, Stop::Gone) => Error::new(ErrorKind::Reset),
        }
    }
}

impl Transport for Sse {
    fn info(&self) -> &TransportInfo {
        &self.info
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        let received = ready!(self.entry.link.inbox.poll_recv(cx));
        match &received {
            Ok(None) if self.close_reason.is_none() => {
                self.close_reason = self.entry.link.inbox.close_reason();
            }
            // The stream was cut, and the time for late POSTs is over.
            Err(error) if error.kind() == ErrorKind::Reset => self.entry.end(ErrorKind::Reset),
            _ => {}
        }
        Poll::Ready(received)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>> {
        let pipe = &self.entry.link.pipe;
        let pushed = ready!(pipe.poll_room(cx)).and_then(|()| {
            let event = Event::from_encoded(proto::encode(message));
            // Nobody else writes, so that the room is still there when the pipe is.
            let pushed = pipe.try_push(event);
            pushed.map_err(|(_, stop)| stop.unwrap_or(Stop::Ended))
        });
        if let Err(stop) = pushed {
            ready!(self.poll_late(cx));
            return Poll::Ready(Err(self.error_of(stop)));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let inbox = &self.entry.link.inbox;
        match self.entry.link.pipe.flush() {
            Err(stop) if inbox.late_until().is_none() && inbox.close_reason().is_none() => {
                Poll::Ready(Err(self.error_of(stop)))
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>> {
        let link = &self.entry.link;
        if matches!(self.closing, Closing::No) {
            if link.pipe.stopped().is_some() {
                self.closing = Closing::Done;
            } else {
                link.inbox
                    .shut(Error::new(ErrorKind::Closed).with_close(why.clone()));
                link.pipe.end(Some(Event::from_encoded(proto::close(why))));
                self.closing = Closing::UnderWay(Box::pin(sleep(self.close_timeout)));
            }
        }
        let Closing::UnderWay(timeout) = &mut self.closing else {
            return Poll::Ready(Ok(()));
        };
        let result = match link.pipe.poll_over(cx) {
            Poll::Ready(true) => Ok(()),
            Poll::Ready(false) => Err(Error::new(ErrorKind::Reset)),
            Poll::Pending => {
                ready!(Future::poll(timeout.as_mut(), cx));
                link.pipe.abort();
                Err(Error::new(ErrorKind::TimedOut))
            }
        };
        self.closing = Closing::Done;
        Poll::Ready(result)
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        self.close_reason.as_ref()
    }
}

impl Drop for Sse {
    fn drop(&mut self) {
        self.entry.link.pipe.abort();
        self.entry.end(ErrorKind::Closed);
    }
}
