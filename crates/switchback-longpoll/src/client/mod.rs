mod config;
mod polls;

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Method};
use switchback_core::{
    CloseReason, Error, ErrorKind, Message, Transport, TransportInfo, TransportKind,
};
use switchback_http::{Lane, Poster, Url, batch, headers};
use tokio::time::timeout;

pub use config::ClientConfig;
use polls::Polls;

use crate::proto;

/// The client's end of a long-poll connection.
///
/// Two HTTP/1.1 connections to the server: polls wait on one, POSTs go out on the other. No task
/// is spawned; [`poll_recv`](Transport::poll_recv) drives both, the methods that send drive the
/// POSTs. So whoever only sends must still receive: without polls the server takes this client for
/// gone after the window and its grace. The same goes for an application that takes longer than
/// that over one batch.
///
/// [`poll_flush`](Transport::poll_flush) waits until the server has received everything.
///
/// Failures of the network are bridged: a poll is repeated with the same cursor, a POST with the
/// same numbers, for as long as the configuration says. So a message is lost or doubled only with
/// the whole connection.
pub struct LongPollClient {
    info: TransportInfo,
    polls: Polls,
    poster: Poster,
    /// POSTs find the connection ended. Why, the polls will tell, after the messages before that.
    upstream_ended: bool,
    phase: Phase,
    /// What the server did wrong, while it is being told.
    fault: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// `poll_close` was called.
    Closing,
    /// This side has closed.
    Closed,
    /// The server broke the protocol and is being told.
    Faulting(ErrorKind),
    Failed(ErrorKind),
}

impl LongPollClient {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// The server could not be reached, refused, did not answer within the handshake timeout, or
    /// is no Switchback endpoint.
    ///
    /// # Cancel safety
    ///
    /// A dropped future abandons the connection; the server forgets it after a while.
    pub async fn connect(url: &Url, config: &ClientConfig) -> Result<Self, Error> {
        let ClientConfig {
            limits,
            window,
            grace,
            retry_for,
            connector,
            mut headers,
        } = config.clone();
        let mut lane = Lane::new(connector.clone(), url.clone());
        let target = url.with_query(&[("transport", TransportKind::LongPoll.name())]);
        lane.start(Method::GET, &target, headers.clone(), Bytes::new());
        headers.remove(headers::SESSION);
        let max_body = batch::max_body(&limits);
        let mut posts = Lane::new(connector, url.clone());
        let opening = posts.connect_during(poll_fn(|cx| lane.poll_whole(cx, max_body)));
        let response = timeout(limits.handshake_time(), opening)
            .await
            .map_err(|_| {
                Error::with_message(
                    ErrorKind::TimedOut,
                    "the server did not answer the opening request in time",
                )
            })??;
        let (connection, messages) = proto::opened(&response, &limits)?;
        let poster = Poster::new(posts, TransportKind::LongPoll, connection.clone(), &limits)
            .with_headers(headers.clone())
            .with_retry_for(retry_for);
        let id = HeaderValue::try_from(connection)
            .map_err(|error| Error::new(ErrorKind::Protocol).with_source(error))?;
        headers.insert(headers::CONNECTION, id);
        let info = TransportInfo::new(TransportKind::LongPoll).with_peer_addr(lane.peer_addr());
        let patience = window + grace;
        Ok(Self {
            info,
            polls: Polls::new(lane, headers, messages, limits, patience, retry_for),
            poster,
            upstream_ended: false,
            phase: Phase::Open,
            fault: None,
        })
    }

    /// The error of a method that can do nothing any more.
    fn ended(&self) -> Option<Error> {
        match self.phase {
            Phase::Faulting(kind) | Phase::Failed(kind) => Some(kind.into()),
            Phase::Closing | Phase::Closed => Some(ErrorKind::Closed.into()),
            Phase::Open => None,
        }
    }

    /// The error of a method that can send nothing any more.
    fn cannot_send(&self) -> Option<Error> {
        if self.upstream_ended || self.polls.has_ended() {
            return self.ended().or_else(|| Some(ErrorKind::Closed.into()));
        }
        self.ended()
    }

