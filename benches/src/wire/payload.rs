//! What is sent, and the check that it comes back unchanged, once, and in order.

use super::Fault;

/// A payload begins with a number, a time and the number of its client, in hexadecimal.
const HEAD: usize = 16 + 16 + 8;
pub(crate) const MIN_SIZE: usize = HEAD;

/// The client number of messages that only find out who is there.
pub(crate) const PROBE: u32 = u32::MAX;

/// Makes and checks payloads of one size.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    bytes: Vec<u8>,
}

/// What a payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) client: u32,
    pub(crate) number: u64,
    /// Nanoseconds since the beginning of the run.
    pub(crate) nanos: u64,
}

impl Payload {
    /// `size` is at least [`MIN_SIZE`].
    pub(crate) fn new(size: usize) -> Self {
        // Neighbours differ, so that a shift is noticed; letters, which nothing escapes.
        let bytes = (0..size.max(MIN_SIZE)).map(|at| b'a' + (at * 7 % 26) as u8);
        Self {
            bytes: bytes.collect(),
        }
    }

    pub(crate) fn write(&mut self, stamp: Stamp) -> &[u8] {
        put_hex(&mut self.bytes[..16], stamp.number);
        put_hex(&mut self.bytes[16..32], stamp.nanos);
        put_hex(&mut self.bytes[32..HEAD], u64::from(stamp.client));
        &self.bytes
    }

    /// Reads a payload and compares what is behind the head.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<Stamp, Fault> {
        let stamp = (bytes.len() == self.bytes.len() && bytes[HEAD..] == self.bytes[HEAD..])
            .then(|| {
                Some(Stamp {
                    number: hex(&bytes[..16])?,
                    nanos: hex(&bytes[16..32])?,
                    client: u32::try_from(hex(&bytes[32..HEAD])?).ok()?,
                })
            })
            .flatten();
        stamp.ok_or_else(|| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
            Fault::Wrong(format!("{} bytes, {shown:?}", bytes.len()))
        })
    }
}

impl Stamp {
    /// Checks the order: this must be the next.
    pub(crate) fn follows(&self, client: u32, expected: u64) -> Result<(), Fault> {
        let what = || {
            format!(
                "client {client} expected number {expected} and got {} of client {}",
                self.number, self.client
            )
        };
        if self.client != client {
            return Err(Fault::Wrong(what()));
        }
        match self.number {
            number if number < expected => Err(Fault::Doubled(what())),
            number if number > expected => Err(Fault::Lost(what())),
            _ => Ok(()),
        }
    }
}

fn put_hex(space: &mut [u8], number: u64) {
    let mut rest = number;
    for byte in space.iter_mut().rev() {
        *byte = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
}

fn hex(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0_u64, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        client: 3,
        number: 0x1234_5678_9abc_def0,
        nanos: u64::MAX,
    };

    #[test]
    fn reads_what_it_writes() {
        for size in [MIN_SIZE, 125, 70_000] {
            let mut payload = Payload::new(size);
            let bytes = payload.write(STAMP).to_vec();
            assert_eq!(bytes.len(), size);
            assert_eq!(Payload::new(size).read(&bytes), Ok(STAMP));
        }
    }

    #[test]
    fn any_changed_byte_behind_the_head_is_noticed() {
        let mut payload = Payload::new(125);
        let bytes = payload.write(STAMP).to_vec();
        for at in HEAD..125 {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(matches!(payload.read(&changed), Err(Fault::Wrong(_))));
        }
        assert!(matches!(payload.read(&bytes[..124]), Err(Fault::Wrong(_))));
        assert!(matches!(payload.read(b""), Err(Fault::Wrong(_))));
    }

    #[test]
    fn order_is_checked() {
        let follows = |client, expected| STAMP.follows(client, expected);
        assert_eq!(follows(3, STAMP.number), Ok(()));
        assert!(matches!(
            follows(3, STAMP.number + 1),
            Err(Fault::Doubled(_))
        ));
        assert!(matches!(follows(3, STAMP.number - 1), Err(Fault::Lost(_))));
        assert!(matches!(follows(2, STAMP.number), Err(Fault::Wrong(_))));
    }
}
