//! tungstenite's state machine on an asynchronous byte stream: fragments, control frames, closing,
//! all that is wrong. Nothing of tungstenite is visible above this file.
//!
//! It does not read the byte stream itself, and it does not see messages that are a single frame:
//! see [`Inbound`].
//!
//! Of tokio-tungstenite, the state machine is used and not the `Stream` and `Sink` around it: those
//! hide how full the buffer is, count a message that is larger than the buffer as an error, and
//! keep two wakers per connection that the contract of a transport does not need.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{io, mem};

use bytes::Bytes;
use switchback_core::{CloseReason, Error, ErrorKind, Message, MessageKind, Run, WireForm};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::error::Error as EngineError;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{
    Message as EngineMessage, Role as EngineRole, WebSocketConfig, WebSocketContext,
};

use crate::config::Tuning;
use crate::heartbeat::SignsOfLife;
use crate::inbound::{Inbound, Next, with_space};
use crate::outbound::{Outbound, SHARE_FROM};
use crate::proto::close::{self, Failure};
use crate::proto::header::{frame_len, push_frame};
use crate::proto::watch::MAX_CONTROL_PAYLOAD;
use crate::socket::Role;

/// What tungstenite holds for reading, and takes at once. It gets control frames, which are smaller,
/// and fragments, which may be larger: then this grows, until the connection rests.
const READ_BUFFER: usize = 256;
/// Up to which size tungstenite's write buffer, through which a client's messages go, is kept.
const KEPT_WRITE_BUFFER: usize = 4 * 1024;
/// From how much on what is outbound is written without waiting for a flush.
const EAGER_WRITE: usize = 16 * 1024;
/// Up to how many bytes messages of a broadcast are taken in one piece.
const MAX_JOINED: usize = 32 * 1024;
/// The longest header without a mask.
const MAX_HEADER: usize = 10;
/// How much more than messages may be outbound: pongs. When they do not fit, the latest one waits
/// for room and the others are left out, as RFC 6455, 5.5.3 allows.
const PONG_ROOM: usize = 4 * 1024;
/// How much waits in tungstenite at most: a control frame and its header.
const WAITING_ROOM: usize = MAX_CONTROL_PAYLOAD + 6;
/// Payloads up to this size are copied out of tungstenite's read buffer. Held back by a slow
/// application, each would keep a whole buffer alive.
const COPY_UP_TO: usize = 1024;

/// A byte stream of any type.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What was read.
#[derive(Debug)]
pub(crate) enum Input {
    /// At least one message, which was given away.
    Messages,
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
    outbound: Outbound,
    role: Role,
    send_buffer: usize,
    config: WebSocketConfig,
    signs: SignsOfLife,
    /// Whether a write had to wait.
    blocked: bool,
    /// Whether tungstenite holds frames for which there was no room.
    waiting: bool,
    /// Whether a ping of ours, or the answer to one, is still to be flushed, which nobody but the
    /// reader does.
    owing: bool,
    /// Whether tungstenite's write buffer has grown.
    grown: bool,
    /// A write that failed while reading.
    broken: Option<io::ErrorKind>,
}

