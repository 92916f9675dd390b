//! Frame headers and masks (RFC 6455, 5.2 and 5.3).

use bytes::Bytes;
use switchback_core::{Message, MessageKind};

/// The first byte of a frame that is a whole message.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    first: u8,
    pub(crate) payload_len: u64,
    pub(crate) mask: Option<[u8; 4]>,
}

impl Header {
    /// The length of the longest header.
    pub(crate) const MAX_LEN: usize = 14;

    /// Returns the header that the bytes begin with, and its length. `None`: it is incomplete.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], mut rest) = bytes.split_first_chunk()?;
        let payload_len = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(take(&mut rest)?)),
            127 => u64::from_be_bytes(take(&mut rest)?),
            short => u64::from(short),
        };
        let mask = match second & 0x80 {
            0 => None,
            _ => Some(take(&mut rest)?),
        };
        let header = Self {
            first,
            payload_len,
            mask,
        };
        Some((header, bytes.len() - rest.len()))
    }

    pub(crate) fn is_final(&self) -> bool {
        self.first & 0x80 != 0
    }

    pub(crate) fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// Returns of which kind the message is that this frame is all of. `None` for everything else:
    /// fragments, control frames, reserved bits.
    pub(crate) fn whole_message(&self) -> Option<MessageKind> {
        match self.first {
            TEXT => Some(MessageKind::Text),
            BINARY => Some(MessageKind::Binary),
            _ => None,
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// Returns a message as a frame without a mask: what a server sends.
pub(crate) fn encode_frame(message: &Message) -> Bytes {
    let mut frame = Vec::with_capacity(frame_len(message.len(), false));
    push_frame(message, &mut frame);
    frame.into()
}

/// Appends a message as a frame without a mask.
pub(crate) fn push_frame(message: &Message, frames: &mut Vec<u8>) {
    push_header(frames, message);
    frames.extend_from_slice(message.as_bytes());
}

/// Appends the header of the frame that a message is, without a mask.
#[allow(
    clippy::cast_possible_truncation,
    reason = "each length is written where it fits"
)]
pub(crate) fn push_header(frame: &mut Vec<u8>, message: &Message) {
    let first = match message.kind() {
        MessageKind::Text => TEXT,
        MessageKind::Binary => BINARY,
    };
    match message.len() {
        len @ 0..126 => frame.extend([first, len as u8]),
        len @ 126..65_536 => {
            frame.extend([first, 126]);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.extend([first, 127]);
            frame.extend((len as u64).to_be_bytes());
        }
    }
}

/// How many bytes a frame has on the wire.
pub(crate) fn frame_len(payload: usize, masked: bool) -> usize {
    let length = match payload {
        0..126 => 0,
        126..65_536 => 2,
        _ => 8,
    };
    let mask = if masked { 4 } else { 0 };
    2 + length + mask + payload
}

/// Masks or unmasks a whole payload.
pub(crate) fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    // Eight bytes at a time, which the compiler makes more.
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_length_and_not_before_it_is_there() {
        let long = [&[0x82, 127][..], &0x1_0002_u64.to_be_bytes()].concat();
        let masked = [&[0x81, 0xfe, 1, 2][..], &[9, 8, 7, 6]].concat();
        let longest = [&[0x02, 0xff][..], &[0xff; 8], &[1, 2, 3, 4]].concat();
        for (bytes, payload_len, mask, kind) in [
            (&[0x81, 5][..], 5, None, Some(MessageKind::Text)),
            (&[0x82, 125], 125, None, Some(MessageKind::Binary)),
            (&[0x82, 126, 1, 2], 258, None, Some(MessageKind::Binary)),
            (&long, 0x1_0002, None, Some(MessageKind::Binary)),
            (&masked, 258, Some([9, 8, 7, 6]), Some(MessageKind::Text)),
            (&longest, u64::MAX, Some([1, 2, 3, 4]), None),
            (&[0x89, 0], 0, None, None),
            (&[0xc1, 0], 0, None, None),
            (&[0x80, 0], 0, None, None),
        ] {
            for len in 0..bytes.len() {
                assert_eq!(Header::parse(&bytes[..len]), None);
            }
            let with_payload = [bytes, b"payload"].concat();
            let (header, len) = Header::parse(&with_payload).unwrap();
            assert_eq!(len, bytes.len());
            assert!(len <= Header::MAX_LEN);
            assert_eq!((header.payload_len, header.mask), (payload_len, mask));
            assert_eq!(header.whole_message(), kind);
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            for message in [
                Message::text("x".repeat(len)),
                Message::binary(vec![b'x'; len]),
            ] {
                let frame = encode_frame(&message);
                let (header, header_len) = Header::parse(&frame).unwrap();
                assert_eq!(header.payload_len, len as u64);
                assert_eq!(header.whole_message(), Some(message.kind()));
                assert_eq!(header.mask, None);
                assert_eq!(&frame[header_len..], message.as_bytes());
                assert_eq!(frame.len(), frame_len(len, false));
                assert_eq!(frame.len() + 4, frame_len(len, true));
            }
        }
    }

    #[test]
    fn masks_every_length() {
        let mask = [1, 20, 200, 255];
        for len in 0..100 {
            let plain: Vec<u8> = (0..len).collect();
            let mut masked = plain.clone();
            apply_mask(&mut masked, mask);
            for (index, byte) in masked.iter().enumerate() {
                assert_eq!(*byte, plain[index] ^ mask[index % 4]);
            }
            apply_mask(&mut masked, mask);
            assert_eq!(masked, plain);
        }
    }
}
