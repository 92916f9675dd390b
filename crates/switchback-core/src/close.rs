use std::borrow::Cow;
use std::fmt;

/// A close code, as in RFC 6455, 7.4: why a connection ended, as a number that a machine can act on.
///
/// The same codes are used on every transport. Codes 4000–4999 are for private use (RFC 6455,
/// 7.4.2); Switchback takes 4000–4099 of them, applications should start at 4100.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose was fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The peer goes away: a server shuts down, a page is left. Reconnecting is welcome.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer sent a kind of data that is not accepted here.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// No code was in the close frame. Never sent (RFC 6455, 7.1.5).
    pub const NO_STATUS: Self = Self(1005);
    /// The connection was cut without a close. Never sent (RFC 6455, 7.1.5).
    pub const ABNORMAL: Self = Self(1006);
    /// A text message was not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A policy was broken and no other code fits.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message was larger than the receiver's limit.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// The server failed.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server restarts. Reconnecting is welcome after a random delay.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is overloaded. Reconnecting is welcome later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// A newer attachment of the same session took over.
    pub const SUPERSEDED: Self = Self(4000);
    /// The session is not known here, or its token is wrong.
    pub const UNKNOWN_SESSION: Self = Self(4001);
    /// The peer did not answer in time.
    pub const TIMED_OUT: Self = Self(4002);
    /// The peer read more slowly than messages were sent to it.
    pub const SLOW_CONSUMER: Self = Self(4003);
    /// The client stopped using this transport for a better one.
    pub const TRANSPORT_CHANGED: Self = Self(4004);

    /// Makes a close code of a number that may be sent: 1000–1003, 1007–1014, 3000–4999
    /// (RFC 6455, 7.4). `None` for every other number.
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// Returns the number.
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

/// Why a connection was closed: a code for machines and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    code: CloseCode,
    reason: Cow<'static, str>,
}

impl CloseReason {
    /// The longest reason, in bytes of UTF-8: what a WebSocket close frame can carry
    /// (RFC 6455, 5.5).
    pub const MAX_REASON: usize = 123;

    /// Makes a close reason. A reason longer than [`MAX_REASON`](Self::MAX_REASON) is cut at the
    /// last character that fits.
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        let mut reason = reason.into();
        if reason.len() > Self::MAX_REASON {
            let end = reason.floor_char_boundary_at(Self::MAX_REASON);
            reason = match reason {
                Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
                Cow::Owned(mut text) => {
                    text.truncate(end);
                    Cow::Owned(text)
                }
            };
        }
        Self { code, reason }
    }

    /// The purpose was fulfilled: code 1000, no text.
    pub const fn normal() -> Self {
        Self {
            code: CloseCode::NORMAL,
            reason: Cow::Borrowed(""),
        }
    }

    /// Returns the code.
    pub fn code(&self) -> CloseCode {
        self.code
    }

    /// Returns the text, which may be empty.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() {
            self.code.fmt(f)
        } else {
            write!(f, "{} {}", self.code, self.reason)
        }
    }
}

impl From<CloseCode> for CloseReason {
    fn from(code: CloseCode) -> Self {
        Self {
            code,
            reason: Cow::Borrowed(""),
        }
    }
}

/// `str::floor_char_boundary` is newer than our minimum Rust.
trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, index: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, index: usize) -> usize {
        (0..=index)
            .rev()
            .find(|&i| self.is_char_boundary(i))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_can_be_made() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert_eq!(CloseCode::new(code), None, "{code}");
        }
        for code in [1000, 1003, 1007, 1014, 3000, 4999] {
            assert_eq!(CloseCode::new(code).map(CloseCode::as_u16), Some(code));
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = CloseReason::new(CloseCode::NORMAL, "é".repeat(100));
        assert_eq!(reason.reason(), "é".repeat(61));
    }
}