    /// Judges a failure of a POST, and gives it back for the method that met it.
    fn post_failed(&mut self, error: Error) -> Error {
        match error.kind() {
            // Messages of the server may be waiting, and then its close. The polls go on until
            // they have got those.
            ErrorKind::Closed | ErrorKind::Unknown => self.upstream_ended = true,
            _ => self.fail(&error),
        }
        error
    }

    /// Judges a failure of a poll.
    fn poll_failed(&mut self, error: Error) -> Result<(), Error> {
        self.fail(&error);
        match error.kind() {
            ErrorKind::Protocol | ErrorKind::InvalidUtf8 | ErrorKind::TooLarge => {
                self.phase = Phase::Faulting(error.kind());
                self.fault = Some(error);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Tells the server what it did wrong, as far as that can be done within the close timeout.
    fn poll_fault(&mut self, cx: &mut Context<'_>, kind: ErrorKind) -> Poll<Error> {
        let error = self.fault.take().unwrap_or_else(|| kind.into());
        let why = CloseReason::from(error.close_code());
        if self.poster.poll_close(cx, &why).is_pending() {
            self.fault = Some(error);
            return Poll::Pending;
        }
        self.phase = Phase::Failed(kind);
        Poll::Ready(error)
    }

    fn fail(&mut self, error: &Error) {
        self.phase = Phase::Failed(error.kind());
        self.polls.fail(error);
    }
}

impl Transport for LongPollClient {
    fn info(&self) -> &TransportInfo {
        &self.info
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        loop {
            if let Phase::Faulting(kind) = self.phase {
                return self.poll_fault(cx, kind).map(Err);
            }
            if let Some(error) = self.ended() {
                return Poll::Ready(Err(error));
            }
            if !self.upstream_ended
                && !self.polls.has_ended()
                && let Poll::Ready(Err(error)) = self.poster.poll_drive(cx)
            {
                let error = self.post_failed(error);
                if !self.upstream_ended {
                    return Poll::Ready(Err(error));
                }
            }
            match ready!(self.polls.poll_next(cx)) {
                Ok(received) => return Poll::Ready(Ok(received)),
                Err(error) => self.poll_failed(error)?,
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>> {
        if let Some(error) = self.cannot_send() {
            return Poll::Ready(Err(error));
        }
        self.poster
            .poll_send(cx, message)
            .map_err(|error| self.post_failed(error))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self.phase {
            Phase::Faulting(kind) | Phase::Failed(kind) => return Poll::Ready(Err(kind.into())),
            // The close waits until everything was received, so there is nothing left.
            Phase::Closed => return Poll::Ready(Ok(())),
            // What goes wrong now is the close's to judge.
            Phase::Closing => return self.poster.poll_drive(cx),
            Phase::Open => {}
        }
        if self.upstream_ended || self.polls.has_ended() {
            return Poll::Ready(Err(ErrorKind::Closed.into()));
        }
        self.poster
            .poll_drive(cx)
            .map_err(|error| self.post_failed(error))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>> {
        if self.phase == Phase::Open {
            if self.polls.has_ended() {
                return Poll::Ready(Ok(()));
            }
            self.phase = Phase::Closing;
        }
        if let Phase::Faulting(kind) = self.phase {
            // The connection has ended already; whoever drops this next has told the server.
            return self.poll_fault(cx, kind).map(|_| Ok(()));
        }
        if self.phase != Phase::Closing {
            return Poll::Ready(Ok(()));
        }
        // A server that is stuck because nobody receives what it sends would not take our last
        // messages either.
        while let Poll::Ready(Ok(Some(_))) = self.polls.poll_next(cx) {}
        match self.poster.poll_close(cx, why) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(closed) => {
                self.polls.fail(&ErrorKind::Closed.into());
                match closed {
                    // Both sides closed at the same time.
                    Err(error) if error.is_closed() => self.phase = Phase::Closed,
                    Ok(()) => self.phase = Phase::Closed,
                    Err(error) => {
                        self.phase = Phase::Failed(error.kind());
                        return Poll::Ready(Err(error));
                    }
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        self.polls.close_reason()
    }
}

impl fmt::Debug for LongPollClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongPollClient")
            .field("info", &self.info)
            .field("upstream_ended", &self.upstream_ended)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
