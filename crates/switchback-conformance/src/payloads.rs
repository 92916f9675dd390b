use std::fmt::Write;

use bytes::Bytes;
use switchback_core::{Message, MessageKind};

/// Texts that some wire format has a meaning for, or that some decoder changes.
const TEXTS: &[&str] = &[
    "",
    "a",
    " ",
    " leading space",
    "  two leading spaces",
    "trailing space ",
    "\t\ttabs\t",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\r\r",
    "\n\r",
    "\nleading line feed",
    "trailing line feed\n",
    "two trailing line feeds\n\n",
    "\rleading carriage return",
    "trailing carriage return\r",
    "\r\nleading both",
    "trailing both\r\n",
    "a\nb\n\nc",
    "a\rb\r\rc",
    "a\r\nb\r\n\r\nc",
    "a\n b\n  c\n",
    "\0",
    "nul\0inside",
    "nul at the end\0",
    "\u{feff}",
    "\u{feff}byte order mark",
    "\u{feff}\u{feff}two of them",
    "inside \u{feff} too",
    "\u{fffe}\u{ffff}",
    "\u{fffd}",
    "\u{1}",
    "\u{1}\u{1}",
    "\u{1}ping",
    "\u{1}\u{1}ping",
    "\u{1}close {\"code\":1000,\"reason\":\"\",\"sent\":0}",
    "\u{1}Z",
    "\u{7f}\u{80}\u{9f}\u{ad}",
    "\u{2028}line\u{2029}separators\u{85}\u{b}\u{c}",
    "\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}",
    "é e\u{301} not normalised",
    "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466} astral",
    "\u{202e}right to left\u{202c}",
    "data: x",
    "data:x\n\n",
    ":comment",
    "event: switchback\ndata: {\"close\":{\"code\":1000,\"reason\":\"\"}}",
    "id: 1",
    "id: 1\0",
    "retry: 1",
    "data",
    "t5:hello",
    "b3:abc",
    "t0:",
    "0",
    "null",
    "{\"close\":{\"code\":1000,\"reason\":\"\"}}",
    "\"quoted\\\"",
    "aGVsbG8=",
    "%00%0d%0a&a=b+c",
    "GET / HTTP/1.1\r\n\r\n",
    "0\r\n\r\n",
];

/// Every payload that a transport might change, as text where it is text, and as binary.
pub(crate) fn exact() -> Vec<Message> {
    let mut messages = Vec::new();
    for text in TEXTS {
        messages.push(Message::text(*text));
        messages.push(Message::binary(text.as_bytes()));
    }
    // Every byte alone: as binary, and those that are characters as text.
    for byte in 0..=u8::MAX {
        messages.push(Message::binary(vec![byte]));
        if byte.is_ascii() {
            messages.push(Message::text(char::from(byte)));
        }
    }
    let all: Vec<u8> = (0..=u8::MAX).collect();
    messages.push(Message::binary(
        all.iter().rev().copied().collect::<Vec<_>>(),
    ));
    messages.push(Message::binary(all));
    // The base64 of each length modulo 3 ends differently, and 125, 126, 65,535 and 65,536 are
    // where the length of a WebSocket frame changes its form (RFC 6455, 5.2).
    for length in [1, 2, 3, 4, 124, 125, 126, 127, 128, 65_535, 65_536, 65_537] {
        messages.push(Message::binary(noise(length)));
        messages.push(Message::text(prose(length)));
    }
    messages
}

/// Messages of 64 KiB and 1 MiB.
pub(crate) fn large() -> Vec<Message> {
    [64 * 1024, 1024 * 1024]
        .into_iter()
        .flat_map(|length| {
            [
                Message::binary(noise(length)),
                Message::text(prose(length)),
                // Line ends are where an event stream has to work hardest.
                Message::text("\n".repeat(length)),
                Message::text("\r\n".repeat(length / 2)),
            ]
        })
        .collect()
}

