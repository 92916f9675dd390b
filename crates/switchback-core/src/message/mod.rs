mod spare;

use std::fmt;
use std::str::Utf8Error;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use bytestring::ByteString;

use self::spare::Spare;
use crate::{Error, ErrorKind};

/// One application message: a Unicode string or a byte string of any length, empty included.
///
/// A message is immutable and cheap to clone: it is one pointer, and clones share the payload. Every
/// transport delivers it bit for bit as it was sent, and keeps text apart from binary.
///
/// A message that goes to many connections is [prepared](Message::prepare) first: it then carries
/// one slot per [wire form](WireForm), so that each form is encoded once, whatever the number of
/// receivers.
#[derive(Clone)]
pub struct Message(Arc<Inner>);

/// One pointer to all of it: queues and replay buffers hold messages by the thousand, for each of
/// many connections, and what does not fit into the caches of the processor costs more than the
/// allocation.
struct Inner {
    payload: Payload,
    /// Set once the message is prepared.
    forms: OnceLock<Box<Forms>>,
}

enum Payload {
    Text(ByteString),
    Binary(Bytes),
    /// The same, in memory that is its own and can be used again.
    TextCopy(ByteString),
    BinaryCopy(Bytes),
}

impl Payload {
    fn is_copy(&self) -> bool {
        matches!(self, Self::TextCopy(_) | Self::BinaryCopy(_))
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) | Self::TextCopy(text) => text.into_bytes(),
            Self::Binary(bytes) | Self::BinaryCopy(bytes) => bytes,
        }
    }
}

/// The encodings that clones share, by [`WireForm`].
type Forms = [OnceLock<Bytes>; FORMS];

/// Whether a [`Message`] is text or binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// A Unicode string, UTF-8 on the wire.
    Text,
    /// A byte string.
    Binary,
}

/// A form in which a message travels, and in which its encoding can be shared by many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WireForm {
    /// An unmasked, unfragmented, uncompressed WebSocket frame (RFC 6455, 5.2).
    WebSocketFrame,
    /// An event of an event stream (WHATWG HTML, 9.2.5).
    SseEvent,
    /// A record of a batch, as long-polls and POSTs carry it (`docs/protocol.md`, "Batches").
    BatchRecord,
}

impl WireForm {
    /// Where it is among all [`FORMS`].
    pub(crate) fn index(self) -> usize {
        match self {
            Self::WebSocketFrame => 0,
            Self::SseEvent => 1,
            Self::BatchRecord => 2,
        }
    }
}

/// How many wire forms there are.
pub(crate) const FORMS: usize = 3;

impl Message {
    /// Makes a text message.
    pub fn text(text: impl Into<String>) -> Self {
        Self::from_payload(Payload::Text(ByteString::from(text.into())))
    }

    /// Makes a text message of a string that lives as long as the program, without copying it.
    pub fn from_static(text: &'static str) -> Self {
        Self::from_payload(Payload::Text(ByteString::from_static(text)))
    }

    /// Makes a text message of bytes, without copying them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidUtf8`] when the bytes are not UTF-8.
    pub fn text_from_bytes(bytes: Bytes) -> Result<Self, Error> {
        match ByteString::try_from(bytes) {
            Ok(text) => Ok(Self::from_payload(Payload::Text(text))),
            Err(error) => Err(invalid_utf8(error)),
        }
    }

