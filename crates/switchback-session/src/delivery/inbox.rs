use crate::ProtocolError;

/// How far the peer's messages were received.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    received: u64,
}

impl Inbox {
    /// Tells whether a message of this number is the next. `false`: it was received before, on this
    /// attachment or another.
    #[inline]
    pub(crate) fn peek(&self, number: u64) -> Result<bool, ProtocolError> {
        let expected = self.received + 1;
        if number > expected {
            return Err(ProtocolError::Gap { expected, number });
        }
        Ok(number == expected)
    }

    /// The next messages, so many, were received.
    #[inline]
    pub(crate) fn advance(&mut self, messages: u64) {
        self.received += messages;
    }

    /// Returns the number of the last message received.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }
}
