use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use switchback_core::{Error, ErrorKind};

use super::exchange;
use crate::{Connector, Stream, Url};

/// The response of the engine, once it is there.
pub(super) type Answer =
    Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

/// The connection of a lane.
pub(super) enum Link {
    None,
    Connecting(Pin<Box<dyn Future<Output = Result<Open, Error>> + Send>>),
    Open(Open),
}

/// A connection and the engine on it.
pub(super) struct Open {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Moves the bytes. `None`: it has ended, so the connection takes no further request.
    engine: Option<Box<http1::Connection<TokioIo<Stream>, Full<Bytes>>>>,
    peer_addr: Option<SocketAddr>,
    /// It was idle, after an exchange or before the first: the server may have closed it since.
    used: bool,
}

/// The most that the engine buffers: a response head must fit, a body is read in pieces of this.
const MAX_BUFFER: usize = 64 * 1024;

impl Link {
    /// Waits for a connection that takes a request, opening one where there is none.
    pub(super) fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        connector: &Connector,
        url: &Url,
    ) -> Poll<Result<&mut Open, Error>> {
        loop {
            match self {
                Self::None => self.begin(connector, url),
                Self::Connecting(connecting) => {
                    *self = match ready!(connecting.as_mut().poll(cx)) {
                        Ok(open) => Self::Open(open),
                        Err(error) => {
                            *self = Self::None;
                            return Poll::Ready(Err(error));
                        }
                    };
                }
                Self::Open(open) => {
                    // First, so that a close that has arrived since is seen.
                    open.drive(cx);
                    match ready!(open.sender.poll_ready(cx)) {
                        Ok(()) if open.engine.is_some() => break,
                        // Closed by the server since the last exchange, as is its right.
                        _ if open.used => *self = Self::None,
                        Err(error) => {
                            *self = Self::None;
                            return Poll::Ready(Err(exchange::failure(error)));
                        }
                        Ok(()) => {
                            *self = Self::None;
                            return Poll::Ready(Err(ErrorKind::Reset.into()));
                        }
                    }
                }
            }
        }
        match self {
            Self::Open(open) => Poll::Ready(Ok(open)),
            Self::None | Self::Connecting(_) => Poll::Pending,
        }
    }

    /// Begins to open a connection where there is none.
    pub(super) fn begin(&mut self, connector: &Connector, url: &Url) {
        if let Self::None = self {
            let (connector, url) = (connector.clone(), url.clone());
            *self = Self::Connecting(Box::pin(open(connector, url)));
        }
    }

    /// Goes on opening a connection that no exchange waits for. Ready when there is nothing to do.
    pub(super) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Connecting(connecting) = self {
            *self = match ready!(connecting.as_mut().poll(cx)) {
                Ok(open) => Self::Open(Open { used: true, ..open }),
                // The next exchange tries again, and says why that fails.
                Err(_) => Self::None,
            };
        }
        Poll::Ready(())
    }

    /// Polls something that waits for the engine, and the engine.
    pub(super) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if let Poll::Ready(ready) = poll(cx) {
            return Poll::Ready(ready);
        }
        if let Self::Open(open) = self {
            open.drive(cx);
        }
        // Whoever waits for an engine that has ended is told so by the engine's end of the channel.
        poll(cx)
    }

    /// After an exchange: lets the engine get ready for the next, or close if there can be none.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) {
        if let Self::Open(open) = self {
            open.drive(cx);
        }
    }

    pub(super) fn mark_used(&mut self) {
        if let Self::Open(open) = self {
            open.used = true;
        }
    }

    pub(super) fn is_used(&self) -> bool {
        matches!(self, Self::Open(open) if open.used)
    }
}

impl Open {
    pub(super) fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        Box::pin(self.sender.send_request(request))
    }

    pub(super) fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer_addr
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(engine) = &mut self.engine
            // Its error is given to whoever waits for the response or the body.
            && Pin::new(&mut **engine).poll(cx).is_ready()
        {
            self.engine = None;
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Connecting(_) => "connecting",
            Self::Open(_) => "open",
        })
    }
}

async fn open(connector: Connector, url: Url) -> Result<Open, Error> {
    let stream = connector.connect_or_reuse(&url).await?;
    let peer_addr = stream.peer_addr();
    let used = stream.is_reused();
    let (sender, engine) = http1::Builder::new()
        .max_buf_size(MAX_BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(exchange::failure)?;
    Ok(Open {
        sender,
        engine: Some(Box::new(engine)),
        peer_addr,
        used,
    })
}
