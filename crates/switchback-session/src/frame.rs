//! The frames of an attachment (`docs/protocol.md`, 3.1): control frames, escaped messages, and
//! messages as they are.

mod control;
mod error;

use switchback_core::Message;

pub(crate) use control::parse_number;
pub use control::{Close, Control, Ended, Opened, Why};
pub use error::ProtocolError;

/// The largest control frame, in bytes (`docs/protocol.md`, 3.1).
pub(crate) const MAX_CONTROL: usize = 4096;

/// The largest number on the wire.
pub(crate) const MAX_NUMBER: u64 = (1 << 53) - 1;

/// What begins every control frame, and every application text that begins with itself.
const ESCAPE: u8 = 0x01;

/// What one message of an attachment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message of the application, without the escape.
    Message(Message),
    /// A control frame.
    Control(Control),
    /// A control frame with a word that this version does not know: to be ignored.
    Unknown,
}

impl Frame {
    /// Tells what a message of an attachment is. A message that is not escaped is moved, not
    /// copied.
    ///
    /// # Errors
    ///
    /// A text begins with U+0001 and is neither a control frame nor escaped, or a known control
    /// frame is malformed or larger than 4 KiB.
    #[inline]
    pub fn decode(message: Message) -> Result<Self, ProtocolError> {
        if begins_with_escape(&message) {
            return Self::decode_escaped(message);
        }
        Ok(Self::Message(message))
    }

    #[cold]
    fn decode_escaped(message: Message) -> Result<Self, ProtocolError> {
        match message.as_bytes().get(1) {
            Some(&ESCAPE) => Ok(Self::Message(unescape(message))),
            Some(b'a'..=b'z') => {
                if message.len() > MAX_CONTROL {
                    return Err(ProtocolError::ControlTooLarge);
                }
                // It was found to be text above.
                let text = message.as_text().unwrap_or_default();
                Ok(Control::parse(&text[1..])?.map_or(Self::Unknown, Self::Control))
            }
            _ => Err(ProtocolError::BadEscape),
        }
    }
}

/// Makes a message of the application fit for an attachment: puts U+0001 before a text that begins
/// with it, and leaves every other message as it is, its prepared encodings included.
#[inline]
pub fn escape(message: Message) -> Message {
    if begins_with_escape(&message) {
        return add_escape(&message);
    }
    message
}

#[cold]
fn add_escape(message: &Message) -> Message {
    let text = message.as_text().unwrap_or_default();
    Message::text(format!("\u{1}{text}"))
}

/// Takes back what [`escape`] did.
pub(crate) fn unescape(message: Message) -> Message {
    if !begins_with_escape(&message) {
        return message;
    }
    let rest = message.bytes().slice(1..);
    // What follows an ASCII character in UTF-8 is UTF-8.
    Message::text_from_bytes(rest).unwrap_or(message)
}

/// Tells whether a message is more than what the application sent.
#[inline]
pub(crate) fn begins_with_escape(message: &Message) -> bool {
    message.is_text() && message.as_bytes().first() == Some(&ESCAPE)
}

#[cfg(test)]
mod tests;
