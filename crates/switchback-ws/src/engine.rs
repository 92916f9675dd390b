//! tungstenite's state machine on an asynchronous byte stream: fragments, control frames, closing,
//! all that is wrong. Nothing of tungstenite is visible above this file.
//!
//! It does not read the byte stream itself, and it does not see messages that are a single frame:
//! see [`Inbound`].
//!
//! Of tokio-tungstenite, the state machine is used and not the `Stream` and `Sink` around it: those
//! hide how full the buffer is, count a message that is larger than the buffer as an error, and
//! keep two wakers per connection that the contract of a transport does not need.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use switchback_core::{CloseReason, Error, ErrorKind, Limits, Message, MessageKind};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::error::Error as EngineError;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{
    Message as EngineMessage, Role as EngineRole, WebSocketConfig, WebSocketContext,
};

use crate::heartbeat::SignsOfLife;
use crate::inbound::{Inbound, Next, with_space};
use crate::proto::close::{self, Failure};
use crate::proto::watch::MAX_CONTROL_PAYLOAD;
use crate::socket::Role;

/// What tungstenite holds for reading, and takes at once. It gets control frames, which are smaller,
/// and fragments, which may be larger: then this grows, until the connection rests.
const READ_BUFFER: usize = 256;
/// Up to which size tungstenite's write buffer is kept.
const KEPT_WRITE_BUFFER: usize = 4 * 1024;
/// From how much on the buffer is written without waiting for a flush.
const EAGER_WRITE: usize = 16 * 1024;
/// How much more than messages the write buffer takes: pongs. When they do not fit, the latest one
/// waits for room and the others are left out, as RFC 6455, 5.5.3 allows.
const PONG_ROOM: usize = 4 * 1024;
/// Payloads up to this size are copied out of tungstenite's read buffer. Held back by a slow
/// application, each would keep a whole buffer alive.
const COPY_UP_TO: usize = 1024;

/// A byte stream of any type.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What was read.
#[derive(Debug)]
pub(crate) enum Input {
    Message(Message),
    /// A ping or pong: nothing for the application.
    Control,
    /// A close frame. The answer is queued if one is due.
    Close(CloseReason),
    /// A close frame with a code that must not be sent. The answer, 1002, is queued if one is due.
    BadClose,
}

pub(crate) struct Engine {
    context: WebSocketContext,
    /// `None` after [`hang_up`](Self::hang_up).
    io: Option<Box<dyn Io>>,
    inbound: Inbound,
    meter: Meter,
    role: Role,
    send_buffer: usize,
    config: WebSocketConfig,
}

/// What passes between the state machine and the byte stream.
struct Meter {
    /// How many bytes are in the write buffer, which tungstenite does not tell. May be too high,
    /// because a pong replaces one that was not written yet; each complete flush corrects that.
    buffered: usize,
    /// Whether a flush of the byte stream is due.
    unflushed: bool,
    /// Whether a write had to wait.
    blocked: bool,
    /// Whether a ping of ours, or the answer to one, is still to be flushed, which nobody but the
    /// reader does.
    owing: bool,
    /// Whether the write buffer has grown.
    grown: bool,
    signs: SignsOfLife,
    /// A write that failed while reading.
    broken: Option<io::ErrorKind>,
}

impl Engine {
    /// `part`: what was read already, behind the handshake.
    pub(crate) fn new(io: Box<dyn Io>, part: Vec<u8>, role: Role, limits: &Limits) -> Self {
        let send_buffer = limits.send_buffer();
        let eager = EAGER_WRITE.min(send_buffer);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(eager)
            .max_write_buffer_size(send_buffer.saturating_add(PONG_ROOM))
            .max_message_size(Some(limits.message_size()))
            .max_frame_size(Some(limits.message_size().max(MAX_CONTROL_PAYLOAD)));
        Self {
            context: WebSocketContext::new(role.engine(), Some(config)),
            io: Some(io),
            inbound: Inbound::new(part, role, limits.message_size(), limits.recv_buffer()),
            meter: Meter {
                buffered: 0,
                unflushed: false,
                blocked: false,
                owing: false,
                grown: false,
                signs: SignsOfLife::new(),
                broken: None,
            },
            role,
            send_buffer,
            config,
        }
    }

    pub(crate) fn signs_of_life(&mut self) -> &mut SignsOfLife {
        &mut self.meter.signs
    }

