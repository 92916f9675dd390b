use std::error::Error as StdError;
use std::{fmt, io};

use crate::{CloseCode, CloseReason};

/// Why an operation on a transport failed.
///
/// Opaque and one pointer wide. [`kind`](Error::kind) says what happened, the display text says
/// what to do about it where something can be done, [`source`](StdError::source) gives the cause.
/// `Debug` is all of that in one line.
/// The type of the cause is not part of the interface.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Option<String>,
    close: Option<CloseReason>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The transport was closed already, by this side or the peer.
    Closed,
    /// The connection was cut without a close.
    Reset,
    /// An operation of the operating system failed.
    Io,
    /// The peer did not do in time what it had to do.
    TimedOut,
    /// The peer broke the protocol.
    Protocol,
    /// A text message was not UTF-8.
    InvalidUtf8,
    /// A message, frame, batch, body or header was larger than the limit.
    TooLarge,
    /// A bounded queue is full.
    Full,
    /// The peer refused the connection.
    Refused,
    /// The peer is not known here: its connection ended or its token is wrong.
    Unknown,
    /// TLS failed: a certificate that is not trusted, a name that does not match.
    Tls,
    /// The request of the caller makes no sense: a malformed URL, an impossible setting.
    Invalid,
    /// The peer or this build does not support what was asked for.
    Unsupported,
}

impl Error {
    /// Makes an error of a kind.
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner {
            kind,
            message: None,
            close: None,
            source: None,
        }))
    }

    /// Makes an error of a kind with a text in place of the kind's own: lower case, no full stop.
    pub fn with_message(kind: ErrorKind, message: impl Into<String>) -> Self {
        let mut error = Self::new(kind);
        error.0.message = Some(message.into());
        error
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds the close that led to this error, or that this error leads to.
    #[must_use]
    pub fn with_close(mut self, close: CloseReason) -> Self {
        self.0.close = Some(close);
        self
    }

    /// Returns what kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Tells whether a wait ended without an answer.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::TimedOut
    }

    /// Tells whether the transport was closed already.
    pub fn is_closed(&self) -> bool {
        self.0.kind == ErrorKind::Closed
    }

    /// Returns the close that the peer sent with this error, if any.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.0.close.as_ref()
    }

    /// Returns the close code to send to a peer that caused this error.
    pub fn close_code(&self) -> CloseCode {
        if let Some(close) = &self.0.close {
            return close.code();
        }
        match self.0.kind {
            ErrorKind::Closed => CloseCode::NORMAL,
            ErrorKind::Reset | ErrorKind::Io => CloseCode::ABNORMAL,
            ErrorKind::TimedOut => CloseCode::TIMED_OUT,
            ErrorKind::Protocol => CloseCode::PROTOCOL_ERROR,
            ErrorKind::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            ErrorKind::TooLarge => CloseCode::MESSAGE_TOO_BIG,
            ErrorKind::Full => CloseCode::SLOW_CONSUMER,
            ErrorKind::Unknown => CloseCode::UNKNOWN_SESSION,
            ErrorKind::Refused | ErrorKind::Tls | ErrorKind::Invalid | ErrorKind::Unsupported => {
                CloseCode::POLICY_VIOLATION
            }
        }
    }
}

impl ErrorKind {
    fn describe(self) -> &'static str {
        match self {
            Self::Closed => "the connection is closed",
            Self::Reset => "the connection was cut without a close",
            Self::Io => "an input or output operation failed",
            Self::TimedOut => "the peer did not answer in time",
            Self::Protocol => "the peer broke the protocol",
            Self::InvalidUtf8 => "a text message is not UTF-8",
            Self::TooLarge => "a message is larger than the limit",
            Self::Full => "the queue is full",
            Self::Refused => "the peer refused the connection",
            Self::Unknown => "the connection or session is not known to the peer",
            Self::Tls => "TLS failed",
            Self::Invalid => "the request is invalid",
            Self::Unsupported => "this is not supported",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            self.0
                .message
                .as_deref()
                .unwrap_or_else(|| self.0.kind.describe()),
        )
    }
}

/// One line for people, because that is what a `main` that returns the error prints: the display text,
/// its causes, the kind and the close.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        match &self.0.close {
            Some(close) => write!(f, " ({:?}, close {close})", self.0.kind),
            None => write!(f, " ({:?})", self.0.kind),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::BrokenPipe
            | Io::NotConnected
            | Io::UnexpectedEof => ErrorKind::Reset,
            Io::ConnectionRefused => ErrorKind::Refused,
            Io::TimedOut => ErrorKind::TimedOut,
            _ => ErrorKind::Io,
        };
        Self::new(kind).with_source(error)
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_level_and_source_is_the_next() {
        let error = Error::from(io::Error::new(io::ErrorKind::ConnectionReset, "cut"));
        assert_eq!(error.kind(), ErrorKind::Reset);
        assert_eq!(error.to_string(), "the connection was cut without a close");
        assert_eq!(error.source().unwrap().to_string(), "cut");
    }

    #[test]
    fn debug_is_one_line_for_people() {
        let cut = io::Error::new(io::ErrorKind::ConnectionReset, "cut");
        let error =
            Error::with_message(ErrorKind::Refused, "no answer").with_source(Error::from(cut));
        assert_eq!(
            format!("{error:?}"),
            "no answer: the connection was cut without a close: cut (Refused)"
        );
        let close = CloseReason::new(CloseCode::GOING_AWAY, "bye");
        let error = Error::new(ErrorKind::Closed).with_close(close.clone());
        assert_eq!(
            format!("{error:?}"),
            format!("the connection is closed (Closed, close {close})")
        );
    }

    #[test]
    fn an_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
