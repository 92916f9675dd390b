//! The session protocol, as far as a client needs it that is never cut (`docs/protocol.md`, 3).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::{Fault, base64url};

/// Says that the session ends. Its client has sent no messages.
pub(super) const CLOSE: &[u8] = b"\x01close {\"code\":1000,\"reason\":\"\",\"sent\":0}";

#[derive(Debug)]
pub(super) struct Session {
    hello: String,
    opened: bool,
    received: u64,
    acknowledged: u64,
    bytes: u64,
    ack_messages: u64,
    ack_bytes: u64,
}

/// What a text of an attachment is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Message(&'a [u8]),
    /// A control frame, with the answer to it.
    Control(Option<String>),
}

impl Session {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Different is enough: nobody guesses here.
        let nanos = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |time| time.as_nanos() as u64);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(nanos ^ u64::from(std::process::id()) << 40).to_be_bytes());
        id[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Self {
            hello: format!("1.new.{}.1.1", base64url::encode(&id)),
            opened: false,
            received: 0,
            acknowledged: 0,
            bytes: 0,
            ack_messages: u64::MAX,
            ack_bytes: u64::MAX,
        }
    }

    pub(super) fn hello(&self) -> &str {
        &self.hello
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened
    }

    /// Takes a text message of the attachment.
    pub(super) fn text<'a>(&mut self, text: &'a [u8]) -> Result<Frame<'a>, Fault> {
        if text.first() != Some(&1) {
            return self.message(text);
        }
        if text.get(1) == Some(&1) {
            return self.message(&text[1..]);
        }
        let control = std::str::from_utf8(&text[1..])
            .map_err(|_| Fault::Protocol("a control frame that is no text".into()))?;
        let (word, argument) = control.split_once(' ').unwrap_or((control, ""));
        let answer = match word {
            "opened" => {
                let number = |name: &str| {
                    let value = serde_json::from_str::<serde_json::Value>(argument).ok()?;
                    value.get(name)?.as_u64()
                };
                self.ack_messages = number("ack_messages").unwrap_or(u64::MAX);
                self.ack_bytes = number("ack_bytes").unwrap_or(u64::MAX);
                self.opened = true;
                Some("\u{1}select 0".to_owned())
            }
            "ping" => Some("\u{1}pong".to_owned()),
            "close" => return Err(Fault::Ended(control.to_owned())),
            _ => None,
        };
        Ok(Frame::Control(answer))
    }

    fn message<'a>(&mut self, payload: &'a [u8]) -> Result<Frame<'a>, Fault> {
        if !self.opened {
            return Err(Fault::Protocol("a message before `opened`".into()));
        }
        self.received += 1;
        self.bytes += payload.len() as u64;
        Ok(Frame::Message(payload))
    }

    /// The acknowledgement that is due; with `now`, one for anything that is not acknowledged.
    pub(super) fn acknowledgement(&mut self, now: bool) -> Option<String> {
        self.acknowledgement_from(self.ack_messages, self.ack_bytes, now)
    }

    /// The acknowledgement that goes along with messages, as clients of the facade do it.
    pub(super) fn acknowledgement_along(&mut self) -> Option<String> {
        self.acknowledgement_from(
            self.ack_messages.div_ceil(128),
            self.ack_bytes.div_ceil(128),
            false,
        )
    }

    fn acknowledgement_from(&mut self, least: u64, bytes: u64, now: bool) -> Option<String> {
        let messages = self.received - self.acknowledged;
        let due = messages >= least || self.bytes >= bytes;
        if messages == 0 || !(due || now) {
            return None;
        }
        self.acknowledged = self.received;
        self.bytes = 0;
        Some(format!("\u{1}ack {}", self.received))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_selects_and_acknowledges() {
        let mut session = Session::new();
        assert_eq!(session.hello().len(), "1.new.".len() + 22 + ".1.1".len());
        assert!(session.text(b"too early").is_err());
        let opened = b"\x01opened {\"ack_messages\":2,\"ack_bytes\":1000}";
        let answer = session.text(opened).unwrap();
        assert_eq!(answer, Frame::Control(Some("\u{1}select 0".into())));
        assert!(session.is_open());
        assert_eq!(session.text(b"one"), Ok(Frame::Message(b"one")));
        assert_eq!(session.acknowledgement(false), None);
        assert_eq!(session.text(b"\x01\x01two"), Ok(Frame::Message(b"\x01two")));
        assert_eq!(
            session.acknowledgement(false).as_deref(),
            Some("\u{1}ack 2")
        );
        assert_eq!(session.acknowledgement(true), None);
        assert_eq!(session.text(b"\x01unknown"), Ok(Frame::Control(None)));
        assert!(session.text(b"\x01close {}").is_err());
    }

    #[test]
    fn ids_differ() {
        assert_ne!(Session::new().hello(), Session::new().hello());
    }
}
