use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode};
use switchback_core::{
    CloseReason, Error, ErrorKind, Limits, Message, Transport, TransportInfo, TransportKind,
};
use switchback_http::{Lane, Poster, Url, headers, refusal_error};
use tokio::time::{Sleep, sleep, timeout};

use super::ClientConfig;
use super::incoming::{Incoming, is_event_stream, request_headers};
use crate::Parser;
use crate::proto::{self, Downstream};

/// How much of a refusal is read.
const MAX_REFUSAL: usize = 16 * 1024;

/// The client's end of a duplex connection: an event stream downstream, POST upstream
/// (`docs/protocol.md`, 2.2, 2.4, 2.5).
///
/// It runs while it is polled and spawns nothing. Flushing waits until the server has acknowledged
/// everything; messages that are taken meanwhile go in one POST.
pub struct SseClient {
    info: TransportInfo,
    limits: Limits,
    incoming: Incoming,
    poster: Poster,
    state: State,
    close_reason: Option<CloseReason>,
    /// POSTs fail. The stream is likely to say why, and has until then to do so.
    posting_failed: Option<(Error, Pin<Box<Sleep>>)>,
}

#[derive(Debug)]
enum State {
    Open,
    /// The first reason counts.
    Closing(CloseReason),
    /// This side has closed.
    Closed,
    /// The server has closed.
    PeerClosed,
    Failed(Error),
}

impl SseClient {
    /// Opens a connection: requests the event stream and waits for its first event.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, refuses, does not answer within the handshake timeout, or does
    /// not speak this protocol.
    ///
    /// # Cancel safety
    ///
    /// A dropped future abandons the connection.
    pub async fn connect(url: &Url, config: &ClientConfig) -> Result<Self, Error> {
        // Boxed, so that futures of callers stay small.
        let opening = Box::pin(Self::open(url, config));
        match timeout(config.limits.handshake_time(), opening).await {
            Ok(result) => result,
            Err(elapsed) => Err(Error::new(ErrorKind::TimedOut).with_source(elapsed)),
        }
    }

    async fn open(url: &Url, config: &ClientConfig) -> Result<Self, Error> {
        let mut posts = Lane::new(config.connector.clone(), url.clone());
        let opening = open_stream(url, config);
        let (incoming, id) = posts.connect_during(opening).await?;
        let mut post_headers = config.headers.clone();
        post_headers.remove(headers::SESSION);
        let limits = &config.limits;
        let poster = Poster::new(posts, TransportKind::Sse, id, limits).with_headers(post_headers);
        Ok(Self {
            info: TransportInfo::new(TransportKind::Sse)
                .with_peer_addr(incoming.lane().peer_addr()),
            limits: limits.clone(),
            incoming,
            poster,
            state: State::Open,
            close_reason: None,
            posting_failed: None,
        })
    }

    /// Gets POSTs on. That they fail is not said before the stream had a chance to say why.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.posting_failed.is_none()
            && let Poll::Ready(Err(error)) = self.poster.poll_drive(cx)
        {
            self.set_posting_failed(error);
        }
    }

    fn set_posting_failed(&mut self, error: Error) {
        let patience = Box::pin(sleep(self.limits.close_time()));
        self.posting_failed = Some((error, patience));
    }

    /// Receives what comes next; `None` when the stream has ended or been closed, as the state
    /// then says.
    fn poll_downstream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        loop {
            let Some(event) = ready!(self.incoming.poll_event(cx))? else {
                // What POSTs were told says more than the end of the stream.
                let error = self.posting_failed.take().map(|(error, _)| error);
                return Poll::Ready(Err(error.unwrap_or_else(|| Error::new(ErrorKind::Reset))));
            };
            match proto::decode(event, self.limits.message_size())? {
                Downstream::Message(message) => return Poll::Ready(Ok(Some(message))),
                Downstream::Close(why) => {
                    self.close_reason = Some(why);
                    return Poll::Ready(Ok(None));
                }
                Downstream::Connection(_) => {
                    return Poll::Ready(Err(Error::with_message(
                        ErrorKind::Protocol,
                        "the server named the connection a second time",
                    )));
                }
                Downstream::Unknown => {}
            }
        }
    }

    /// Ends the connection for good.
    fn end(&mut self, state: State) {
        self.state = state;
        self.incoming.abort();
        // The lane of the POSTs is not needed either, but goes with the transport.
        self.posting_failed = None;
    }

    /// Says why nothing can be sent.
    fn unsendable(&self) -> Option<Error> {
        match (&self.state, &self.posting_failed) {
            (State::Open, None) => None,
            (State::Open, Some((error, _))) | (State::Failed(error), _) => Some(again(error)),
            _ => {
                let error = Error::new(ErrorKind::Closed);
                Some(match &self.close_reason {
                    Some(why) => error.with_close(why.clone()),
                    None => error,
                })
            }
        }
    }
}

