//! A connection from its first byte to its last.
//!
//! hyper keeps some 20 KiB for a connection: two buffers, and its state. It is there only while it
//! has something to do. A connection that waits for a request, for an event or for the answer to a
//! poll is kept here, without buffers (`docs/decisions/0012-hyper-only-while-it-works.md`).

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tower_service::Service;

use super::BoxError;
use super::deadline::Deadline;
use super::exchange::{QUIET, exchange};
use super::lent::Lent;
use super::response::respond;

/// How long the head of a request may take, the first one from the moment the connection is there.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may wait for another request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// What an HTTP/2 connection begins with (RFC 9113, 3.4). No HTTP/1.1 request does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much is read at a time before hyper reads by itself: enough for nearly every request.
const FIRST_READ: usize = 8 * 1024;

/// Serves a connection until one of the two ends closes it.
pub(super) async fn run<I, S, B>(mut io: I, service: S) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut deadline = Deadline::default();
    let mut unread = Bytes::new();
    let mut patience = HEAD_TIMEOUT;
    let mut pace = Pace::default();
    loop {
        deadline.set(patience);
        if !begun(&mut io, &mut unread, &mut deadline).await? {
            break;
        }
        deadline.lift();
        if unread.starts_with(PREFACE) {
            return serve_http2(Lent::new(io, unread), service).await;
        }
        let lent = Lent::new(io, unread);
        let Some(paused) = exchange(lent, service.clone(), pace.is_quick(), &mut deadline).await?
        else {
            return Ok(());
        };
        deadline.lift();
        (io, unread) = (paused.io, paused.unread);
        if let Some(response) = paused.response
            && !respond(&mut io, &mut unread, response).await?
        {
            break;
        }
        patience = IDLE_TIMEOUT;
    }
    // Says good-bye where TLS is below. What does not go at once may stay.
    poll_fn(|cx| {
        let _ = Pin::new(&mut io).poll_shutdown(cx);
        Poll::Ready(())
    })
    .await;
    Ok(())
}

/// Whether requests follow one another at once.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    /// How many requests came soon after the one before, without one that did not.
    quick: u8,
}

impl Pace {
    /// Counts a request. `true` when the last few came quickly.
    fn is_quick(&mut self) -> bool {
        let now = Instant::now();
        let soon = self.last.is_some_and(|last| now - last < QUIET);
        self.quick = if soon {
            self.quick.saturating_add(1)
        } else {
            0
        };
        self.last = Some(now);
        // Connecting takes up to three.
        self.quick > 3
    }
}

async fn serve_http2<I, S, B>(io: Lent<I>, service: S) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    Ok(Box::pin(connection).await?)
}

/// Waits until enough has come to tell the version of HTTP; `false` when nothing will.
async fn begun<I: AsyncRead + Unpin>(
    io: &mut I,
    unread: &mut Bytes,
    deadline: &mut Deadline,
) -> io::Result<bool> {
    while unread.len() < PREFACE.len() && PREFACE.starts_with(unread) {
        let read = poll_fn(|cx| match poll_more(io, unread, cx) {
            Poll::Pending => deadline.poll(cx).map(|()| Ok(0)),
            read @ Poll::Ready(_) => read,
        });
        if read.await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads more behind what is unread. 0 is the end.
pub(super) fn poll_more<I: AsyncRead + Unpin>(
    io: &mut I,
    unread: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut space = [const { MaybeUninit::uninit() }; FIRST_READ];
    let mut space = ReadBuf::uninit(&mut space);
    ready!(Pin::new(io).poll_read(cx, &mut space))?;
    let more = space.filled();
    if !more.is_empty() {
        *unread = [unread, more].concat().into();
    }
    Poll::Ready(Ok(more.len()))
}
