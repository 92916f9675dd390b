//! One HTTP/1.1 connection, driven by whoever waits for the response.

mod exchange;
mod link;

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, response};
use http_body::Body;
use switchback_core::{Error, ErrorKind};

use self::exchange::{Ask, Exchange};
use self::link::Link;
use super::{Connector, Url};

/// One keep-alive HTTP/1.1 connection to one origin: one exchange at a time, connected on demand
/// or [before that](Self::connect_during).
///
/// A request on a connection that was idle before and turns out to be closed by the server is sent
/// once again on a fresh one (RFC 9112, 9.3.1); so everything sent here must be idempotent.
///
/// No task is spawned: an exchange proceeds while it is polled. Only the waker of the latest poll
/// is remembered.
pub struct Lane {
    connector: Connector,
    url: Url,
    link: Link,
    exchange: Exchange,
    /// What [`poll_whole`](Self::poll_whole) has so far.
    whole: Option<(response::Parts, BytesMut)>,
    peer_addr: Option<SocketAddr>,
}

impl Lane {
    /// Makes a lane to the origin of a URL. Nothing is connected yet.
    pub fn new(connector: Connector, url: Url) -> Self {
        Self {
            connector,
            url,
            link: Link::None,
            exchange: Exchange::Idle,
            whole: None,
            peer_addr: None,
        }
    }