    /// Reads the next thing; writes and flushes the answers to what was read before.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Input, Failure>> {
        self.flush_owed(cx);
        loop {
            let input = if self.inbound.has_unread() {
                let (bytes, at) = self.inbound.take_unread();
                let (taken, input) = self.take(cx, &bytes[at..]);
                self.inbound.keep(bytes, at + taken);
                input
            } else {
                ready!(self.poll_input(cx))
            };
            if let Some(input) = input {
                return Poll::Ready(input);
            }
        }
    }

    /// Reads the byte stream once. `None`: what came is not all of anything yet.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Input, Failure>>> {
        if self.inbound.has_begun() {
            return self.poll_begun(cx);
        }
        with_space(|space| {
            let Some(io) = &mut self.io else {
                return Poll::Ready(Some(Err(EngineError::AlreadyClosed.into())));
            };
            let bytes = match ready!(self.inbound.poll_space(cx, &mut **io, space)) {
                Ok(bytes) => bytes,
                Err(error) => return Poll::Ready(Some(Err(EngineError::Io(error).into()))),
            };
            if bytes.is_empty() {
                return Poll::Ready(self.end_of_stream(cx));
            }
            self.meter.signs.note();
            let (taken, input) = self.take(cx, bytes);
            if taken < bytes.len() {
                self.inbound.keep(bytes[taken..].to_vec(), 0);
            }
            Poll::Ready(input)
        })
    }

    /// Reads on in the message that is begun.
    fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Input, Failure>>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Some(Err(EngineError::AlreadyClosed.into())));
        };
        Poll::Ready(match ready!(self.inbound.poll_begun(cx, &mut **io)) {
            Ok(0) => self.end_of_stream(cx),
            Ok(_) => {
                self.meter.signs.note();
                let message = self.inbound.finish_begun();
                message.map(|message| message.map(Input::Message))
            }
            Err(error) => Some(Err(EngineError::Io(error).into())),
        })
    }

    /// Takes bytes up to the next thing. Returns how many, and that thing if it is complete.
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> (usize, Option<Result<Input, Failure>>) {
        let mut taken = 0;
        while taken < bytes.len() {
            let (len, next) = self.inbound.next(&bytes[taken..]);
            let part = &bytes[taken..taken + len];
            taken += len;
            let input = match next {
                Next::Message(message) => Some(message.map(Input::Message)),
                Next::Begun => None,
                Next::Engine => self.take_by_engine(cx, part, false),
            };
            if input.is_some() {
                return (taken, input);
            }
        }
        (taken, None)
    }

    fn end_of_stream(&mut self, cx: &mut Context<'_>) -> Option<Result<Input, Failure>> {
        self.take_by_engine(cx, &[], true)
    }

    /// `part` ends at the latest where the frame ends, so tungstenite takes all of it.
    fn take_by_engine(
        &mut self,
        cx: &mut Context<'_>,
        part: &[u8],
        ended: bool,
    ) -> Option<Result<Input, Failure>> {
        let Some(io) = &mut self.io else {
            return None;
        };
        let mut bridge = Bridge {
            io: &mut **io,
            cx,
            meter: &mut self.meter,
            direction: Direction::Read,
            part,
            ended,
        };
        Some(match self.context.read(&mut bridge) {
            Ok(EngineMessage::Text(text)) if text.len() <= COPY_UP_TO => {
                Ok(Input::Message(Message::text(text.as_str())))
            }
            Ok(EngineMessage::Text(text)) => Message::text_from_bytes(text.into())
                .map(Input::Message)
                .map_err(|error| Failure { error, tell: None }),
            Ok(EngineMessage::Binary(bytes)) if bytes.len() <= COPY_UP_TO => Ok(Input::Message(
                Message::binary(Bytes::copy_from_slice(&bytes)),
            )),
            Ok(EngineMessage::Binary(bytes)) => Ok(Input::Message(Message::binary(bytes))),
            Ok(EngineMessage::Ping(payload)) => {
                self.meter.buffered += frame_len(payload.len(), self.role);
                self.meter.owing = true;
                Ok(Input::Control)
            }
            Ok(EngineMessage::Pong(_) | EngineMessage::Frame(_)) => Ok(Input::Control),
            // Not what the engine says: where it does not know the code, it shows its answer.
            Ok(EngineMessage::Close(_)) => {
                // That answer must not be lost for lack of room.
                self.lift_write_limit();
                let payload = self.inbound.watch().close().unwrap_or_default();
                Ok(close::received(payload).map_or(Input::BadClose, Input::Close))
            }
            Err(error) if would_block(&error) => return None,
            Err(error) => Err(error.into()),
        })
    }

    /// Takes a message into the write buffer; makes room for it first if there is none.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        message: &Message,
    ) -> Poll<Result<(), Error>> {
        let len = frame_len(message.len(), self.role);
        if !self.has_room(len) {
            let flushed = self.poll_flush(cx)?;
            if flushed.is_pending() && !self.has_room(len) {
                return Poll::Pending;
            }
        }
        let opcode = match message.kind() {
            MessageKind::Text => Data::Text,
            MessageKind::Binary => Data::Binary,
        };
        // As a frame, so that text is not checked for UTF-8 again.
        let frame = Frame::message(message.bytes().clone(), OpCode::Data(opcode), true);
        self.meter.buffered += len;
        self.meter.grown |= self.meter.buffered > KEPT_WRITE_BUFFER;
        let write_limit = self.config.max_write_buffer_size;
        let exceeds = self.meter.buffered > write_limit;
        if exceeds {
            self.lift_write_limit();
        }
        let written = self.with_bridge(cx, Direction::Write, |context, bridge| {
            context.write(bridge, EngineMessage::Frame(frame))
        });
        if exceeds {
            self.context
                .set_config(|config| config.max_write_buffer_size = write_limit);
        }
        Poll::Ready(match written {
            // It is in the buffer, though not written yet.
            Err(error) if would_block(&error) => Ok(()),
            Err(error) => Err(write_error(error)),
            Ok(()) => Ok(()),
        })
    }

    /// Writes all that is buffered.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self.with_bridge(cx, Direction::Write, |context, bridge| {
            context.flush(bridge)
        }) {
            Ok(()) => {}
            // The closing handshake is complete and all of it written, but not flushed.
            Err(EngineError::ConnectionClosed) => {
                if let Some(io) = &mut self.io {
                    ready!(Pin::new(io).poll_flush(cx))?;
                }
            }
            Err(error) if would_block(&error) => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(write_error(error))),
        }
        self.meter.buffered = 0;
        Poll::Ready(Ok(()))
    }

    /// Sends a ping, if there is room for one. Reading flushes it where it has to wait.
    pub(crate) fn ping(&mut self, cx: &mut Context<'_>) {
        self.meter.buffered += frame_len(0, self.role);
        self.meter.owing = true;
        // What fails here fails again, and is reported, when the connection is read.
        let _ = self.with_bridge(cx, Direction::Read, |context, bridge| {
            context.write(bridge, EngineMessage::Ping(Bytes::new()))
        });
        self.flush_owed(cx);
    }

    fn flush_owed(&mut self, cx: &mut Context<'_>) {
        if !self.meter.owing {
            return;
        }
        let flushed = self.with_bridge(cx, Direction::Read, |context, bridge| {
            context.flush(bridge)?;
            // If there was no room for an answer, there is now.
            context.flush(bridge)
        });
        match flushed {
            Err(error) if would_block(&error) => {}
            _ => self.meter.owing = false,
        }
    }

    /// Queues a close frame behind everything taken so far and tries to write it. Nothing is taken
    /// any more then.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>, why: &CloseReason) {
        self.lift_write_limit();
        // What fails here fails again, and is reported, when it is flushed.
        let _ = self.with_bridge(cx, Direction::Write, |context, bridge| {
            context.close(bridge, close::to_send(why))
        });
    }

    /// Ends our half of the byte stream.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Reads and forgets until the peer ends its half of the byte stream, or it fails.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(());
        };
        with_space(|space| {
            loop {
                match ready!(self.inbound.poll_space(cx, &mut **io, space)) {
                    Ok([]) | Err(_) => return Poll::Ready(()),
                    Ok(_) => {}
                }
            }
        })
    }

    /// Gives back what the buffers have grown to, if nothing is in them. tungstenite's never shrink,
    /// so that takes a new state machine; between messages, with nothing to write, it has no state.
    pub(crate) fn rest(&mut self) {
        let (meter, watch) = (&mut self.meter, self.inbound.watch());
        if meter.buffered > 0 || meter.unflushed || meter.owing || !watch.is_between_messages() {
            return;
        }
        let largest = watch.take_largest();
        if std::mem::take(&mut meter.grown) || largest > READ_BUFFER as u64 {
            self.context = WebSocketContext::new(self.role.engine(), Some(self.config));
        }
    }

    /// Drops the byte stream and all buffers.
    pub(crate) fn hang_up(&mut self) {
        self.io = None;
        self.inbound.clear();
        let config = WebSocketConfig::default().read_buffer_size(0);
        self.context = WebSocketContext::new(self.role.engine(), Some(config));
    }

    /// A message that is larger than the whole buffer is taken when nothing else is in it.
    fn has_room(&self, len: usize) -> bool {
        self.meter.buffered == 0 || self.meter.buffered.saturating_add(len) <= self.send_buffer
    }

    fn lift_write_limit(&mut self) {
        self.context
            .set_config(|config| config.max_write_buffer_size = usize::MAX);
    }

    fn with_bridge<T>(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        run: impl FnOnce(&mut WebSocketContext, &mut Bridge<'_, '_>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let Some(io) = &mut self.io else {
            return Err(EngineError::AlreadyClosed);
        };
        let mut bridge = Bridge {
            io: &mut **io,
            cx,
            meter: &mut self.meter,
            direction,
            part: &[],
            ended: false,
        };
        run(&mut self.context, &mut bridge)
    }
}

