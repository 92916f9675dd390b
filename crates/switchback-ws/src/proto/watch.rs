//! Follows the frames in a stream of bytes, without touching them (RFC 6455, 5.2).

use crate::proto::header::Header;

/// RFC 6455, 5.5: the longest payload of a control frame.
pub(crate) const MAX_CONTROL_PAYLOAD: usize = 125;
const CLOSE: u8 = 0x8;

/// Looks over the shoulder of the engine at what it reads, for what that does not tell: where frames
/// and messages end, how large frames were, and what a close frame really said.
#[derive(Debug, Default)]
pub(crate) struct FrameWatch {
    /// The header that is being read, as far as it came.
    header: [u8; Header::MAX_LEN],
    header_len: usize,
    /// How much of the payload is still to come.
    payload_left: u64,
    /// Where in the payload the next byte is; for control frames only.
    payload_at: usize,
    mask: [u8; 4],
    in_close: bool,
    in_message: bool,
    largest: u64,
    close: Option<Vec<u8>>,
}

impl FrameWatch {
    /// Takes bytes up to the end of the frame, if that is among them. Returns how many.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.payload_left == 0 {
            let Some(byte) = bytes.get(taken) else {
                return taken;
            };
            self.header[self.header_len] = *byte;
            self.header_len += 1;
            taken += 1;
            if let Some((header, _)) = Header::parse(&self.header[..self.header_len]) {
                self.begin_payload(header);
                break;
            }
        }
        taken + self.feed_payload(&bytes[taken..])
    }

    /// Tells whether all that was fed is whole messages.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.header_len == 0 && self.payload_left == 0 && !self.in_message
    }

    /// Takes the size of the largest frame since the last time, in bytes of payload.
    pub(crate) fn take_largest(&mut self) -> u64 {
        std::mem::take(&mut self.largest)
    }

    /// Returns the payload of the first close frame.
    pub(crate) fn close(&self) -> Option<&[u8]> {
        self.close.as_deref()
    }

    fn begin_payload(&mut self, header: Header) {
        let opcode = header.opcode();
        if opcode < CLOSE {
            self.in_message = !header.is_final();
        }
        self.in_close = opcode == CLOSE && self.close.is_none();
        if self.in_close {
            self.close = Some(Vec::new());
        }
        self.largest = self.largest.max(header.payload_len);
        self.mask = header.mask.unwrap_or_default();
        self.payload_left = header.payload_len;
        self.payload_at = 0;
        self.header_len = 0;
    }

    fn feed_payload(&mut self, bytes: &[u8]) -> usize {
        let left = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
        let taken = bytes.len().min(left);
        if let Some(close) = self.close.as_mut().filter(|_| self.in_close) {
            for byte in &bytes[..taken] {
                // A longer one breaks the protocol, which the engine tells.
                if self.payload_at < MAX_CONTROL_PAYLOAD {
                    close.push(byte ^ self.mask[self.payload_at % 4]);
                }
                self.payload_at += 1;
            }
        }
        self.payload_left -= taken as u64;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message in three fragments with a masked ping between, one of 300 bytes, one of 65,536,
    /// and a masked close.
    fn stream() -> Vec<u8> {
        let mut bytes = vec![0x01, 1, b'a', 0x00, 0, 0x89, 0x82, 1, 2, 3, 4, 5, 6];
        bytes.extend([0x80, 1, b'b']);
        bytes.extend([0x82, 126, 1, 44]);
        bytes.extend([0; 300]);
        bytes.extend([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        bytes.extend([0x88; 65_536]);
        bytes.extend([0x88, 0x86, 1, 2, 3, 4]);
        bytes.extend([0x03 ^ 1, 0xf6 ^ 2, b'w' ^ 3, b'h' ^ 4, b'y' ^ 1, b'?' ^ 2]);
        bytes
    }

    fn feed_all(watch: &mut FrameWatch, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[watch.feed(bytes)..];
        }
    }

    #[test]
    fn stops_at_the_end_of_each_frame() {
        let stream = stream();
        let mut watch = FrameWatch::default();
        let (mut at, mut lengths) = (0, Vec::new());
        while at < stream.len() {
            lengths.push(watch.feed(&stream[at..]));
            at += lengths[lengths.len() - 1];
        }
        assert_eq!(lengths, [3, 2, 8, 3, 304, 65_546, 12]);
    }

    #[test]
    fn sees_the_same_in_any_chunking() {
        let stream = stream();
        for size in [1, 2, 3, 5, 7, 64, 4096, stream.len()] {
            let mut watch = FrameWatch::default();
            for chunk in stream.chunks(size) {
                feed_all(&mut watch, chunk);
            }
            assert!(watch.is_between_messages(), "in chunks of {size}");
            assert_eq!(watch.take_largest(), 65_536);
            assert_eq!(watch.close(), Some(&b"\x03\xf6why?"[..]));
        }
    }

    #[test]
    fn knows_where_messages_end() {
        let stream = stream();
        let ends = [16, 16 + 4 + 300, 16 + 4 + 300 + 10 + 65_536, stream.len()];
        let mut watch = FrameWatch::default();
        for (index, byte) in stream.iter().enumerate() {
            feed_all(&mut watch, &[*byte]);
            assert_eq!(
                watch.is_between_messages(),
                ends.contains(&(index + 1)),
                "after {} bytes",
                index + 1
            );
        }
    }

    #[test]
    fn a_close_may_be_empty_and_is_never_long() {
        let mut watch = FrameWatch::default();
        feed_all(&mut watch, &[0x88, 0, 0x88, 1, 7]);
        assert_eq!(watch.close(), Some(&[][..]), "the first one counts");

        let mut watch = FrameWatch::default();
        feed_all(
            &mut watch,
            &[0x88, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        );
        feed_all(&mut watch, &[0; 1000]);
        assert_eq!(watch.close().map(<[u8]>::len), Some(MAX_CONTROL_PAYLOAD));
    }
}
