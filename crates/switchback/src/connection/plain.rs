use std::collections::VecDeque;

use switchback_core::{CloseReason, Message};

/// The machine of a connection without a session: one transport, nothing survives it.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    queue: VecDeque<Message>,
    bytes: usize,
    /// What the application, or the peer, closes with.
    pub(super) closing: Option<CloseReason>,
    pub(super) closed: bool,
}

/// How much is taken out of the outbox ahead of the transport.
const AHEAD: usize = 16 * 1024;

impl Plain {
    pub(super) fn is_writable(&self) -> bool {
        self.bytes < AHEAD && !self.closed && self.closing.is_none()
    }

    pub(super) fn send(&mut self, message: Message) {
        self.bytes += message.len() + super::outbox::OVERHEAD;
        self.queue.push_back(message);
    }

    pub(super) fn next_transmit(&self) -> Option<&Message> {
        self.queue.front()
    }

    pub(super) fn transmitted(&mut self) {
        if let Some(message) = self.queue.pop_front() {
            self.bytes -= message.len() + super::outbox::OVERHEAD;
        }
    }
}
