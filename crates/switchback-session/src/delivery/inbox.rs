use crate::ProtocolError;

/// How far the peer's messages were received.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    received: u64,
}

impl Inbox {
    /// Takes a message of this number. `false`: it was received before, on this attachment or
    /// another.
    pub(crate) fn take(&mut self, number: u64) -> Result<bool, ProtocolError> {
        let expected = self.received + 1;
        if number > expected {
            return Err(ProtocolError::Gap { expected, number });
        }
        if number == expected {
            self.received = number;
        }
        Ok(number == expected)
    }

    /// Returns the number of the last message received.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }
}
