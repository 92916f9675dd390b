//! Messages and control events as events (`docs/protocol.md`, 2.2).

use bytes::{BufMut, Bytes, BytesMut};
use data_encoding::BASE64;
use memchr::memchr;
use serde_json::{Value, json};
use switchback_core::{CloseCode, CloseReason, Error, ErrorKind, Message, WireForm};

use super::event::put_lines;
use super::{EventLimits, MessageEvent};

/// More than the longest control event: a close whose reason is all escaped takes 800 bytes.
const CONTROL_SIZE: usize = 4 * 1024;

/// What an event from the server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Downstream {
    Message(Message),
    /// The first event: the connection id.
    Connection(String),
    Close(CloseReason),
    /// From a newer version of the protocol, perhaps.
    Unknown,
}

/// Limits for a stream that carries messages of up to a size.
pub(crate) fn event_limits(message_size: usize) -> EventLimits {
    let base64 = message_size.div_ceil(3).saturating_mul(4);
    EventLimits::new()
        .max_data(base64.max(CONTROL_SIZE))
        .max_name(64)
}

/// Encodes a message, once for all its receivers if it is prepared.
pub(crate) fn encode(message: &Message) -> Bytes {
    message.encoded(WireForm::SseEvent, |message| match message.as_text() {
        // Only a carriage return cannot be in data: receivers take it for the end of a line.
        Some(text) if memchr(b'\r', text.as_bytes()).is_none() => {
            let mut wire = BytesMut::new();
            put_lines(&mut wire, b"data: ", text.as_bytes());
            wire.put_u8(b'\n');
            wire.freeze()
        }
        Some(text) => base64_event("text", text.as_bytes()),
        None => base64_event("binary", message.as_bytes()),
    })
}

fn base64_event(name: &str, payload: &[u8]) -> Bytes {
    let mut wire = String::with_capacity(32 + payload.len().div_ceil(3) * 4);
    wire.push_str("event: ");
    wire.push_str(name);
    wire.push_str("\ndata: ");
    BASE64.encode_append(payload, &mut wire);
    wire.push_str("\n\n");
    wire.into()
}

/// Encodes the first event of every stream.
pub(crate) fn hello(connection: &str) -> Bytes {
    control(&json!({ "connection": connection }))
}

/// Encodes the last event of a stream that is closed. A code that must not be sent, such as "none
/// was given", goes as 1000.
pub(crate) fn close(why: &CloseReason) -> Bytes {
    let code = CloseCode::new(why.code().as_u16()).unwrap_or(CloseCode::NORMAL);
    control(&json!({ "close": { "code": code.as_u16(), "reason": why.reason() } }))
}

fn control(value: &Value) -> Bytes {
    // JSON text has no line breaks of its own and escapes those of its strings.
    format!("event: switchback\ndata: {value}\n\n").into()
}

/// Tells what an event says.
pub(crate) fn decode(event: MessageEvent, max_message: usize) -> Result<Downstream, Error> {
    let message = match event.event() {
        "message" => Message::text_from_bytes(event.into_data())?,
        "text" => Message::text_from_bytes(unbase64(&event)?)?,
        "binary" => Message::binary(unbase64(&event)?),
        "switchback" => return decode_control(event.data()),
        _ => return Ok(Downstream::Unknown),
    };
    if message.len() > max_message {
        return Err(Error::new(ErrorKind::TooLarge));
    }
    Ok(Downstream::Message(message))
}

fn unbase64(event: &MessageEvent) -> Result<Bytes, Error> {
    const WHY: &str = "the data of an event is not base64";
    let data = event.data().as_bytes();
    // The decoder would take several encodings in a row for one.
    if memchr(b'=', data).is_some_and(|padding| padding + 2 < data.len()) {
        return Err(malformed(WHY));
    }
    match BASE64.decode(data) {
        Ok(payload) => Ok(payload.into()),
        Err(error) => Err(malformed(WHY).with_source(error)),
    }
}

fn decode_control(data: &str) -> Result<Downstream, Error> {
    let value: Value = serde_json::from_str(data)
        .map_err(|error| malformed("a control event is not JSON").with_source(error))?;
    if let Some(connection) = value.get("connection") {
        return match connection.as_str() {
            // It goes into a header of every POST.
            Some(id)
                if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                Ok(Downstream::Connection(id.to_owned()))
            }
            _ => Err(malformed("the connection id is malformed")),
        };
    }
    if let Some(close) = value.get("close") {
        let code = close.get("code").and_then(Value::as_u64);
        let code = code
            .and_then(|code| u16::try_from(code).ok())
            .and_then(CloseCode::new)
            .ok_or_else(|| malformed("the close code is malformed"))?;
        let reason = close.get("reason").and_then(Value::as_str).unwrap_or("");
        return Ok(Downstream::Close(CloseReason::new(code, reason.to_owned())));
    }
    Ok(Downstream::Unknown)
}

