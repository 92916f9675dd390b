use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

use crate::HelloError;

/// A source of random bytes, passed in so that the state machines stay deterministic.
///
/// Session ids and tokens are made of it: outside simulations it has to be a cryptographic
/// generator.
pub trait Entropy {
    /// Fills the slice with random bytes.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<E: Entropy + ?Sized> Entropy for &mut E {
    fn fill(&mut self, bytes: &mut [u8]) {
        (**self).fill(bytes);
    }
}

impl<E: Entropy + ?Sized> Entropy for Box<E> {
    fn fill(&mut self, bytes: &mut [u8]) {
        (**self).fill(bytes);
    }
}

/// The name of a session: 16 random bytes, base64url on the wire (`docs/protocol.md`, 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Makes a random session id.
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        Self(bytes)
    }

    /// Makes the session id of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Borrows the bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BASE64URL_NOPAD.encode_display(&self.0).fmt(f)
    }
}

/// Shows the first characters only: who knows the whole id of a session that is being opened can
/// join it, so that it does not belong into a log.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        write!(f, "SessionId({}…)", &text[..6])
    }
}

impl FromStr for SessionId {
    type Err = HelloError;

    fn from_str(text: &str) -> Result<Self, HelloError> {
        // 16 bytes are 22 characters; the decoder refuses bits that are left over.
        let mut bytes = [0; 16];
        if text.len() != 22 {
            return Err(HelloError::Malformed);
        }
        match BASE64URL_NOPAD.decode_mut(text.as_bytes(), &mut bytes) {
            Ok(16) => Ok(Self(bytes)),
            _ => Err(HelloError::Malformed),
        }
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What resumes a session: 1–128 characters of base64url (`docs/protocol.md`, 3.3 and 3.6).
///
/// Ours are 128 random bits. Two tokens are compared in constant time, and `Debug` shows nothing.
#[derive(Clone)]
pub struct Token(Box<str>);

impl Token {
    /// The longest token, in characters.
    pub const MAX_LEN: usize = 128;

    /// Makes a random token of 128 bits.
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        Self(BASE64URL_NOPAD.encode(&bytes).into_boxed_str())
    }

    /// Borrows the characters. Keep them out of logs and URLs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Token {
    /// Takes a time that depends on the lengths only.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Token {}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl FromStr for Token {
    type Err = HelloError;

    fn from_str(text: &str) -> Result<Self, HelloError> {
        let is_base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(is_base64url) {
            return Err(HelloError::Malformed);
        }
        Ok(Self(text.into()))
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
