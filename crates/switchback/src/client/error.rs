use std::fmt;

use switchback_core::{CloseCode, CloseReason, Error, TransportKind};

/// Why no connection could be made: what happened to each transport that was tried.
///
/// The display text has one line per transport.
pub struct ConnectError {
    failures: Vec<TransportFailure>,
    why: CloseReason,
    invalid: Option<Error>,
}

/// Why one transport could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportFailure {
    kind: TransportKind,
    why: String,
}

impl TransportFailure {
    /// Returns the transport.
    pub fn kind(&self) -> TransportKind {
        self.kind
    }

    /// Returns what went wrong, for people.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl ConnectError {
    pub(super) fn new(failures: Vec<switchback_session::Failure>, why: CloseReason) -> Self {
        let failures = failures
            .into_iter()
            .map(|failure| TransportFailure {
                kind: failure.kind,
                why: failure.text,
            })
            .collect();
        Self {
            failures,
            why,
            invalid: None,
        }
    }

    pub(super) fn invalid(error: Error) -> Self {
        Self {
            failures: Vec::new(),
            why: CloseCode::ABNORMAL.into(),
            invalid: Some(error),
        }
    }

    /// Returns what happened to each transport that was tried, in the order of the tries.
    pub fn failures(&self) -> &[TransportFailure] {
        &self.failures
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.invalid.is_some() {
            return f.write_str("the URL cannot be used");
        }
        if self.failures.is_empty() {
            return write!(f, "the server closed the connection: {}", self.why);
        }
        f.write_str("no transport works")?;
        for failure in &self.failures {
            write!(f, "\n  {}: {}", failure.kind, failure.why)?;
        }
        Ok(())
    }
}

/// The display text and its cause, because that is what a `main` that returns the error prints.
impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.invalid {
            Some(error) => write!(f, "{self}: {error:?}"),
            None => write!(f, "{self}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.invalid.as_ref().map(|error| error as _)
    }
}