/// How many bytes a frame has on the wire (RFC 6455, 5.2).
fn frame_len(payload: usize, role: Role) -> usize {
    let length = match payload {
        0..126 => 0,
        126..65_536 => 2,
        _ => 8,
    };
    let mask = match role {
        Role::Server => 0,
        Role::Client => 4,
    };
    2 + length + mask + payload
}

fn would_block(error: &EngineError) -> bool {
    matches!(error, EngineError::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn write_error(error: EngineError) -> Error {
    match error {
        EngineError::Io(error) => error.into(),
        EngineError::ConnectionClosed | EngineError::AlreadyClosed => ErrorKind::Closed.into(),
        other => Error::new(ErrorKind::Closed).with_source(other),
    }
}

impl Role {
    fn engine(self) -> EngineRole {
        match self {
            Self::Server => EngineRole::Server,
            Self::Client => EngineRole::Client,
        }
    }
}

/// The byte stream as the blocking one that tungstenite wants: `Pending` is `WouldBlock`.
struct Bridge<'a, 'b> {
    io: &'a mut dyn Io,
    cx: &'a mut Context<'b>,
    meter: &'a mut Meter,
    direction: Direction,
    /// What there is to read.
    part: &'a [u8],
    /// Whether the byte stream has ended behind that.
    ended: bool,
}

/// What the bridge was made for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

impl Bridge<'_, '_> {
    /// When a pong cannot be written, reading goes on: what the peer sent before it went away, its
    /// close frame perhaps, is still to be delivered.
    fn written<T>(&mut self, result: io::Result<T>, pretend: T) -> io::Result<T> {
        match result {
            Err(error) if self.direction == Direction::Read => {
                self.meter.broken = Some(error.kind());
                Ok(pretend)
            }
            other => other,
        }
    }

    fn check(&self) -> io::Result<()> {
        match self.meter.broken {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }
}

impl io::Read for Bridge<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.part.read(buf)
    }
}

impl io::Write for Bridge<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = match self.check() {
            Err(broken) => Err(broken),
            Ok(()) => match Pin::new(&mut self.io).poll_write(self.cx, buf) {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    self.meter.blocked = true;
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            },
        };
        if std::mem::take(&mut self.meter.blocked) && written.is_ok() {
            // There is room again, so the peer has received something. A ping that is behind all
            // of it cannot be answered in time, and the peer is alive all the same.
            self.meter.signs.note();
        }
        let count = self.written(written, buf.len())?;
        self.meter.buffered = self.meter.buffered.saturating_sub(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = match self.check() {
            Err(broken) => Err(broken),
            Ok(()) => match Pin::new(&mut self.io).poll_flush(self.cx) {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    self.meter.unflushed = true;
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            },
        };
        self.meter.unflushed = false;
        self.written(flushed, ())
    }
}
