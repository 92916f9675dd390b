use switchback_core::Error;

/// An error that ended something, to be said again on every later call.
#[derive(Debug)]
pub(crate) struct Fatal(Error);

impl Fatal {
    pub(crate) fn new(error: Error) -> Self {
        Self(error)
    }

    /// Borrows the error with its cause.
    pub(crate) fn error(&self) -> &Error {
        &self.0
    }

    /// Says the error again. The first call gives the cause along, later ones cannot: an
    /// [`Error`] is not [`Clone`].
    pub(crate) fn say(&mut self) -> Error {
        let mut copy = Error::with_message(self.0.kind(), self.0.to_string());
        if let Some(close) = self.0.close_reason() {
            copy = copy.with_close(close.clone());
        }
        std::mem::replace(&mut self.0, copy)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use switchback_core::{CloseReason, ErrorKind};

    #[test]
    fn is_said_again() {
        let mut fatal = Fatal::new(
            Error::with_message(ErrorKind::Reset, "cut")
                .with_source("cause")
                .with_close(CloseReason::normal()),
        );
        assert!(fatal.say().source().is_some());
        for _ in 0..2 {
            let again = fatal.say();
            assert_eq!(again.kind(), ErrorKind::Reset);
            assert_eq!(again.to_string(), "cut");
            assert_eq!(again.close_reason(), Some(&CloseReason::normal()));
        }
        assert_eq!(fatal.error().kind(), ErrorKind::Reset);
    }
}