/// A number of small messages of mixed kinds, no two alike.
pub(crate) fn numbered(count: usize) -> Vec<Message> {
    (0..count)
        .map(|number| {
            let text = format!("{number} {}", "x".repeat(number % 61));
            match number % 3 {
                0 => Message::binary(text.into_bytes()),
                1 => Message::text(text),
                _ => Message::text(format!("{text}\r")),
            }
        })
        .collect()
}

/// A number of messages of `length` bytes, no two alike, that share one buffer.
pub(crate) fn slices(count: usize, length: usize) -> Vec<Message> {
    let buffer = noise(count + length);
    (0..count)
        .map(|start| Message::binary(buffer.slice(start..start + length)))
        .collect()
}

/// The last message of an exchange, unlike all others.
pub(crate) fn end_marker() -> Message {
    Message::from_static("switchback-conformance: the last message")
}

/// Bytes without a pattern, always the same ones.
pub(crate) fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64: Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// Exactly `length` bytes of text with characters of every length, so that any cut splits some.
fn prose(length: usize) -> String {
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        text.push_str("aé€\u{1f600}\n");
    }
    while text.len() > length {
        text.pop();
    }
    while text.len() < length {
        text.push('.');
    }
    text
}

/// Compares what was sent with what was received; `complete` when nothing else can arrive.
pub(crate) fn compare(
    sent: &[Message],
    received: &[Message],
    complete: bool,
) -> Result<(), String> {
    for (index, got) in received.iter().enumerate() {
        match sent.get(index) {
            Some(expected) if expected == got => {}
            Some(expected) => return Err(difference(sent, index, expected, got)),
            None => {
                return Err(format!(
                    "{} messages were sent, but another one arrived: {}",
                    sent.len(),
                    show(got)
                ));
            }
        }
    }
    if complete && received.len() < sent.len() {
        return Err(format!(
            "{} messages were sent, but only {} arrived; the first one lost is {}",
            sent.len(),
            received.len(),
            show(&sent[received.len()])
        ));
    }
    Ok(())
}

fn difference(sent: &[Message], index: usize, expected: &Message, got: &Message) -> String {
    let mut text = format!(
        "message {index} is {}, expected {}",
        show(got),
        show(expected)
    );
    let (a, b) = (expected.as_bytes(), got.as_bytes());
    if let Some(at) = sent.iter().position(|message| message == got) {
        let _ = write!(text, "; it is message {at} of what was sent");
    } else if a == b {
        text.push_str("; only the kind differs");
    } else {
        let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let _ = write!(text, "; they differ from byte {same} on");
    }
    text
}

/// Describes a message in a line. These are the suite's own payloads, not an application's.
fn show(message: &Message) -> String {
    const SHOWN: usize = 32;
    let bytes = message.as_bytes();
    let kind = match message.kind() {
        MessageKind::Text => "text",
        MessageKind::Binary => "binary",
    };
    let head = bytes[..bytes.len().min(SHOWN)].escape_ascii();
    let more = if bytes.len() > SHOWN { "…" } else { "" };
    format!("{kind} of {} bytes \"{head}{more}\"", bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_has_the_length_asked_for() {
        for length in 0..100 {
            assert_eq!(prose(length).len(), length);
        }
    }

    #[test]
    fn compare_says_what_differs() {
        let sent = [Message::text("a"), Message::text("b")];
        assert_eq!(compare(&sent, &sent, true), Ok(()));
        assert_eq!(compare(&sent, &sent[..1], false), Ok(()));
        let error = |received: &[Message]| compare(&sent, received, true).unwrap_err();
        assert!(error(&sent[..1]).contains("only 1 arrived"));
        assert!(error(&sent[1..]).contains("it is message 1 of what was sent"));
        assert!(error(&[Message::binary(&b"a"[..])]).contains("only the kind differs"));
        assert!(error(&[Message::text("ax")]).contains("differ from byte 1 on"));
        let twice = [sent[0].clone(), sent[1].clone(), sent[1].clone()];
        assert!(error(&twice).contains("another one arrived"));
    }
}
