use std::collections::VecDeque;
use std::time::{Duration, Instant};

use switchback_core::{CloseReason, Message};
use switchback_session::Allowance;

use super::outbox::cost;

/// The machine of a connection without a session: one transport, nothing survives it.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    queue: VecDeque<Message>,
    bytes: usize,
    /// What the application, or the peer, closes with.
    pub(super) closing: Option<CloseReason>,
    pub(super) closed: bool,
    /// Something was given up that the application had sent.
    pub(super) fell_short: bool,
    /// When what is left is given up.
    until: Option<Instant>,
}

/// How much is taken out of the outbox ahead of the transport.
const AHEAD: usize = 16 * 1024;

/// How long a peer may take for what is left when the connection is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

impl Plain {
    fn has_room(&self) -> bool {
        self.bytes < AHEAD && !self.closed && self.closing.is_none()
    }

    /// Takes a message; gives it back when there is no room.
    pub(super) fn send(&mut self, message: Message) -> Result<(), Message> {
        if !self.has_room() {
            return Err(message);
        }
        self.push(message);
        Ok(())
    }

    fn push(&mut self, message: Message) {
        self.bytes += cost(&message);
        self.queue.push_back(message);
    }

    /// Takes messages for as long as there is room.
    pub(super) fn send_from(&mut self, messages: &mut impl Iterator<Item = Message>) {
        while self.has_room()
            && let Some(message) = messages.next()
        {
            self.push(message);
        }
    }

    /// Closes when everything is on its way, or after a while.
    pub(super) fn close(&mut self, now: Instant, why: CloseReason) {
        self.closing.get_or_insert(why);
        self.until.get_or_insert(now + CLOSE_TIMEOUT);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until.filter(|_| !self.closed)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.give_up();
        }
    }

    /// Forgets what is not on its way.
    pub(super) fn give_up(&mut self) {
        self.fell_short |= !self.queue.is_empty();
        self.queue.clear();
        self.bytes = 0;
    }

    /// Tells whether it is to be closed, and everything before that is on its way.
    pub(super) fn is_drained(&self) -> bool {
        self.closing.is_some() && !self.closed && self.queue.is_empty()
    }

    /// How much may be sent at once.
    pub(super) fn allowance(&self) -> Allowance {
        if self.has_room() && self.queue.is_empty() {
            Allowance::UNLIMITED
        } else {
            Allowance::NONE
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn transmit(
        &mut self,
        messages: &mut impl Iterator<Item = Message>,
        mut take: impl FnMut(&Message) -> bool,
    ) {
        self.send_from(messages);
        while let Some(message) = self.queue.front()
            && take(message)
        {
            self.bytes -= cost(message);
            if let Some(message) = self.queue.pop_front() {
                message.recycle();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use switchback_core::MessageKind;

    use super::super::Machine;
    use super::*;

    /// Whatever way it goes.
    #[test]
    fn the_memory_of_what_was_sent_serves_the_next_message() {
        let copy = || Message::from_copy(MessageKind::Text, b"message").unwrap();
        let mut plain = Plain::default();
        let first = copy();
        let place = first.as_bytes().as_ptr();
        plain.transmit(&mut [first].into_iter(), |_| true);
        // What is free is taken by others.
        let mut others: Vec<_> = (0..100).map(|_| b"message".to_vec()).collect();
        let second = copy();
        assert_eq!(second.as_bytes().as_ptr(), place);
        Machine::Plain(Box::new(plain)).sent(Instant::now(), 0, second);
        others.extend((0..100).map(|_| b"message".to_vec()));
        assert_eq!(copy().as_bytes().as_ptr(), place);
    }
}
