//! A rate at which clients send, one after the other.

use std::time::{Duration, Instant};

/// Turns at even times. One that a client cannot use yet is kept for it.
#[derive(Debug)]
pub(super) struct Pace {
    between: Duration,
    due: Instant,
    next: usize,
    turns: Vec<u64>,
}

impl Pace {
    /// So many turns a second among all clients.
    pub(super) fn new(clients: usize, rate: f64) -> Self {
        Self {
            between: Duration::from_secs_f64(1.0 / rate.max(0.001)),
            due: Instant::now(),
            next: 0,
            turns: vec![0; clients],
        }
    }

    /// The client whose turn has come, if the next turn is due.
    pub(super) fn next(&mut self, now: Instant) -> Option<usize> {
        if now < self.due {
            return None;
        }
        let client = self.next;
        self.turns[client] += 1;
        self.due += self.between;
        self.next = (client + 1) % self.turns.len();
        Some(client)
    }

    /// Takes a turn of a client, if it has one.
    pub(super) fn take(&mut self, client: usize) -> bool {
        let turns = &mut self.turns[client];
        let has = *turns > 0;
        *turns -= u64::from(has);
        has
    }

    /// How long no turn is due.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_at_even_times_and_are_kept() {
        let mut pace = Pace::new(2, 10.0);
        let begin = pace.due;
        let at = |millis| begin + Duration::from_millis(millis);
        assert_eq!(pace.next(at(0)), Some(0));
        assert_eq!(pace.next(at(0)), None);
        assert_eq!(pace.wait(at(60)), Duration::from_millis(40));
        assert_eq!(pace.next(at(250)), Some(1));
        assert_eq!(pace.next(at(250)), Some(0));
        assert_eq!(pace.next(at(250)), None);
        let taken = [0, 0, 0, 1, 1].map(|client| pace.take(client));
        assert_eq!(taken, [true, true, false, true, false]);
    }
}
