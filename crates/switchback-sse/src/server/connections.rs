use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;
use switchback_http::{ConnectionId, Refusal, Registry};
use tokio::time::Instant;

use super::endpoint::Link;

/// The connections of a server, those included whose stream was cut, for as long as they take POSTs.
///
/// The owner of one that was cut learns it by receiving, and gives it up. One that only sends may
/// not look for long. It must not take the place of others meanwhile, so those that are over are
/// forgotten in passing, whenever a connection comes or is counted.
#[derive(Debug)]
pub(super) struct Connections {
    registry: Registry<Link>,
    /// All take POSTs equally long, so that the order of the cuts is the order of forgetting.
    cut: Mutex<VecDeque<(Instant, ConnectionId)>>,
}

impl Connections {
    pub(super) fn new(max: usize) -> Self {
        Self {
            registry: Registry::new(max),
            cut: Mutex::default(),
        }
    }

    pub(super) fn insert(
        &self,
        make: impl FnOnce(ConnectionId) -> Arc<Link>,
    ) -> Result<Arc<Link>, Refusal> {
        self.forget_late();
        self.registry.insert(make)
    }

    pub(super) fn of_request<B>(&self, request: &Request<B>) -> Result<Arc<Link>, Refusal> {
        self.registry.of_request(request)
    }

    pub(super) fn remove(&self, id: &ConnectionId) {
        self.registry.remove(id);
    }

    /// Forgets a connection at a time, or when the next comes after it.
    pub(super) fn remove_at(&self, until: Instant, id: ConnectionId) {
        self.forget_late();
        self.cut().push_back((until, id));
    }

    pub(super) fn len(&self) -> usize {
        self.forget_late();
        self.registry.len()
    }

    fn forget_late(&self) {
        let now = Instant::now();
        while let Some(id) = self.next_late(now) {
            self.registry.remove(&id);
        }
    }

    fn next_late(&self, now: Instant) -> Option<ConnectionId> {
        let mut cut = self.cut();
        let is_over = cut.front().is_some_and(|(until, _)| *until <= now);
        let (_, id) = is_over.then(|| cut.pop_front())??;
        Some(id)
    }

    fn cut(&self) -> MutexGuard<'_, VecDeque<(Instant, ConnectionId)>> {
        // Nothing panics under the lock.
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
