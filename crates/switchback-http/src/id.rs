use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use subtle::ConstantTimeEq;
use switchback_core::{Error, ErrorKind};

/// The id of an SSE or long-poll connection: 128 random bits, 22 characters of base64url.
///
/// Whoever knows it can send in the connection's name, so `Debug` shows only its beginning and
/// comparisons take the same time whatever is compared.
#[derive(Clone, Copy)]
pub struct ConnectionId([u8; 16]);

/// What 128 bits take in base64url without padding.
const TEXT_LEN: usize = 22;

impl ConnectionId {
    /// Makes a new id.
    ///
    /// # Panics
    ///
    /// When the operating system has no random numbers. Nothing that is secret can be made then.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system has random numbers");
        Self(bytes)
    }

    /// Says which of `count` shards this id belongs to.
    pub(crate) fn shard(&self, count: usize) -> usize {
        usize::from(self.0[0]) % count
    }

    fn text(&self) -> [u8; TEXT_LEN] {
        let mut text = [0; TEXT_LEN];
        BASE64URL_NOPAD.encode_mut(&self.0, &mut text);
        text
    }
}

impl FromStr for ConnectionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::with_message(ErrorKind::Invalid, "this is not a connection id");
        // Checked first: the decoder wants an output of exactly the right length.
        if text.len() != TEXT_LEN {
            return Err(malformed());
        }
        let mut bytes = [0; 16];
        match BASE64URL_NOPAD.decode_mut(text.as_bytes(), &mut bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(malformed()),
        }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        write!(
            f,
            "ConnectionId({}…)",
            std::str::from_utf8(&text[..4]).unwrap_or_default()
        )
    }
}

impl PartialEq for ConnectionId {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for ConnectionId {}

impl Hash for ConnectionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let id = ConnectionId::random();
        let text = id.to_string();
        assert_eq!(text.len(), TEXT_LEN);
        assert_eq!(text.parse::<ConnectionId>().unwrap(), id);
        assert_ne!(ConnectionId::random(), id);
    }

    #[test]
    fn refuses_everything_else() {
        let good = ConnectionId([0xff; 16]).to_string();
        assert_eq!(good, "_____________________w");
        for text in [
            "",
            "A",
            // Bits behind the 128 that are not zero: a second name for the same id.
            "_____________________x",
            "//////////////////////",
            "_____________________w==",
            "____________________ w",
            "éééééééééééé",
        ] {
            assert!(text.parse::<ConnectionId>().is_err(), "{text}");
        }
    }

    #[test]
    fn debug_does_not_print_it_all() {
        let id = ConnectionId::random();
        let shown = format!("{id:?}");
        assert!(!shown.contains(&id.to_string()), "{shown}");
    }
}
