use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use switchback_http::ConnectionId;
use tokio::time::Instant;

/// How many closed connections are remembered at most. A client of one that was forgotten early
/// learns that its connection is unknown instead of why it was closed.
const MAX: usize = 1024;

/// The closed connections whose clients may still ask why, oldest first.
///
/// All linger equally long, so that the order of closing is the order of forgetting. No task
/// watches over them: the requests of other connections do, in passing. On a server without
/// requests the last few stay, which harms nobody.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    /// The length of the queue, so that a server without lingering connections takes no lock.
    len: AtomicUsize,
    queue: Mutex<VecDeque<(ConnectionId, Instant)>>,
}

impl Lingering {
    /// Adds a connection. Returns the one that must be forgotten for it, if any.
    pub(super) fn add(&self, id: ConnectionId, until: Instant) -> Option<ConnectionId> {
        let mut queue = self.lock();
        let oldest = if queue.len() == MAX {
            queue.pop_front()
        } else {
            None
        };
        queue.push_back((id, until));
        self.len.store(queue.len(), Ordering::Relaxed);
        oldest.map(|(id, _)| id)
    }

    /// Takes out the oldest connection if its time has come.
    pub(super) fn next_until(&self, now: Instant) -> Option<ConnectionId> {
        self.pop_if(|until| until <= now)
    }

    /// Takes out the oldest connection.
    pub(super) fn pop_oldest(&self) -> Option<ConnectionId> {
        self.pop_if(|_| true)
    }

    fn pop_if(&self, condition: impl FnOnce(Instant) -> bool) -> Option<ConnectionId> {
        // A length that is out of date is corrected by the next request.
        if self.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut queue = self.lock();
        let &(id, until) = queue.front()?;
        if !condition(until) {
            return None;
        }
        queue.pop_front();
        self.len.store(queue.len(), Ordering::Relaxed);
        Some(id)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(ConnectionId, Instant)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn forgets_in_order_and_not_early() {
        let lingering = Lingering::default();
        let now = Instant::now();
        let ids = [ConnectionId::random(), ConnectionId::random()];
        lingering.add(ids[0], now + Duration::from_secs(1));
        lingering.add(ids[1], now + Duration::from_secs(2));
        assert_eq!(lingering.next_until(now), None);
        let later = now + Duration::from_secs(1);
        assert_eq!(lingering.next_until(later), Some(ids[0]));
        assert_eq!(lingering.next_until(later), None);
        assert_eq!(lingering.pop_oldest(), Some(ids[1]));
        assert_eq!(lingering.pop_oldest(), None);
    }

    #[test]
    fn is_bounded() {
        let lingering = Lingering::default();
        let now = Instant::now();
        let first = ConnectionId::random();
        assert_eq!(lingering.add(first, now), None);
        for _ in 1..MAX {
            assert_eq!(lingering.add(ConnectionId::random(), now), None);
        }
        assert_eq!(lingering.add(ConnectionId::random(), now), Some(first));
    }
}
