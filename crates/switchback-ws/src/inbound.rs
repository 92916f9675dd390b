//! What was read from the byte stream, on its way to messages.
//!
//! Most frames are whole messages. Those are taken here, with one copy and one look at the text;
//! everything else is left to tungstenite, and so is everything that is wrong. Of what tungstenite
//! gets, it never gets more than up to the end of a frame: it holds nothing of the next one.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::{io, mem};

use bytes::BufMut;
use switchback_core::{Message, MessageKind};
use tokio::io::{AsyncReadExt, ReadBuf};

use crate::engine::Io;
use crate::proto::close::Failure;
use crate::proto::header::{Header, apply_mask};
use crate::proto::watch::FrameWatch;
use crate::socket::Role;

/// How much is read at once.
const SPACE: usize = 64 * 1024;
/// How much is read at once at least, however little the application wants to be held for it.
const MIN_READ: usize = 1024;

thread_local! {
    /// Where all connections of a thread read to, so that none needs a buffer of its own before
    /// there is something to read, and none has to be filled with zeros each time.
    static SHARED_SPACE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the buffer of the thread. What is in it is arbitrary.
pub(crate) fn with_space<T>(run: impl FnOnce(&mut [u8]) -> T) -> T {
    // A byte stream may itself be made of a WebSocket; the inner one gets a new buffer.
    let mut space = SHARED_SPACE.take();
    space.resize(SPACE, 0);
    let result = run(&mut space);
    SHARED_SPACE.set(space);
    result
}

/// How the bytes go on.
pub(crate) enum Next {
    /// With a whole message, of so many bytes.
    Message(usize, Result<Message, Failure>),
    /// With the beginning of a message. All of them were taken; the rest is read by
    /// [`Inbound::poll_begun`].
    Begun,
    /// With something for tungstenite, up to where [`FrameWatch::feed`] says.
    Engine,
}

pub(crate) struct Inbound {
    masked: bool,
    message_size: u64,
    read_size: usize,
    /// Read, but not looked at yet. An idle connection has none.
    unread: Vec<u8>,
    unread_at: usize,
    begun: Option<Begun>,
    watch: FrameWatch,
}

/// A message that came in part.
struct Begun {
    kind: MessageKind,
    mask: Option<[u8; 4]>,
    payload: Vec<u8>,
    len: usize,
}

impl Inbound {
    /// `unread`: what was read already, behind the handshake.
    pub(crate) fn new(
        unread: Vec<u8>,
        role: Role,
        message_size: usize,
        recv_buffer: usize,
    ) -> Self {
        Self {
            masked: role == Role::Server,
            message_size: message_size as u64,
            read_size: recv_buffer.clamp(MIN_READ, SPACE),
            unread,
            unread_at: 0,
            begun: None,
            watch: FrameWatch::default(),
        }
    }

    /// Returns what tungstenite got.
    pub(crate) fn watch(&mut self) -> &mut FrameWatch {
        &mut self.watch
    }

    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Takes out what is unread, to give it back to [`keep`](Self::keep): the bytes, and how many of
    /// them were looked at.
    pub(crate) fn take_unread(&mut self) -> (Vec<u8>, usize) {
        (mem::take(&mut self.unread), mem::take(&mut self.unread_at))
    }

    pub(crate) fn keep(&mut self, bytes: Vec<u8>, at: usize) {
        if at < bytes.len() {
            (self.unread, self.unread_at) = (bytes, at);
        }
    }

    /// Takes the next frame, or what there is of it.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Next {
        if self.watch.is_between_messages()
            && let Some((header, header_len)) = Header::parse(bytes)
            && let Some(kind) = header.whole_message()
            && header.mask.is_some() == self.masked
            && header.payload_len <= self.message_size
            && let Ok(len) = usize::try_from(header.payload_len)
        {
            let rest = &bytes[header_len..];
            if let Some(payload) = rest.get(..len) {
                let message = Message::from_copy_with(kind, payload, |payload| {
                    unmask(payload, header.mask);
                });
                return Next::Message(header_len + len, message.map_err(Failure::invalid_utf8));
            }
            let mut payload = Vec::with_capacity(len);
            payload.extend_from_slice(rest);
            self.begun = Some(Begun {
                kind,
                mask: header.mask,
                payload,
                len,
            });
            return Next::Begun;
        }
        Next::Engine
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Reads on in the message that is begun, straight to where it is to be. Returns how many bytes
    /// came; 0 at the end of the byte stream.
    pub(crate) fn poll_begun(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut dyn Io,
    ) -> Poll<io::Result<usize>> {
        let Some(begun) = &mut self.begun else {
            return Poll::Ready(Ok(0));
        };
        let left = begun.len - begun.payload.len();
        let mut room = (&mut begun.payload).limit(left);
        pin!(io.read_buf(&mut room)).poll(cx)
    }

    /// Takes the message that was begun, once it is whole.
    pub(crate) fn finish_begun(&mut self) -> Option<Result<Message, Failure>> {
        let mut begun = self
            .begun
            .take_if(|begun| begun.payload.len() == begun.len)?;
        unmask(&mut begun.payload, begun.mask);
        let message = Message::from_vec(begun.kind, begun.payload);
        Some(message.map_err(Failure::invalid_utf8))
    }

    /// Reads to the space. No bytes: the end of the byte stream.
    pub(crate) fn poll_space<'a>(
        &self,
        cx: &mut Context<'_>,
        io: &mut dyn Io,
        space: &'a mut [u8],
    ) -> Poll<io::Result<&'a [u8]>> {
        let mut buf = ReadBuf::new(&mut space[..self.read_size]);
        ready!(Pin::new(io).poll_read(cx, &mut buf))?;
        let len = buf.filled().len();
        Poll::Ready(Ok(&space[..len]))
    }

    /// Gives all memory back.
    pub(crate) fn clear(&mut self) {
        self.unread = Vec::new();
        self.begun = None;
    }
}

fn unmask(payload: &mut [u8], mask: Option<[u8; 4]>) {
    if let Some(mask) = mask {
        apply_mask(payload, mask);
    }
}