fn malformed(why: &'static str) -> Error {
    Error::with_message(ErrorKind::Protocol, why)
}

#[cfg(test)]
mod tests {
    use super::super::Parser;
    use super::*;

    /// What a client makes of encoded events.
    fn received(wire: Bytes, max_message: usize) -> Result<Downstream, Error> {
        let mut parser = Parser::with_limits(event_limits(max_message)).strict();
        parser.push(wire);
        let event = parser.next_event()?.unwrap();
        assert_eq!(parser.next_event()?, None);
        decode(event, max_message)
    }

    fn event(name: &str, data: &str) -> Bytes {
        format!("event: {name}\ndata: {data}\n\n").into()
    }

    #[test]
    fn messages_have_one_canonical_form() {
        for (message, expected) in [
            (Message::text(""), "data: \n\n"),
            (Message::text("\n"), "data: \ndata: \n\n"),
            (Message::text(" a\nb\n"), "data:  a\ndata: b\ndata: \n\n"),
            (Message::text("\u{feff}\0:"), "data: \u{feff}\0:\n\n"),
            (Message::text("\r"), "event: text\ndata: DQ==\n\n"),
            (Message::text("a\r\nb"), "event: text\ndata: YQ0KYg==\n\n"),
            (Message::binary(&b""[..]), "event: binary\ndata: \n\n"),
            (
                Message::binary(&b"\xff\xfe"[..]),
                "event: binary\ndata: //4=\n\n",
            ),
        ] {
            let wire = encode(&message);
            assert_eq!(wire, expected, "{message:?}");
            assert_eq!(
                received(wire, 16).unwrap(),
                Downstream::Message(message.clone())
            );
        }
    }

    #[test]
    fn control_events_survive_any_reason() {
        assert_eq!(
            hello("abc"),
            "event: switchback\ndata: {\"connection\":\"abc\"}\n\n"
        );
        assert_eq!(
            received(hello("abc"), 0).unwrap(),
            Downstream::Connection("abc".into())
        );
        for reason in ["", "\r\n\0\"\\ é", &"\u{1}".repeat(CloseReason::MAX_REASON)] {
            let why = CloseReason::new(CloseCode::SLOW_CONSUMER, reason.to_owned());
            assert_eq!(received(close(&why), 0).unwrap(), Downstream::Close(why));
        }
    }

    #[test]
    fn a_code_that_must_not_be_sent_goes_as_1000() {
        let wire = close(&CloseCode::NO_STATUS.into());
        assert_eq!(
            received(wire, 0).unwrap(),
            Downstream::Close(CloseReason::normal())
        );
    }

    #[test]
    fn malformed_events_are_errors() {
        for (name, data) in [
            ("binary", "AA"),
            ("binary", "AB=="),
            ("binary", "AA==AA=="),
            ("binary", "AA AA"),
            ("text", "*"),
            ("switchback", "{"),
            ("switchback", r#"{"connection":7}"#),
            ("switchback", r#"{"connection":""}"#),
            ("switchback", r#"{"connection":"a b"}"#),
            ("switchback", r#"{"close":{}}"#),
            ("switchback", r#"{"close":{"code":1005}}"#),
            ("switchback", r#"{"close":{"code":70000}}"#),
        ] {
            let error = received(event(name, data), 64).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{name} {data}");
        }
        let error = received(event("text", "/w=="), 64).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUtf8);
        let error = received(Bytes::from_static(b"data: \xff\n\n"), 64).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUtf8);
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        for wire in [event("news", "x"), event("switchback", r#"{"later":1}"#)] {
            assert_eq!(received(wire, 64).unwrap(), Downstream::Unknown);
        }
    }

    #[test]
    fn the_limit_is_that_of_the_message() {
        for size in [0, 1, 2, 3, 4096, 100_000] {
            for payload in [vec![b'\n'; size], vec![b'\r'; size], vec![b'x'; size]] {
                let text = Message::text(String::from_utf8(payload.clone()).unwrap());
                for message in [text, Message::binary(payload)] {
                    let wire = encode(&message);
                    assert_eq!(
                        received(wire.clone(), size).unwrap(),
                        Downstream::Message(message)
                    );
                    if size > 0 {
                        let error = received(wire, size - 1).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::TooLarge);
                    }
                }
            }
        }
    }
}
