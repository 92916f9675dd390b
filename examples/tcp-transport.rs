//! A transport of your own: messages over a bare TCP connection. `docs/writing-a-transport.md`
//! walks through this file.
//!
//! On the wire a record is a letter, the length of the payload, a line feed, and the payload:
//! `t5⏎hello` is a text, `b3⏎…` are three bytes, `c8⏎1000 bye` closes.

use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use switchback_core::{
    CloseCode, CloseReason, Error, ErrorKind, Limits, Message, MessageKind, Transport,
    TransportExt, TransportInfo, TransportKind,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

// ---- the protocol: no I/O, no clock

/// What travels between two peers.
#[derive(Debug, PartialEq)]
enum Record {
    Message(Message),
    Close(CloseReason),
}

/// The longest header: a letter, 10 digits, a line feed.
const MAX_HEADER: usize = 12;

fn encode(record: &Record, out: &mut BytesMut) {
    let close;
    let (letter, payload) = match record {
        Record::Message(message) if message.is_text() => ('t', message.as_bytes()),
        Record::Message(message) => ('b', message.as_bytes()),
        Record::Close(why) => {
            close = format!("{} {}", why.code(), why.reason());
            ('c', close.as_bytes())
        }
    };
    out.put_slice(format!("{letter}{}\n", payload.len()).as_bytes());
    out.put_slice(payload);
}

/// Takes the first record out of the bytes that have arrived. `None`: it is not complete yet.
fn decode(input: &mut BytesMut, limits: &Limits) -> Result<Option<Record>, Error> {
    let Some(end) = input
        .iter()
        .take(MAX_HEADER)
        .position(|byte| *byte == b'\n')
    else {
        // Whoever sends no line feed must not make us collect bytes for ever.
        return if input.len() < MAX_HEADER {
            Ok(None)
        } else {
            Err(malformed("no header"))
        };
    };
    let header = std::str::from_utf8(&input[..end]).map_err(|_| malformed("bad header"))?;
    let (kind, length) = match header.split_at_checked(1) {
        Some((kind @ ("t" | "b" | "c"), length)) => (kind.as_bytes()[0], length),
        _ => return Err(malformed("unknown kind of record")),
    };
    let length: usize = length.parse().map_err(|_| malformed("bad length"))?;
    let limit = if kind == b'c' {
        5 + CloseReason::MAX_REASON
    } else {
        limits.message_size()
    };
    if length > limit {
        // Said before the payload is read, so that it is never stored.
        let text = format!("a message of {length} bytes is over the limit of {limit}");
        return Err(Error::with_message(ErrorKind::TooLarge, text));
    }
    if input.len() < end + 1 + length {
        return Ok(None);
    }
    let mut record = input.split_to(end + 1 + length);
    // A slice of what was read, not a copy.
    let payload = record.split_off(end + 1).freeze();
    Ok(Some(match kind {
        b't' => Record::Message(Message::from_bytes(MessageKind::Text, payload)?),
        b'b' => Record::Message(Message::binary(payload)),
        _ => Record::Close(decode_close(&payload)?),
    }))
}

fn decode_close(payload: &[u8]) -> Result<CloseReason, Error> {
    let text = std::str::from_utf8(payload).map_err(|_| malformed("bad close"))?;
    let (code, reason) = text.split_once(' ').ok_or_else(|| malformed("bad close"))?;
    let code = code
        .parse()
        .ok()
        .and_then(CloseCode::new)
        .ok_or_else(|| malformed("bad code"))?;
    Ok(CloseReason::new(code, reason.to_owned()))
}

fn malformed(what: &'static str) -> Error {
    Error::with_message(ErrorKind::Protocol, what)
}

// ---- the driver: moves bytes, keeps the one timer

/// One end of the connection, over anything that reads and writes bytes.
pub struct Tcp<I> {
    io: I,
    info: TransportInfo,
    limits: Limits,
    /// Read and not yet decoded: at most one message and a little more.
    input: BytesMut,
    /// Encoded and not yet written.
    output: BytesMut,
    /// Our close is in `output` or gone: nothing may follow it.
    close_sent: bool,
    peer_close: Option<CloseReason>,
    close_timer: Option<Pin<Box<Sleep>>>,
    /// How the connection ended, when it did not end by a close.
    failed: Option<ErrorKind>,
}

impl Tcp<TcpStream> {
    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// No connection could be made.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        Ok(Self::new(TcpStream::connect(address).await?, Limits::new()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Tcp<I> {
    /// Makes a transport of a connection that has just been opened or accepted.
    pub fn new(io: I, limits: Limits) -> Self {
        Self {
            io,
            // There is no kind for your transport: say the built-in one that it behaves like.
            info: TransportInfo::new(TransportKind::WebSocket),
            limits,
            input: BytesMut::new(),
            output: BytesMut::new(),
            close_sent: false,
            peer_close: None,
            close_timer: None,
            failed: None,
        }
    }

    /// Remembers that the connection is lost, so that every later call says so.
    fn fail(&mut self, error: Error) -> Error {
        self.failed = Some(error.kind());
        error
    }

    fn check(&self) -> Result<(), Error> {
        self.failed.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.output.is_empty() {
            // Cancel safe: `write_buf` takes out of the buffer exactly what it has written.
            if let Err(error) = ready!(pin!(self.io.write_buf(&mut self.output)).poll(cx)) {
                return Poll::Ready(Err(self.fail(error.into())));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Result<Record, Error>> {
        loop {
            match decode(&mut self.input, &self.limits) {
                Ok(Some(record)) => return Poll::Ready(Ok(record)),
                Ok(None) => {}
                Err(error) => {
                    // The peer is told what it did wrong, if that can be done without waiting.
                    self.queue_close(CloseReason::from(error.close_code()));
                    let _ = self.poll_write_all(cx);
                    return Poll::Ready(Err(self.fail(error)));
                }
            }
            self.input.reserve(4096);
            match ready!(pin!(self.io.read_buf(&mut self.input)).poll(cx)) {
                // The stream ended without a close: it was cut.
                Ok(0) => return Poll::Ready(Err(self.fail(ErrorKind::Reset.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(self.fail(error.into()))),
            }
        }
    }

    fn queue_close(&mut self, why: CloseReason) {
        if !std::mem::replace(&mut self.close_sent, true) {
            encode(&Record::Close(why), &mut self.output);
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send> Transport for Tcp<I> {
    fn info(&self) -> &TransportInfo {
        &self.info
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        self.check()?;
        if self.peer_close.is_none() {
            match ready!(self.poll_record(cx))? {
                Record::Message(message) => return Poll::Ready(Ok(Some(message))),
                Record::Close(why) => {
                    self.queue_close(why.clone());
                    self.peer_close = Some(why);
                }
            }
        }
        // The application may drop us as soon as it hears of the close: our answer goes first.
        ready!(self.poll_write_all(cx))?;
        Poll::Ready(Ok(None))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>> {
        self.check()?;
        if self.close_sent {
            return Poll::Ready(Err(ErrorKind::Closed.into()));
        }
        if !self.output.is_empty() && self.output.len() + message.len() > self.limits.send_buffer()
        {
            ready!(self.poll_write_all(cx))?;
        }
        encode(&Record::Message(message.clone()), &mut self.output);
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.check()?;
        self.poll_write_all(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>> {
        self.queue_close(why.clone());
        let over = self.peer_close.is_some() && self.output.is_empty();
        if over || self.failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        let timeout = self.limits.close_time();
        let timer = self
            .close_timer
            .get_or_insert_with(|| Box::pin(sleep(timeout)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(self.fail(ErrorKind::TimedOut.into())));
        }
        let written = self.poll_write_all(cx)?;
        // Reads on while it writes: else two peers that close with full buffers wait for each
        // other.
        while self.peer_close.is_none() {
            match ready!(self.poll_record(cx))? {
                Record::Message(_) => {}
                Record::Close(why) => self.peer_close = Some(why),
            }
        }
        written.map(Ok)
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        self.peer_close.as_ref()
    }
}

/// Payloads never end in a log: buffers are counted, not shown.
impl<I> fmt::Debug for Tcp<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp")
            .field("input", &self.input.len())
            .field("output", &self.output.len())
            .field("close_sent", &self.close_sent)
            .finish_non_exhaustive()
    }
}

// ---- and a conversation

#[tokio::main]
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
async fn main() -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let mut transport = Tcp::new(stream, Limits::new());
        while let Some(message) = transport.recv().await? {
            transport.send(message).await?;
        }
        Ok::<_, Error>(transport.close_reason().cloned())
    });

    let mut client = Tcp::connect(&address).await?;
    client.send("hello").await?;
    println!("echoed: {:?}", client.recv().await?);
    let why = CloseReason::new(CloseCode::NORMAL, "bye");
    client.close(why).await?;
    println!("the server heard: {:?}", server.await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        let limits = Limits::new().max_message_size(2 << 20);
        switchback_conformance::run(async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
            let end = |io| Tcp::new(io, limits.clone());
            (end(server.unwrap().0), end(client.unwrap()))
        })
        .await;
    }

    /// The smallest buffers and the smallest pieces: every path that waits is taken.
    #[tokio::test]
    async fn conforms_over_a_narrow_pipe() {
        let limits = Limits::new().max_message_size(2 << 20).send_buffer_size(1);
        switchback_conformance::Suite::new(async || {
            let (server, client) = tokio::io::duplex(1000);
            (
                Tcp::new(server, limits.clone()),
                Tcp::new(client, limits.clone()),
            )
        })
        .large(false)
        .run()
        .await;
    }

    #[test]
    fn bad_records_are_refused_before_they_are_stored() {
        for (wire, kind) in [
            ("x1\n", ErrorKind::Protocol),
            ("t-1\n", ErrorKind::Protocol),
            ("t00000000000000", ErrorKind::Protocol),
            ("c2\nno", ErrorKind::Protocol),
            ("c5\n1005 ", ErrorKind::Protocol),
            ("t65537\n", ErrorKind::TooLarge),
        ] {
            let error = decode(&mut wire.into(), &Limits::new()).unwrap_err();
            assert_eq!(error.kind(), kind, "{wire:?}");
        }
        let error = decode(&mut b"t1\n\xff"[..].into(), &Limits::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUtf8);
    }

    #[test]
    fn a_record_is_decoded_only_when_it_is_complete() {
        let mut wire = BytesMut::new();
        encode(&Record::Message("hello".into()), &mut wire);
        for length in 0..wire.len() {
            assert_eq!(
                decode(&mut wire[..length].into(), &Limits::new()).unwrap(),
                None
            );
        }
        let record = decode(&mut wire, &Limits::new()).unwrap();
        assert_eq!(record, Some(Record::Message("hello".into())));
        assert!(wire.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_that_nobody_answers_ends() {
        let (near, _far) = tokio::io::duplex(1000);
        let mut transport = Tcp::new(near, Limits::new());
        let error = transport.close(CloseReason::normal()).await.unwrap_err();
        assert!(error.is_timeout());
    }

    #[tokio::test(start_paused = true)]
    async fn closing_again_is_harmless_however_late() {
        let (near, far) = tokio::io::duplex(1000);
        let (mut near, mut far) = (Tcp::new(near, Limits::new()), Tcp::new(far, Limits::new()));
        let (closed, heard) = tokio::join!(near.close(CloseReason::normal()), far.recv());
        assert!(closed.is_ok());
        assert_eq!(heard.unwrap(), None);
        tokio::time::advance(Limits::new().close_time() * 2).await;
        assert!(near.close(CloseReason::normal()).await.is_ok());
        assert!(far.close(CloseReason::normal()).await.is_ok());
    }
}
