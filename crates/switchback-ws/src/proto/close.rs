//! What close frames mean (RFC 6455, 5.5.1 and 7.4), and which one answers which failure.

use switchback_core::{CloseCode, CloseReason, Error, ErrorKind};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as EngineError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

const NOT_UTF8: &str = "text is not UTF-8";

/// Why reading cannot go on.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the application is told.
    pub(crate) error: Error,
    /// What the peer is told. `None`: there is nobody left to tell.
    pub(crate) tell: Option<CloseReason>,
}

impl Failure {
    pub(crate) fn invalid_utf8(error: Error) -> Self {
        Self::told(error, NOT_UTF8)
    }

    fn told(error: Error, reason: impl Into<String>) -> Self {
        let tell = CloseReason::new(error.close_code(), reason.into());
        Self {
            error,
            tell: Some(tell),
        }
    }

    fn untold(error: Error) -> Self {
        Self { error, tell: None }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                Self::untold(ErrorKind::Reset.into())
            }
            EngineError::Protocol(violation) => {
                let text = violation.to_string();
                Self::told(Error::new(ErrorKind::Protocol).with_source(violation), text)
            }
            EngineError::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
                let limit = format!("the limit is {max_size} bytes");
                let text = format!("a message is larger than the limit of {max_size} bytes");
                Self::told(Error::with_message(ErrorKind::TooLarge, text), limit)
            }
            EngineError::Capacity(other) => Self::told(
                Error::new(ErrorKind::TooLarge).with_source(other),
                String::new(),
            ),
            EngineError::Utf8(text) => {
                let error = Error::new(ErrorKind::InvalidUtf8).with_source(EngineError::Utf8(text));
                Self::told(error, NOT_UTF8)
            }
            EngineError::Io(error) => Self::untold(error.into()),
            EngineError::ConnectionClosed | EngineError::AlreadyClosed => {
                Self::untold(ErrorKind::Closed.into())
            }
            other => Self::untold(Error::new(ErrorKind::Io).with_source(other)),
        }
    }
}

/// Returns what the payload of a close frame says; `None` when its code is one that must not be sent
/// (RFC 6455, 7.4), or its text is not UTF-8.
pub(crate) fn received(payload: &[u8]) -> Option<CloseReason> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        // RFC 6455, 7.1.5: no code in the frame is 1005.
        return Some(CloseCode::NO_STATUS.into());
    };
    let code = CloseCode::new(u16::from_be_bytes(*code))?;
    let reason = str::from_utf8(reason).ok()?;
    Some(CloseReason::new(code, reason.to_owned()))
}

/// Returns the close frame for a reason. A code that must not be sent makes an empty one.
pub(crate) fn to_send(why: &CloseReason) -> Option<CloseFrame> {
    CloseCode::new(why.code().as_u16())?;
    Some(CloseFrame {
        code: why.code().as_u16().into(),
        reason: why.reason().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn each_failure_has_its_kind_and_its_code() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let too_long = CapacityError::MessageTooLong {
            size: 11,
            max_size: 10,
        };
        for (engine, kind, code) in [
            (
                EngineError::Protocol(ProtocolError::UnmaskedFrameFromClient),
                ErrorKind::Protocol,
                Some(CloseCode::PROTOCOL_ERROR),
            ),
            (
                EngineError::Capacity(too_long),
                ErrorKind::TooLarge,
                Some(CloseCode::MESSAGE_TOO_BIG),
            ),
            (
                EngineError::Utf8("bytes".to_owned()),
                ErrorKind::InvalidUtf8,
                Some(CloseCode::INVALID_PAYLOAD),
            ),
            (
                EngineError::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                ErrorKind::Reset,
                None,
            ),
            (EngineError::Io(reset()), ErrorKind::Reset, None),
        ] {
            let failure = Failure::from(engine);
            assert_eq!(failure.error.kind(), kind);
            assert_eq!(failure.tell.map(|tell| tell.code()), code);
        }
    }

    #[test]
    fn codes_pass_both_ways_or_not_at_all() {
        for code in [1000, 1001, 1003, 1011, 1014, 3000, 3999, 4000, 4999] {
            let why = CloseReason::new(CloseCode::new(code).unwrap(), "é");
            let frame = to_send(&why);
            assert_eq!(frame.as_ref().map(|frame| frame.code.into()), Some(code));
            let payload = [&code.to_be_bytes()[..], "é".as_bytes()].concat();
            assert_eq!(received(&payload), Some(why));
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535_u16] {
            assert_eq!(received(&code.to_be_bytes()), None, "{code}");
        }
        assert_eq!(received(b""), Some(CloseCode::NO_STATUS.into()));
        assert_eq!(received(b"\x03\xe8\xff"), None);
        assert_eq!(to_send(&CloseCode::NO_STATUS.into()), None);
        assert_eq!(to_send(&CloseCode::ABNORMAL.into()), None);
    }
}