impl Engine {
    /// `part`: what was read already, behind the handshake.
    pub(crate) fn new(io: Box<dyn Io>, part: Vec<u8>, role: Role, tuning: &Tuning) -> Self {
        let limits = &tuning.limits;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WAITING_ROOM)
            .max_message_size(Some(limits.message_size()))
            .max_frame_size(Some(limits.message_size().max(MAX_CONTROL_PAYLOAD)));
        Self {
            context: WebSocketContext::new(role.engine(), Some(config)),
            inbound: Inbound::new(part, role, limits.message_size(), limits.recv_buffer()),
            outbound: Outbound::new(io.is_write_vectored()),
            io: Some(io),
            role,
            send_buffer: limits.send_buffer(),
            config,
            signs: SignsOfLife::new(tuning.ping_interval.is_some()),
            blocked: false,
            waiting: false,
            owing: false,
            grown: false,
            broken: None,
        }
    }

    pub(crate) fn signs_of_life(&mut self) -> &mut SignsOfLife {
        &mut self.signs
    }

    /// Tells whether more was read than was looked at.
    pub(crate) fn has_unread(&self) -> bool {
        self.inbound.has_unread()
    }

    /// Reads the next thing; writes and flushes the answers to what was read before. Messages are
    /// given to `give`, for as long as it returns `true` and they are at hand.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        give: &mut dyn FnMut(Message) -> bool,
    ) -> Poll<Result<Input, Failure>> {
        self.flush_owed(cx);
        loop {
            let input = if self.inbound.has_unread() {
                let (bytes, at) = self.inbound.take_unread();
                let (taken, input) = self.take(&bytes[at..], give);
                self.inbound.keep(bytes, at + taken);
                input
            } else {
                ready!(self.poll_input(cx, give))
            };
            if let Some(input) = input {
                return Poll::Ready(input);
            }
        }
    }

    /// Reads the byte stream once. `None`: what came is not all of anything yet.
    fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        give: &mut dyn FnMut(Message) -> bool,
    ) -> Poll<Option<Result<Input, Failure>>> {
        if self.inbound.has_begun() {
            return self.poll_begun(cx, give);
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
                return Poll::Ready(self.end_of_stream(give));
            }
            self.signs.note();
            let (taken, input) = self.take(bytes, give);
            if taken < bytes.len() {
                self.inbound.keep(bytes[taken..].to_vec(), 0);
            }
            Poll::Ready(input)
        })
    }

    /// Reads on in the message that is begun.
    fn poll_begun(
        &mut self,
        cx: &mut Context<'_>,
        give: &mut dyn FnMut(Message) -> bool,
    ) -> Poll<Option<Result<Input, Failure>>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Some(Err(EngineError::AlreadyClosed.into())));
        };
        Poll::Ready(match ready!(self.inbound.poll_begun(cx, &mut **io)) {
            Ok(0) => self.end_of_stream(give),
            Ok(_) => {
                self.signs.note();
                let message = self.inbound.finish_begun();
                message.map(|message| message.map(|message| one(message, give)))
            }
            Err(error) => Some(Err(EngineError::Io(error).into())),
        })
    }

    /// Takes messages, or else bytes up to the next other thing: nothing that can fail comes behind
    /// messages in one call. Returns how many bytes, and what came if it is complete.
    fn take(
        &mut self,
        bytes: &[u8],
        give: &mut dyn FnMut(Message) -> bool,
    ) -> (usize, Option<Result<Input, Failure>>) {
        let mut taken = 0;
        let mut given = false;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            match self.inbound.next(rest) {
                Next::Message(len, Ok(message)) => {
                    taken += len;
                    given = true;
                    if !give(message) {
                        break;
                    }
                }
                Next::Begun => return (bytes.len(), given.then_some(Ok(Input::Messages))),
                _ if given => break,
                Next::Message(len, Err(failure)) => return (taken + len, Some(Err(failure))),
                Next::Engine => {
                    let len = self.inbound.watch().feed(rest);
                    taken += len;
                    let input = self.take_by_engine(&rest[..len], false, give);
                    if input.is_some() {
                        return (taken, input);
                    }
                }
            }
        }
        (taken, given.then_some(Ok(Input::Messages)))
    }

    fn end_of_stream(
        &mut self,
        give: &mut dyn FnMut(Message) -> bool,
    ) -> Option<Result<Input, Failure>> {
        self.take_by_engine(&[], true, give)
    }

    /// `part` ends at the latest where the frame ends, so tungstenite takes all of it.
    fn take_by_engine(
        &mut self,
        part: &[u8],
        ended: bool,
        give: &mut dyn FnMut(Message) -> bool,
    ) -> Option<Result<Input, Failure>> {
        let room = self.pong_room();
        let mut bridge = Bridge {
            outbound: &mut self.outbound,
            room,
            part,
            ended,
        };
        Some(match self.context.read(&mut bridge) {
            Ok(EngineMessage::Text(text)) if text.len() <= COPY_UP_TO => {
                Ok(one(Message::text(text.as_str()), give))
            }
            Ok(EngineMessage::Text(text)) => Message::text_from_bytes(text.into())
                .map(|message| one(message, give))
                .map_err(|error| Failure { error, tell: None }),
            Ok(EngineMessage::Binary(bytes)) if bytes.len() <= COPY_UP_TO => {
                let bytes = Bytes::copy_from_slice(&bytes);
                Ok(one(Message::binary(bytes), give))
            }
            Ok(EngineMessage::Binary(bytes)) => Ok(one(Message::binary(bytes), give)),
            Ok(EngineMessage::Ping(_)) => {
                self.owing = true;
                self.let_engine_write(self.pong_room());
                Ok(Input::Control)
            }
            Ok(EngineMessage::Pong(_) | EngineMessage::Frame(_)) => Ok(Input::Control),
            // Not what the engine says: where it does not know the code, it shows its answer.
            Ok(EngineMessage::Close(_)) => {
                // That answer must not be lost for lack of room.
                self.lift_write_limit();
                self.let_engine_write(usize::MAX);
                let payload = self.inbound.watch().close().unwrap_or_default();
                Ok(close::received(payload).map_or(Input::BadClose, Input::Close))
            }
            Err(error) if would_block(&error) => return None,
            Err(error) => Err(error.into()),
        })
    }

    /// Takes a message into the buffer; makes room for it first if there is none.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        message: &Message,
    ) -> Poll<Result<(), Error>> {
        let len = frame_len(message.len(), self.role == Role::Client);
        if !self.has_room(len) {
            let flushed = self.poll_flush(cx)?;
            if flushed.is_pending() && !self.has_room(len) {
                return Poll::Pending;
            }
        }
        match self.role {
            Role::Server => self.outbound.push_message(message, len),
            Role::Client => self.mask(message, len)?,
        }
        self.write_eagerly(cx)
    }

    /// Takes messages of a broadcast into the buffer: a copy of what was encoded once for all, where
    /// they are small and there is room for all of them.
    pub(crate) fn poll_write_run(
        &mut self,
        cx: &mut Context<'_>,
        run: &mut Run,
    ) -> Poll<Result<(), Error>> {
        if self.role == Role::Server && run.bytes() <= MAX_JOINED.min(run.len() * SHARE_FROM) {
            let len = run.bytes() + run.len() * MAX_HEADER;
            if self.has_room(len) || (self.poll_flush(cx)?.is_ready() && self.has_room(len)) {
                let outbound = &mut self.outbound;
                run.encoded(WireForm::WebSocketFrame, push_frame, |frames| {
                    outbound.push(frames);
                });
                run.advance(run.len());
                return self.write_eagerly(cx);
            }
        }
        while let Some(message) = run.front() {
            ready!(self.poll_write(cx, message))?;
            run.advance(1);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is buffered, if it is much.
    fn write_eagerly(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.outbound.len() > EAGER_WRITE.min(self.send_buffer) {
            // If that has to wait, the message is taken all the same.
            let _ = self.poll_write_out(cx)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes all that is buffered.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush_out(cx).map_err(Error::from)
    }

    /// Sends a ping, if there is room for one. Reading flushes it where it has to wait.
    pub(crate) fn ping(&mut self, cx: &mut Context<'_>) {
        let written = self.with_bridge(self.pong_room(), |context, bridge| {
            context.write(bridge, EngineMessage::Ping(Bytes::new()))
        });
        self.waiting |= written.is_err();
        self.owing = true;
        self.flush_owed(cx);
    }

    fn flush_owed(&mut self, cx: &mut Context<'_>) {
        if !self.owing {
            return;
        }
        match self.poll_flush_out(cx) {
            Poll::Pending => return,
            Poll::Ready(Ok(())) => {}
            // Reading goes on: what the peer sent before it went away, its close frame perhaps, is
            // still to be delivered.
            Poll::Ready(Err(error)) => self.broken = Some(error.kind()),
        }
        self.owing = false;
    }

    /// Queues a close frame behind everything taken so far and tries to write it. Nothing is taken
    /// any more then.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>, why: &CloseReason) {
        self.lift_write_limit();
        // What fails here fails again, and is reported, when it is flushed.
        let _ = self.with_bridge(usize::MAX, |context, bridge| {
            context.close(bridge, close::to_send(why))
        });
        let _ = self.poll_flush_out(cx);
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

    /// Gives back what tungstenite's buffers have grown to, if nothing is in them. They never shrink,
    /// so that takes a new state machine; between messages, with nothing to write, it has no state.
    pub(crate) fn rest(&mut self) {
        let watch = self.inbound.watch();
        if self.waiting || !watch.is_between_messages() {
            return;
        }
        let largest = watch.take_largest();
        if mem::take(&mut self.grown) || largest > READ_BUFFER as u64 {
            self.context = WebSocketContext::new(self.role.engine(), Some(self.config));
        }
    }

    /// Drops the byte stream and all buffers.
    pub(crate) fn hang_up(&mut self) {
        self.io = None;
        self.inbound.clear();
        self.outbound.clear();
        let config = WebSocketConfig::default().read_buffer_size(0);
        self.context = WebSocketContext::new(self.role.engine(), Some(config));
    }

    /// A message that is larger than the whole buffer is taken when nothing else is in it.
    fn has_room(&self, len: usize) -> bool {
        self.outbound.len() == 0 || self.outbound.len().saturating_add(len) <= self.send_buffer
    }

    fn lift_write_limit(&mut self) {
        self.context
            .set_config(|config| config.max_write_buffer_size = usize::MAX);
    }

    /// From how much outbound on a ping or pong has no room.
    fn pong_room(&self) -> usize {
        self.send_buffer.saturating_add(PONG_ROOM)
    }

    /// Writes what is outbound, and flushes the byte stream.
    fn poll_flush_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        while self.waiting {
            self.let_engine_write(usize::MAX);
            ready!(self.poll_write_out(cx))?;
        }
        match &mut self.io {
            Some(io) => Pin::new(io).poll_flush(cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Writes what is outbound.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.broken {
            return Poll::Ready(Err(kind.into()));
        }
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let before = self.outbound.len();
        let written = self.outbound.poll_write(cx, &mut **io);
        if self.blocked && self.outbound.len() < before {
            // There is room again, so the peer has received something. A ping that is behind all
            // of it cannot be answered in time, and the peer is alive all the same.
            self.signs.note();
        }
        self.blocked = written.is_pending();
        written
    }

    /// Takes a client's message, which needs a mask.
    fn mask(&mut self, message: &Message, len: usize) -> Result<(), Error> {
        let opcode = match message.kind() {
            MessageKind::Text => Data::Text,
            MessageKind::Binary => Data::Binary,
        };
        // As a frame, so that text is not checked for UTF-8 again.
        let frame = Frame::message(message.bytes().clone(), OpCode::Data(opcode), true);
        self.grown |= len > KEPT_WRITE_BUFFER;
        self.lift_write_limit();
        let written = self.with_bridge(usize::MAX, |context, bridge| {
            context.write(bridge, EngineMessage::Frame(frame))
        });
        self.context
            .set_config(|config| config.max_write_buffer_size = WAITING_ROOM);
        written.map_err(write_error)
    }

    /// Takes over what tungstenite has to say, while no more than `room` is outbound.
    fn let_engine_write(&mut self, room: usize) {
        let written = self.with_bridge(room, |context, bridge| {
            context.flush(bridge)?;
            // If one frame was in the way of another, that one comes now.
            context.flush(bridge)
        });
        // After the close it also fails, to say that this was all.
        self.waiting = matches!(written, Err(error) if would_block(&error));
    }

    fn with_bridge<T>(
        &mut self,
        room: usize,
        run: impl FnOnce(&mut WebSocketContext, &mut Bridge<'_>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut bridge = Bridge {
            outbound: &mut self.outbound,
            room,
            part: &[],
            ended: false,
        };
        run(&mut self.context, &mut bridge)
    }
}

/// Gives a message away that nothing comes behind in this call.
fn one(message: Message, give: &mut dyn FnMut(Message) -> bool) -> Input {
    give(message);
    Input::Messages
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

/// The byte stream as tungstenite sees it: what was read, and room for what is to be written.
struct Bridge<'a> {
    outbound: &'a mut Outbound,
    /// From how much outbound on there is no room.
    room: usize,
    /// What there is to read.
    part: &'a [u8],
    /// Whether the byte stream has ended behind that.
    ended: bool,
}

impl io::Read for Bridge<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.part.read(buf)
    }
}

impl io::Write for Bridge<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.outbound.len() >= self.room {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.outbound.push(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
