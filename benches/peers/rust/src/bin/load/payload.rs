//! What is sent: a number, and letters up to the size.

use tokio_tungstenite::tungstenite::Message;

use crate::Failure;

const DIGITS: usize = 20;
pub const MIN_SIZE: usize = DIGITS;

/// A message, and those that follow it: each has the next number.
#[derive(Clone)]
pub struct Payload {
    text: String,
    number: u64,
}

impl Payload {
    pub fn new(size: usize) -> Self {
        let letters = (b'a'..=b'z').cycle().take(size - DIGITS).map(char::from);
        Self {
            text: (0..DIGITS).map(|_| '0').chain(letters).collect(),
            number: 0,
        }
    }

    /// What only finds out who is there. It comes before the message with the number 0.
    pub fn probe(&self) -> Message {
        Message::text(self.text.replace('0', "-"))
    }

    pub fn is_probe(&self, bytes: &[u8]) -> bool {
        let parts = bytes.split_at_checked(DIGITS);
        parts.is_some_and(|(head, rest)| {
            head.iter().all(|byte| *byte == b'-') && *rest == self.text.as_bytes()[DIGITS..]
        })
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn message(&self) -> Message {
        Message::text(self.text.clone())
    }

    /// Checks that it is this one that came.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes == self.text.as_bytes() {
            return Ok(());
        }
        Err(format!(
            "{:?} instead of number {}",
            String::from_utf8_lossy(bytes),
            self.number
        )
        .into())
    }

    /// Goes on to the next.
    pub fn step(&mut self) {
        self.number += 1;
        let mut bytes = std::mem::take(&mut self.text).into_bytes();
        for digit in bytes[..DIGITS].iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                break;
            }
            *digit = b'0';
        }
        self.text = String::from_utf8(bytes).expect("digits and letters");
    }
}
