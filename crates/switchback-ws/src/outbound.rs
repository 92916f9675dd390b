//! What was taken and is not written yet: frames, in their order.
//!
//! On a server, messages become frames here. A client's have to be masked, which tungstenite does;
//! they come as bytes, as control frames do.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use switchback_core::{Message, WireForm};

use crate::engine::Io;
use crate::proto::header::{encode_frame, push_header};

/// Payloads from this size on are shared with the message, smaller ones copied: that costs less
/// than to keep count of them.
pub(crate) const SHARE_FROM: usize = 2 * 1024;
/// The least that is allocated for copies.
const MIN_TAIL: usize = 1024;
/// How much room for copies is left to the thread when they are written.
const MAX_SPARE: usize = 32 * 1024;
/// How many parts one write has at most.
const SLICES: usize = 16;

thread_local! {
    /// Room for copies that the next connection of the thread takes: it has grown already, and is
    /// hot. Most often all is written at once, and one is enough for all connections.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[derive(Default)]
pub(crate) struct Outbound {
    /// What goes before the tail.
    parts: VecDeque<Bytes>,
    /// Where frames are appended. An idle connection has none.
    tail: Vec<u8>,
    /// How much of the tail is written.
    tail_at: usize,
    len: usize,
    vectored: bool,
}

impl Outbound {
    /// `vectored`: whether the byte stream takes several parts at once.
    pub(crate) fn new(vectored: bool) -> Self {
        Self {
            vectored,
            ..Self::default()
        }
    }

    /// Returns how many bytes are to be written.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.reserve_tail(bytes.len());
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends a message as a frame without a mask.
    pub(crate) fn push_message(&mut self, message: &Message, frame_len: usize) {
        if message.len() >= SHARE_FROM && message.is_prepared() {
            self.push_shared(message.encoded(WireForm::WebSocketFrame, encode_frame));
        } else if message.len() >= SHARE_FROM && self.vectored {
            let mut header = Vec::with_capacity(frame_len - message.len());
            push_header(&mut header, message);
            self.push_shared(header.into());
            self.push_shared(message.bytes().clone());
        } else {
            self.reserve_tail(frame_len);
            push_header(&mut self.tail, message);
            self.tail.extend_from_slice(message.as_bytes());
            self.len += frame_len;
        }
    }

    /// Writes all, unless the byte stream refuses.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut dyn Io,
    ) -> Poll<io::Result<()>> {
        while self.len > 0 {
            let written = ready!(self.poll_write_some(cx, Pin::new(&mut *io)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// All is written: keeps no memory, but leaves it to the thread.
    fn finish(&mut self) {
        let mut tail = mem::take(&mut self.tail);
        self.tail_at = 0;
        if self.parts.capacity() > 0 {
            self.parts = VecDeque::new();
        }
        if (1..=MAX_SPARE).contains(&tail.capacity()) {
            tail.clear();
            SPARE.set(tail);
        }
    }

    /// Forgets all of it.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.vectored);
    }

    fn push_shared(&mut self, part: Bytes) {
        let tail = &self.tail[self.tail_at..];
        if tail.len() < self.tail.capacity() / 2 {
            // Not to hold much room for little.
            if !tail.is_empty() {
                self.parts.push_back(Bytes::copy_from_slice(tail));
            }
            self.tail.clear();
            self.tail_at = 0;
        } else if !tail.is_empty() {
            let mut tail = Bytes::from(mem::take(&mut self.tail));
            tail.advance(mem::take(&mut self.tail_at));
            self.parts.push_back(tail);
        }
        self.len += part.len();
        self.parts.push_back(part);
    }

    fn reserve_tail(&mut self, len: usize) {
        if self.tail.capacity() == 0 {
            self.tail = SPARE.take();
            if self.tail.capacity() == 0 {
                self.tail.reserve_exact(len.max(MIN_TAIL));
            }
        }
    }

    fn poll_write_some(
        &self,
        cx: &mut Context<'_>,
        io: Pin<&mut dyn Io>,
    ) -> Poll<io::Result<usize>> {
        let tail = &self.tail[self.tail_at..];
        let Some(first) = self.parts.front() else {
            return io.poll_write(cx, tail);
        };
        if !self.vectored || (self.parts.len() == 1 && tail.is_empty()) {
            return io.poll_write(cx, first);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        let parts = self.parts.iter().map(|part| &part[..]);
        for (slice, part) in slices.iter_mut().zip(parts.chain([tail])) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        io.poll_write_vectored(cx, &slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        self.len = self.len.saturating_sub(written);
        if self.len == 0 {
            self.finish();
            return;
        }
        while let Some(first) = self.parts.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.parts.pop_front();
        }
        self.tail_at += written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    /// Takes a few bytes at a time.
    struct Trickle {
        taken: Vec<u8>,
        at_once: usize,
    }

    impl AsyncRead for Trickle {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Trickle {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let len = bytes.len().min(self.at_once);
            self.taken.extend_from_slice(&bytes[..len]);
            Poll::Ready(Ok(len))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all = slices.iter().flat_map(|slice| slice.iter().copied());
            let before = self.taken.len();
            let at_once = self.at_once;
            self.taken.extend(all.take(at_once));
            let len = self.taken.len() - before;
            Poll::Ready(Ok(len))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Frames of all sizes, written in between and to the end, are what they are in one piece.
    #[test]
    fn keeps_the_order_however_little_is_written() {
        let mut cx = Context::from_waker(Waker::noop());
        let sizes = [0, 125, 126, 3000, 10, 70_000, 2048, 1, 2047, 5000, 5000];
        for (vectored, at_once) in [
            (false, 7),
            (true, 7),
            (false, 100),
            (true, 100),
            (true, 5003),
            (true, usize::MAX),
        ] {
            let mut io = Trickle {
                taken: Vec::new(),
                at_once,
            };
            let mut outbound = Outbound::new(vectored);
            let mut expected = Vec::new();
            for (number, size) in (0_u8..50).zip(sizes.into_iter().cycle()) {
                let mut message = Message::binary(vec![number; size]);
                if number % 3 == 0 {
                    message = message.prepare();
                }
                let frame = encode_frame(&message);
                outbound.push_message(&message, frame.len());
                expected.extend_from_slice(&frame);
                outbound.push(b"control");
                expected.extend_from_slice(b"control");
                if number % 5 == 0 {
                    for _ in 0..number {
                        if outbound.len() == 0 {
                            break;
                        }
                        let Poll::Ready(Ok(written)) =
                            outbound.poll_write_some(&mut cx, Pin::new(&mut io))
                        else {
                            panic!("it takes something each time");
                        };
                        outbound.advance(written);
                    }
                }
                assert_eq!(outbound.len(), expected.len() - io.taken.len());
            }
            assert!(outbound.poll_write(&mut cx, &mut io).is_ready());
            assert!(io.taken == expected, "{vectored}, {at_once} at once");
            assert_eq!((outbound.len(), outbound.tail.capacity()), (0, 0));
        }
    }

    #[test]
    fn a_large_prepared_message_is_encoded_once() {
        let message = Message::text("x".repeat(SHARE_FROM)).prepare();
        let mut first = Outbound::new(false);
        let mut second = Outbound::new(false);
        first.push_message(&message, SHARE_FROM + 4);
        second.push_message(&message.clone(), SHARE_FROM + 4);
        assert_eq!(first.parts[0].as_ptr(), second.parts[0].as_ptr());
    }

    #[test]
    fn a_byte_stream_that_takes_nothing_is_broken() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut io = Trickle {
            taken: Vec::new(),
            at_once: 0,
        };
        let mut outbound = Outbound::new(false);
        outbound.push(b"x");
        let Poll::Ready(Err(error)) = outbound.poll_write(&mut cx, &mut io) else {
            panic!("written");
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
