//! What must hold, whatever happens.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use switchback_core::Message;

/// One direction of one session: what the application on one side sent, and how much of it the
/// application on the other side received.
#[derive(Debug, Default)]
pub(super) struct Stream {
    sent: Vec<Message>,
    received: usize,
}

impl Stream {
    pub(super) fn sent(&mut self, message: Message) {
        self.sent.push(message);
    }

    /// Exactly once and in order: this must be the next one.
    pub(super) fn received(&mut self, message: &Message) {
        let expected = self.sent.get(self.received);
        assert_eq!(expected, Some(message), "message {}", self.received + 1);
        self.received += 1;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.received == self.sent.len()
    }

    /// What is given back must be the end of what was sent, and hold all that was not received.
    pub(super) fn given_back(&self, unacknowledged: &[Message]) {
        let from = self.sent.len().checked_sub(unacknowledged.len());
        let from = from.expect("more was given back than was sent");
        assert_eq!(
            self.sent[from..],
            *unacknowledged,
            "other messages were given back"
        );
        assert!(
            from <= self.received,
            "messages {}..={from} were neither received nor given back",
            self.received + 1
        );
    }

    /// The same, and holds nothing else.
    pub(super) fn given_back_exactly(&self, unacknowledged: &[Message]) {
        let missing = self.sent.len() - self.received;
        assert_eq!(missing, unacknowledged.len(), "received and given back");
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.sent.len(), self.received)
    }
}

/// Watches the rate of starts.
#[derive(Debug)]
pub(super) struct Starts {
    limit: usize,
    window: Duration,
    recent: VecDeque<Instant>,
}

impl Starts {
    pub(super) fn new((limit, window): (usize, Duration)) -> Self {
        Self {
            limit,
            window,
            recent: VecDeque::new(),
        }
    }

    pub(super) fn started(&mut self, now: Instant) {
        self.recent.retain(|at| *at + self.window > now);
        self.recent.push_back(now);
        assert!(
            self.recent.len() <= self.limit,
            "{} starts within {:?}",
            self.recent.len(),
            self.window
        );
    }
}
