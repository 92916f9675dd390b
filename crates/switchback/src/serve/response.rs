//! A response that is written without hyper (RFC 9112).

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{Response, StatusCode, response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::BoxError;
use super::connection::poll_more;
use super::deadline::Deadline;
use crate::list;

/// How long a client may take nothing of a response that it has asked for.
const STALLED: Duration = Duration::from_secs(60);

/// How much a client may send behind a request before it gets the response. The rest waits.
const MAX_UNREAD: usize = 8 * 1024;

/// Waits for the response to a `GET` and sends it. `false`: the connection is to be closed then.
///
/// What the client sends meanwhile is kept for later.
///
/// # Errors
///
/// The client is gone, or the body failed.
pub(super) async fn respond<I, F, B>(
    io: &mut I,
    unread: &mut Bytes,
    response: Pin<Box<F>>,
) -> Result<bool, BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let Ok(response) = unless_gone(io, unread, response).await?;
    let (parts, body) = response.into_parts();
    let mut framing = Framing::of(parts.status, &body);
    let keep_alive = !list::contains(&parts.headers, &CONNECTION, "close");
    let mut head = head(&parts, framing, keep_alive)?;
    drop(parts);
    let mut body = Box::pin(body);
    while framing != Framing::Nothing {
        let mut data = poll_fn(|cx| Poll::Ready(poll_data(body.as_mut(), cx))).await;
        if data.is_pending() {
            // What is there at once leaves with the head. There is no more.
            write(io, [&std::mem::take(&mut head), b"", b"", b""]).await?;
            let next = poll_fn(|cx| poll_data(body.as_mut(), cx));
            data = Poll::Ready(unless_gone(io, unread, next).await?);
        }
        let Poll::Ready(Some(data)) = data else {
            break;
        };
        let data = data?;
        let mut size = [0; SIZE_LINE];
        let (size, end) = framing.around(data.len(), &mut size)?;
        write(io, [&std::mem::take(&mut head), size, &data, end]).await?;
    }
    write(io, [&head, framing.end()?, b"", b""]).await?;
    Ok(keep_alive)
}

/// Polls for a piece of the body, which is not empty.
fn poll_data<B>(
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, BoxError>>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    loop {
        return Poll::Ready(match ready!(body.as_mut().poll_frame(cx)) {
            None => None,
            Some(Err(error)) => Some(Err(error.into())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => Some(Ok(data)),
                // Trailers are for those who asked for them; nobody did.
                _ => continue,
            },
        });
    }
}

/// Waits, until the client is gone. One that sends nothing more is gone unless other requests of it
/// are to be answered, as with hyper: then only writing tells.
async fn unless_gone<I, F>(io: &mut I, unread: &mut Bytes, mut work: F) -> io::Result<F::Output>
where
    I: AsyncRead + Unpin,
    F: Future + Unpin,
{
    poll_fn(|cx| {
        if let Poll::Ready(output) = Pin::new(&mut work).poll(cx) {
            return Poll::Ready(Ok(output));
        }
        while unread.len() < MAX_UNREAD {
            let is_end = ready!(poll_more(io, unread, cx))? == 0;
            if is_end && unread.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if is_end {
                break;
            }
        }
        Poll::Pending
    })
    .await
}

/// Writes, unless the client takes nothing for too long.
async fn write<I: AsyncWrite + Unpin>(io: &mut I, parts: [&[u8]; 4]) -> io::Result<()> {
    let mut slices = parts.map(IoSlice::new);
    let mut rest = &mut slices[..];
    // Takes the empty ones away.
    IoSlice::advance_slices(&mut rest, 0);
    let mut deadline = Deadline::default();
    while !rest.is_empty() {
        let write = |cx: &mut Context<'_>| Pin::new(&mut *io).poll_write_vectored(cx, rest);
        let written = unless_stalled(&mut deadline, write).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    unless_stalled(&mut deadline, |cx| Pin::new(&mut *io).poll_flush(cx)).await
}

/// Waits for one step of writing.
async fn unless_stalled<T>(
    deadline: &mut Deadline,
    mut step: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
) -> io::Result<T> {
    deadline.lift();
    poll_fn(|cx| {
        if let Poll::Ready(done) = step(cx) {
            return Poll::Ready(done);
        }
        deadline.set_once(STALLED);
        ready!(deadline.poll(cx));
        let text = "the client took nothing of the response for too long";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    })
    .await
}

/// How a client finds the end of a body (RFC 9112, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// The status says that there is none.
    Nothing,
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
}

/// Sixteen digits and CRLF.
const SIZE_LINE: usize = 18;

impl Framing {
    fn of<B: Body>(status: StatusCode, body: &B) -> Self {
        match body.size_hint().exact() {
            _ if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => {
                Self::Nothing
            }
            Some(length) => Self::Length(length),
            None => Self::Chunked,
        }
    }

    /// Returns what goes before and behind a piece of the body.
    fn around<'a>(
        &mut self,
        len: usize,
        line: &'a mut [u8; SIZE_LINE],
    ) -> io::Result<(&'a [u8], &'static [u8])> {
        match self {
            Self::Nothing => Err(wrong_length()),
            Self::Length(left) => {
                *left = left.checked_sub(len as u64).ok_or_else(wrong_length)?;
                Ok((b"", b""))
            }
            Self::Chunked => {
                let mut rest = &mut line[..];
                write!(rest, "{len:x}\r\n")?;
                let unused = rest.len();
                Ok((&line[..SIZE_LINE - unused], b"\r\n"))
            }
        }
    }

    /// Returns what goes behind the whole body.
    fn end(self) -> io::Result<&'static [u8]> {
        match self {
            Self::Nothing | Self::Length(0) => Ok(b""),
            Self::Length(_) => Err(wrong_length()),
            Self::Chunked => Ok(b"0\r\n\r\n"),
        }
    }
}

fn wrong_length() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the body is not as long as it said",
    )
}

/// Writes the status line and the headers.
fn head(parts: &response::Parts, framing: Framing, keep_alive: bool) -> io::Result<Vec<u8>> {
    let status = parts.status;
    if status.is_informational() {
        let text = format!("{status} is no response to a request without an upgrade");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut head = Vec::with_capacity(512);
    let reason = status.canonical_reason().unwrap_or_default();
    write!(head, "HTTP/1.1 {} {reason}\r\n", status.as_str())?;
    for (name, value) in &parts.headers {
        // These are about the connection, of which we know more.
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
            head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
    }
    match framing {
        Framing::Nothing => {}
        Framing::Length(length) => write!(head, "content-length: {length}\r\n")?,
        Framing::Chunked => head.extend(b"transfer-encoding: chunked\r\n"),
    }
    if !keep_alive {
        head.extend(b"connection: close\r\n");
    }
    if !parts.headers.contains_key(DATE) {
        let now = httpdate::HttpDate::from(SystemTime::now());
        write!(head, "date: {now}\r\n")?;
    }
    head.extend(b"\r\n");
    Ok(head)
}