    /// Makes a binary message. `Bytes` and `Vec<u8>` are taken over without a copy.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::from_payload(Payload::Binary(bytes.into()))
    }

    /// Makes a message of either kind.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidUtf8`] when `kind` is text and the bytes are not UTF-8.
    pub fn from_bytes(kind: MessageKind, bytes: Bytes) -> Result<Self, Error> {
        match kind {
            MessageKind::Text => Self::text_from_bytes(bytes),
            MessageKind::Binary => Ok(Self::binary(bytes)),
        }
    }

    /// Makes a message of either kind, without copying the bytes.
    ///
    /// # Errors
    ///
    /// As [`from_bytes`](Self::from_bytes).
    pub fn from_vec(kind: MessageKind, bytes: Vec<u8>) -> Result<Self, Error> {
        Ok(Self::from_payload(match kind {
            MessageKind::Text => Payload::Text(text(bytes)?),
            MessageKind::Binary => Payload::Binary(bytes.into()),
        }))
    }

    /// Makes a message of a copy of bytes. Up to 512 of them go to the memory of a message that was
    /// [recycled](Self::recycle) on this thread, if there is one.
    ///
    /// # Errors
    ///
    /// As [`from_bytes`](Self::from_bytes).
    pub fn from_copy(kind: MessageKind, bytes: &[u8]) -> Result<Self, Error> {
        Self::from_copy_with(kind, bytes, |_| {})
    }

    /// Makes a message of a copy of bytes, as [`from_copy`](Self::from_copy) does, that `change` changes
    /// first: unmasks, say. Text is checked afterwards.
    ///
    /// # Errors
    ///
    /// As [`from_bytes`](Self::from_bytes).
    #[inline]
    pub fn from_copy_with(
        kind: MessageKind,
        bytes: &[u8],
        change: impl FnOnce(&mut [u8]),
    ) -> Result<Self, Error> {
        if bytes.len() > spare::MAX_LEN {
            let mut copy = bytes.to_vec();
            change(&mut copy);
            return Self::from_vec(kind, copy);
        }
        let (spare, mut copy) = Spare::take(bytes.len());
        copy.extend_from_slice(bytes);
        change(&mut copy);
        let payload = match kind {
            MessageKind::Text => Payload::TextCopy(text(copy)?),
            MessageKind::Binary => Payload::BinaryCopy(copy.into()),
        };
        Ok(spare.fill(payload))
    }

    /// Tells text from binary.
    pub fn kind(&self) -> MessageKind {
        match &self.0.payload {
            Payload::Text(_) | Payload::TextCopy(_) => MessageKind::Text,
            Payload::Binary(_) | Payload::BinaryCopy(_) => MessageKind::Binary,
        }
    }

    /// Tells whether this is a text message.
    pub fn is_text(&self) -> bool {
        self.kind() == MessageKind::Text
    }

    /// Tells whether this is a binary message.
    pub fn is_binary(&self) -> bool {
        self.kind() == MessageKind::Binary
    }

    /// Borrows the text; `None` for a binary message.
    pub fn as_text(&self) -> Option<&str> {
        match &self.0.payload {
            Payload::Text(text) | Payload::TextCopy(text) => Some(text),
            Payload::Binary(_) | Payload::BinaryCopy(_) => None,
        }
    }

    /// Borrows the payload: the bytes of a binary message, the UTF-8 of a text message.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes()
    }

    /// Borrows the shared payload, so that it can be cloned without a copy.
    pub fn bytes(&self) -> &Bytes {
        match &self.0.payload {
            Payload::Text(text) | Payload::TextCopy(text) => text.as_bytes(),
            Payload::Binary(bytes) | Payload::BinaryCopy(bytes) => bytes,
        }
    }

    /// Takes the payload out.
    pub fn into_bytes(self) -> Bytes {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => inner.payload.into_bytes(),
            Err(shared) => Self(shared).bytes().clone(),
        }
    }

    /// Takes the text out.
    ///
    /// # Errors
    ///
    /// Gives the message back when it is binary.
    pub fn into_text(self) -> Result<String, Self> {
        match self.as_text() {
            Some(text) => Ok(text.to_owned()),
            None => Err(self),
        }
    }

    /// Returns the length of the payload in bytes.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Tells whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Makes this message share its encodings: what one clone encodes, all clones send.
    ///
    /// Holds for all clones, those made before too. Costs one allocation. Worth it from the second
    /// receiver on.
    #[must_use]
    pub fn prepare(self) -> Self {
        self.0.forms.get_or_init(Default::default);
        self
    }

    /// Tells whether this message shares its encodings.
    pub fn is_prepared(&self) -> bool {
        self.0.forms.get().is_some()
    }

    /// Returns this message in a wire form: from its slot if it is prepared and any clone was
    /// encoded before, else by calling `encode`.
    ///
    /// For transports. All callers of one `form` must encode alike.
    pub fn encoded(&self, form: WireForm, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        match self.0.forms.get() {
            Some(forms) => {
                let slot = &forms[form.index()];
                slot.get_or_init(|| encode(self)).clone()
            }
            None => encode(self),
        }
    }

    /// Drops this message; its memory may serve one that this thread [copies](Self::from_copy) next.
    ///
    /// For who is done with a message that came from a transport. That saves an allocation, or two where
    /// the next message is as long, if it was copied there and is small, has no clone, and is not
    /// prepared. A thread keeps up to eight of them, of up to 512 bytes each, and until then what is in
    /// them. Whoever has such a payload by [`bytes`](Self::bytes) shares it for as long.
    #[inline]
    pub fn recycle(self) {
        spare::keep(self.0);
    }

    fn from_payload(payload: Payload) -> Self {
        Self(Arc::new(Inner {
            payload,
            forms: OnceLock::new(),
        }))
    }
}

/// Looks at every byte once, where `ByteString` alone looks for other than ASCII first.
#[inline]
fn text(bytes: Vec<u8>) -> Result<ByteString, Error> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => Err(invalid_utf8(error.utf8_error())),
    }
}

#[cold]
fn invalid_utf8(error: Utf8Error) -> Error {
    Error::new(ErrorKind::InvalidUtf8).with_source(error)
}

/// Shows kind and length. The payload is never printed, so that it cannot end in a log.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message::{:?}({} bytes)", self.kind(), self.len())
    }
}

/// Messages are equal when their kinds and payloads are.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.bytes() == other.bytes()
    }
}

impl Eq for Message {}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::binary(bytes)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::binary(Bytes::copy_from_slice(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_text_apart_from_binary() {
        let text = Message::text("a");
        let binary = Message::binary(&b"a"[..]);
        assert_ne!(text, binary);
        assert_eq!(text.as_bytes(), binary.as_bytes());
        assert_eq!(binary.as_text(), None);
        assert_eq!(binary.clone().into_text(), Err(binary));
    }

    #[test]
    fn refuses_text_that_is_not_utf8() {
        let error = Message::text_from_bytes(Bytes::from_static(b"\xff")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUtf8);
    }

    #[test]
    fn a_prepared_message_is_encoded_once_per_form() {
        let message = Message::text("x").prepare();
        let copy = message.clone();
        let first = message.encoded(WireForm::SseEvent, |_| Bytes::from_static(b"first"));
        let second = copy.encoded(WireForm::SseEvent, |_| panic!("encoded twice"));
        assert_eq!(first, second);
        let other = copy.encoded(WireForm::BatchRecord, |_| Bytes::from_static(b"other"));
        assert_eq!(other, "other");
    }

    /// Queues and replay buffers hold messages by the thousand.
    #[test]
    fn is_small() {
        assert_eq!(size_of::<Message>(), size_of::<usize>());
    }

    #[test]
    fn debug_does_not_print_the_payload() {
        assert_eq!(
            format!("{:?}", Message::text("secret")),
            "Message::Text(6 bytes)"
        );
    }
}
