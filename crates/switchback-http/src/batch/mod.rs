//! Batches: messages one after the other in one body (`docs/protocol.md`, 2.6).

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use switchback_core::{Error, ErrorKind, Limits, Message, MessageKind, WireForm};

/// The media type of a batch.
pub const CONTENT_TYPE: &str = "application/x-switchback-batch";

/// A length has at most ten digits, so that it can be refused before it is read to the end.
const MAX_DIGITS: usize = 10;

/// Type, ten digits and the colon.
const MAX_FRAMING: usize = 1 + MAX_DIGITS + 1;

/// Encodes one message as a record, once for all its clones if it is
/// [prepared](Message::prepare).
pub fn record(message: &Message) -> Bytes {
    message.encoded(WireForm::BatchRecord, encode)
}

fn encode(message: &Message) -> Bytes {
    let payload = message.as_bytes();
    let mut record = BytesMut::with_capacity(MAX_FRAMING + payload.len());
    record.put_u8(match message.kind() {
        MessageKind::Text => b't',
        MessageKind::Binary => b'b',
    });
    // Writing into a growing buffer cannot fail.
    let _ = write!(record, "{}:", payload.len());
    record.put_slice(payload);
    record.freeze()
}

/// Says how many of these records go into the next batch, and how long that batch is: as many as
/// the limits allow, but the first in any case.
pub fn fit<'a>(records: impl IntoIterator<Item = &'a Bytes>, limits: &Limits) -> (usize, usize) {
    let (mut count, mut len) = (0, 0_usize);
    for record in records.into_iter().take(limits.batch_messages()) {
        if count > 0 && len.saturating_add(record.len()) > limits.batch_bytes() {
            break;
        }
        count += 1;
        len += record.len();
    }
    (count, len)
}

/// Returns the longest body that [`decode`] can accept under these limits, in bytes.
pub fn max_body(limits: &Limits) -> usize {
    let framing = limits.batch_messages().saturating_mul(MAX_FRAMING);
    limits
        .batch_bytes()
        .max(limits.message_size())
        .saturating_add(framing)
}

/// Decodes a batch. The payloads are slices of the body, except where a small payload would keep
/// a large body in memory: those are copied.
///
/// # Errors
///
/// [`ErrorKind::Protocol`] when the body is not a batch, [`ErrorKind::InvalidUtf8`] when a text is
/// not UTF-8, [`ErrorKind::TooLarge`] when a message is larger or the messages are more than the
/// limits allow.
pub fn decode(body: &Bytes, limits: &Limits) -> Result<Vec<Message>, Error> {
    let mut messages = Vec::new();
    let mut rest = body.clone();
    while !rest.is_empty() {
        if messages.len() == limits.batch_messages() {
            return Err(Error::with_message(
                ErrorKind::TooLarge,
                format!("a batch has more than {} messages", limits.batch_messages()),
            ));
        }
        let (kind, length, payload_at) = head(&rest)?;
        let Some(length) = usize::try_from(length)
            .ok()
            .filter(|&length| length <= limits.message_size())
        else {
            return Err(Error::with_message(
                ErrorKind::TooLarge,
                format!(
                    "a message of {length} bytes is larger than the limit of {} bytes",
                    limits.message_size()
                ),
            ));
        };
        let _ = rest.split_to(payload_at);
        if rest.len() < length {
            return Err(malformed("a record is cut"));
        }
        let payload = rest.split_to(length);
        messages.push(if payload.len() < COPY_BELOW.max(body.len() / 4) {
            Message::from_copy(kind, &payload)?
        } else {
            Message::from_bytes(kind, payload)?
        });
    }
    Ok(messages)
}

/// Smaller payloads are copied: a slice keeps all of the buffer alive that the body was read into.
const COPY_BELOW: usize = 2048;

/// Reads what comes before the payload: the kind, the length, and where the payload begins.
fn head(record: &[u8]) -> Result<(MessageKind, u64, usize), Error> {
    let kind = match record.first() {
        Some(b't') => MessageKind::Text,
        Some(b'b') => MessageKind::Binary,
        _ => return Err(malformed("a record has an unknown type")),
    };
    let mut length = 0_u64;
    for (at, &byte) in record.iter().enumerate().skip(1).take(MAX_DIGITS + 1) {
        match byte {
            b':' if at > 1 => return Ok((kind, length, at + 1)),
            // A number has no leading zeros.
            b'0'..=b'9' if at <= MAX_DIGITS && (at == 1 || record[1] != b'0') => {
                length = length * 10 + u64::from(byte - b'0');
            }
            _ => return Err(malformed("a record has a malformed length")),
        }
    }
    Err(malformed("a record is cut"))
}

fn malformed(what: &str) -> Error {
    Error::with_message(ErrorKind::Protocol, format!("malformed batch: {what}"))
}

#[cfg(test)]
mod tests;