impl Transport for SseClient {
    fn info(&self) -> &TransportInfo {
        &self.info
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        match &self.state {
            State::Open => {}
            State::PeerClosed => return Poll::Ready(Ok(None)),
            State::Failed(error) => return Poll::Ready(Err(again(error))),
            State::Closing(_) | State::Closed => {
                return Poll::Ready(Err(Error::new(ErrorKind::Closed)));
            }
        }
        self.drive(cx);
        let error = match self.poll_downstream(cx) {
            Poll::Ready(Ok(None)) => {
                self.end(State::PeerClosed);
                return Poll::Ready(Ok(None));
            }
            Poll::Ready(Ok(message)) => return Poll::Ready(Ok(message)),
            Poll::Ready(Err(error)) => error,
            Poll::Pending => {
                let Some((_, patience)) = &mut self.posting_failed else {
                    return Poll::Pending;
                };
                ready!(patience.as_mut().poll(cx));
                match self.posting_failed.take() {
                    Some((error, _)) => error,
                    None => return Poll::Pending,
                }
            }
        };
        self.end(State::Failed(again(&error)));
        Poll::Ready(Err(error))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>> {
        if let Some(error) = self.unsendable() {
            return Poll::Ready(Err(error));
        }
        let sent = ready!(self.poster.poll_send(cx, message));
        if let Err(error) = &sent {
            self.set_posting_failed(again(error));
        }
        Poll::Ready(sent)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if matches!(self.state, State::Closing(_) | State::Closed) {
            // Closing flushes.
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = self.unsendable() {
            return Poll::Ready(Err(error));
        }
        let flushed = ready!(self.poster.poll_drive(cx));
        if let Err(error) = &flushed {
            self.set_posting_failed(again(error));
        }
        Poll::Ready(flushed)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>> {
        if matches!(self.state, State::Open) {
            self.state = State::Closing(why.clone());
        }
        let State::Closing(why) = &self.state else {
            return Poll::Ready(Ok(()));
        };
        if self.posting_failed.is_none() {
            match ready!(self.poster.poll_close(cx, why)) {
                Ok(()) => {
                    self.end(State::Closed);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.is_timeout() => {
                    self.end(State::Closed);
                    return Poll::Ready(Err(error));
                }
                Err(error) => self.set_posting_failed(error),
            }
        }
        // If the server has closed at the same time, the stream says so, and all is well.
        let result = loop {
            match self.poll_downstream(cx) {
                Poll::Ready(Ok(Some(_))) => {}
                Poll::Ready(Ok(None)) => break Ok(()),
                Poll::Ready(Err(error)) if error.is_closed() => break Ok(()),
                Poll::Ready(Err(error)) => break Err(error),
                Poll::Pending => {
                    let Some((_, patience)) = &mut self.posting_failed else {
                        return Poll::Pending;
                    };
                    ready!(patience.as_mut().poll(cx));
                    break match self.posting_failed.take() {
                        Some((error, _)) if !error.is_closed() => Err(error),
                        _ => Ok(()),
                    };
                }
            }
        };
        self.end(State::Closed);
        Poll::Ready(result)
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        self.close_reason.as_ref()
    }
}

/// What waits to be sent is left out, so that it cannot end in a log.
impl fmt::Debug for SseClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseClient")
            .field("info", &self.info)
            .field("state", &self.state)
            .field("close_reason", &self.close_reason)
            .field("incoming", &self.incoming)
            .finish_non_exhaustive()
    }
}

/// Requests the event stream and waits for its first event, which names the connection.
async fn open_stream(url: &Url, config: &ClientConfig) -> Result<(Incoming, String), Error> {
    let target = url.with_query(&[("transport", TransportKind::Sse.name())]);
    let mut lane = Lane::new(config.connector.clone(), url.clone());
    let sent = request_headers(&config.headers);
    lane.start(Method::GET, &target, sent, Bytes::new());
    let head = poll_fn(|cx| lane.poll_head(cx)).await?;
    if head.status != StatusCode::OK {
        let body = beginning(&mut lane).await?;
        return Err(refusal_error(&Response::from_parts(head, body)));
    }
    if !is_event_stream(&head) {
        return Err(not_switchback());
    }
    let limits = &config.limits;
    let parser = Parser::with_limits(proto::event_limits(limits.message_size())).strict();
    let mut incoming = Incoming::new(lane, parser, config.silence_timeout);
    let first = poll_fn(|cx| incoming.poll_event(cx)).await?;
    let first = first.ok_or_else(|| Error::new(ErrorKind::Reset))?;
    let Downstream::Connection(id) = proto::decode(first, limits.message_size())? else {
        return Err(not_switchback());
    };
    Ok((incoming, id))
}

/// Reads the beginning of a body: a refusal is short.
async fn beginning(lane: &mut Lane) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = poll_fn(|cx| lane.poll_chunk(cx)).await? {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_REFUSAL - body.len())]);
        if body.len() == MAX_REFUSAL {
            break;
        }
    }
    Ok(body.freeze())
}

fn not_switchback() -> Error {
    Error::with_message(
        ErrorKind::Protocol,
        "the server answered, but not with a Switchback event stream: is this its endpoint?",
    )
}

/// The same error, to be given again. Only the cause is missing.
fn again(error: &Error) -> Error {
    let again = Error::with_message(error.kind(), error.to_string());
    match error.close_reason() {
        Some(close) => again.with_close(close.clone()),
        None => again,
    }
}