    /// Returns the URL that this lane was made for.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Does `work`, and opens the connection meanwhile, for an exchange that is likely to follow.
    ///
    /// A failure to connect is left to that exchange to say. Where `work` is done first,
    /// [`poll_connecting`](Self::poll_connecting) goes on.
    ///
    /// # Cancel safety
    ///
    /// As safe as `work` is.
    pub async fn connect_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.link.begin(&self.connector, &self.url);
        let mut work = pin!(work);
        poll_fn(|cx| {
            // First, so that it is the one that takes a connection which was put back.
            let done = work.as_mut().poll(cx);
            if done.is_pending() {
                // The connection wakes this task too, whichever of the two it is for.
                let _ = self.link.poll_begun(cx);
            }
            done
        })
        .await
    }

    /// Goes on opening the connection that [`connect_during`](Self::connect_during) has begun. Ready
    /// when there is nothing to do.
    pub fn poll_connecting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.poll_begun(cx)
    }

    /// Begins an exchange with the resource `target`, a path and query. The header `Host` is added.
    ///
    /// An exchange under way is aborted. Whatever is wrong with the request is said by the poll
    /// that follows.
    pub fn start(&mut self, method: Method, target: &str, headers: HeaderMap, body: Bytes) {
        self.abort();
        self.exchange = match Ask::new(&self.url, method, target, headers, body) {
            Ok(ask) => Exchange::Asked(ask),
            Err(error) => Exchange::Impossible(error),
        };
    }

    /// Tells whether no exchange is under way: [`start`](Self::start) would abort none.
    pub fn is_idle(&self) -> bool {
        matches!(self.exchange, Exchange::Idle)
    }

    /// Waits for the head of the response. Ready once for each [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// Those of [`Connector::connect`]; [`ErrorKind::Reset`] or [`ErrorKind::Io`] when the
    /// connection was cut; [`ErrorKind::Protocol`] when the response is not HTTP;
    /// [`ErrorKind::Invalid`] when the request is not, or there is none. The exchange is over then.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the caller goes away after `Pending`.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, Error>> {
        loop {
            match &mut self.exchange {
                Exchange::Idle | Exchange::Body(_) => return Poll::Ready(Err(nothing_asked())),
                Exchange::Impossible(_) => {
                    if let Exchange::Impossible(error) = std::mem::take(&mut self.exchange) {
                        return Poll::Ready(Err(error));
                    }
                }
                Exchange::Asked(ask) => {
                    let open = match ready!(self.link.poll_ready(cx, &self.connector, &self.url)) {
                        Ok(open) => open,
                        Err(error) => {
                            self.fail();
                            return Poll::Ready(Err(error));
                        }
                    };
                    self.peer_addr = open.peer_addr();
                    let response = open.send(ask.request());
                    if let Exchange::Asked(ask) = std::mem::take(&mut self.exchange) {
                        self.exchange = Exchange::Sent(ask, response);
                    }
                }
                Exchange::Sent(ask, response) => {
                    match ready!(self.link.poll_with(cx, |cx| response.as_mut().poll(cx))) {
                        Ok(response) => {
                            self.link.mark_used();
                            let (parts, body) = response.into_parts();
                            self.exchange = Exchange::Body(body);
                            return Poll::Ready(Ok(parts));
                        }
                        Err(error) => {
                            // Only a connection that was used can be stale, so a second failure
                            // is not followed by a third try.
                            let stale = self.link.is_used() && !error.is_parse();
                            let ask = stale.then(|| ask.clone());
                            self.fail();
                            match ask {
                                Some(ask) => self.exchange = Exchange::Asked(ask),
                                None => return Poll::Ready(Err(exchange::failure(error))),
                            }
                        }
                    }
                }
            }
        }
    }

    /// Waits for more of the body, after the head. `None`: it is complete, and the connection is
    /// kept for the next exchange if both sides agree to that.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Reset`] or [`ErrorKind::Io`] when the connection was cut before the body was
    /// complete, [`ErrorKind::Protocol`] when the framing is malformed, [`ErrorKind::Invalid`] when
    /// there is no body to wait for. The exchange is over then.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the caller goes away after `Pending`.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        loop {
            let Exchange::Body(body) = &mut self.exchange else {
                return Poll::Ready(Err(nothing_asked()));
            };
            let frame = ready!(self.link.poll_with(cx, |cx| {
                // A body has an error of its own for "the connection ended", which is what
                // `poll_with` gives when the connection ends without one.
                Pin::new(&mut *body).poll_frame(cx).map(Option::transpose)
            }));
            match frame {
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Ok(Some(data))),
                    // Nothing, or trailers, which mean nothing here.
                    Ok(_) | Err(_) => {}
                },
                Ok(None) => {
                    self.exchange = Exchange::Idle;
                    self.link.settle(cx);
                    return Poll::Ready(Ok(None));
                }
                Err(error) => {
                    self.fail();
                    return Poll::Ready(Err(exchange::failure(error)));
                }
            }
        }
    }

    /// Waits for the whole response, whose body may have at most `max` bytes.
    ///
    /// # Errors
    ///
    /// Those of [`poll_head`](Self::poll_head) and [`poll_chunk`](Self::poll_chunk), and
    /// [`ErrorKind::TooLarge`]. The exchange is over then.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the caller goes away after `Pending`.
    pub fn poll_whole(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<Result<Response<Bytes>, Error>> {
        if self.whole.is_none() {
            let parts = ready!(self.poll_head(cx))?;
            if let Exchange::Body(body) = &self.exchange
                && usize::try_from(body.size_hint().lower()).map_or(true, |lower| lower > max)
            {
                return Poll::Ready(Err(self.too_large(max)));
            }
            self.whole = Some((parts, BytesMut::new()));
        }
        loop {
            let chunk = match ready!(self.poll_chunk(cx)) {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.whole = None;
                    return Poll::Ready(Err(error));
                }
            };
            let Some((_, body)) = &mut self.whole else {
                return Poll::Ready(Err(nothing_asked()));
            };
            match chunk {
                Some(chunk) if chunk.len() > max - body.len() => {
                    return Poll::Ready(Err(self.too_large(max)));
                }
                // Copied, so that a small body does not keep a large read buffer in memory.
                Some(chunk) => body.extend_from_slice(&chunk),
                None => {
                    if let Some((parts, body)) = self.whole.take() {
                        return Poll::Ready(Ok(Response::from_parts(parts, body.freeze())));
                    }
                }
            }
        }
    }

    /// Returns the address of the peer of the latest connection, once there was one.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer_addr
    }

    /// Gives the exchange up. What was sent of it closes with its connection; a connection that is
    /// being opened or is idle is kept for the next exchange.
    pub fn abort(&mut self) {
        if matches!(self.exchange, Exchange::Sent(..) | Exchange::Body(_)) {
            self.link = Link::None;
        }
        self.exchange = Exchange::Idle;
        self.whole = None;
    }

    /// Ends the exchange and its connection.
    fn fail(&mut self) {
        self.exchange = Exchange::Idle;
        self.link = Link::None;
        self.whole = None;
    }

    fn too_large(&mut self, max: usize) -> Error {
        self.fail();
        Error::with_message(
            ErrorKind::TooLarge,
            format!("the body of the response is longer than {max} bytes"),
        )
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("url", &self.url)
            .field("link", &self.link)
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}

fn nothing_asked() -> Error {
    Error::with_message(ErrorKind::Invalid, "no exchange is waiting for this")
}

#[cfg(test)]
mod tests;
