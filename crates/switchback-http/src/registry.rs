use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderValue, Request, StatusCode, header};

use crate::{ConnectionId, Refusal, headers};

/// The live connections of a server by id, at most so many at a time.
///
/// Sharded, so that requests of different connections rarely wait for each other.
pub struct Registry<T> {
    max: usize,
    len: AtomicUsize,
    shards: Box<[Mutex<Shard<T>>]>,
}

type Shard<T> = HashMap<ConnectionId, Arc<T>>;

/// Enough that lookups on all cores of a large machine seldom meet.
const SHARDS: usize = 16;

/// How many seconds a client that found the registry full should wait.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

impl<T> Registry<T> {
    /// Makes a registry for at most `max` connections.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            len: AtomicUsize::new(0),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Adds what `make` makes of a new id.
    ///
    /// # Errors
    ///
    /// 503 `unavailable` when the registry is full; `make` is not called then.
    pub fn insert(&self, make: impl FnOnce(ConnectionId) -> Arc<T>) -> Result<Arc<T>, Refusal> {
        let slot = Slot::take(&self.len, self.max).ok_or_else(|| {
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "this server has no room for another connection now",
            )
            .with_header(header::RETRY_AFTER, RETRY_AFTER)
        })?;
        let id = ConnectionId::random();
        // Not under the lock: what `make` does is not known here.
        let value = make(id);
        if self.shard(&id).insert(id, Arc::clone(&value)).is_none() {
            slot.keep();
        }
        Ok(value)
    }

    /// Finds a connection.
    pub fn get(&self, id: &ConnectionId) -> Option<Arc<T>> {
        self.shard(id).get(id).cloned()
    }

    /// Forgets a connection. An unknown id is no error.
    pub fn remove(&self, id: &ConnectionId) {
        // The lock is released before the value is dropped, whose drop may come back here.
        let removed = self.shard(id).remove(id);
        if removed.is_some() {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns how many connections there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds the connection that a request belongs to, by its header `Switchback-Connection`.
    ///
    /// # Errors
    ///
    /// 400 `bad_request` when the header is missing, 404 `unknown_connection` when
    /// there is no such connection.
    pub fn of_request<B>(&self, request: &Request<B>) -> Result<Arc<T>, Refusal> {
        let Some(value) = request.headers().get(headers::CONNECTION) else {
            return Err(Refusal::bad_request(
                "the header switchback-connection is missing",
            ));
        };
        // Ids are opaque to clients: one of another form was never issued.
        let id: Option<ConnectionId> = value.to_str().ok().and_then(|text| text.parse().ok());
        id.and_then(|id| self.get(&id))
            .ok_or_else(Refusal::unknown_connection)
    }

    fn shard(&self, id: &ConnectionId) -> MutexGuard<'_, Shard<T>> {
        self.shards[id.shard(SHARDS)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Registry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("len", &self.len())
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

/// A place in the count, given back unless it is kept.
struct Slot<'a>(&'a AtomicUsize);

impl<'a> Slot<'a> {
    fn take(len: &'a AtomicUsize, max: usize) -> Option<Self> {
        len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |len| {
            (len < max).then(|| len + 1)
        })
        .ok()
        .map(|_| Self(len))
    }

    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_until_removed() {
        let registry = Registry::new(10);
        let id = *registry.insert(Arc::new).unwrap();
        assert_eq!(registry.get(&id).as_deref(), Some(&id));
        assert_eq!(registry.len(), 1);
        registry.remove(&id);
        registry.remove(&id);
        assert_eq!(registry.get(&id), None);
        assert!(registry.is_empty());
    }

    #[test]
    fn is_bounded() {
        let registry = Registry::new(2);
        let first = registry.insert(Arc::new).unwrap();
        registry.insert(Arc::new).unwrap();
        let refusal = registry
            .insert(|_| panic!("made although there is no room"))
            .unwrap_err();
        assert_eq!(
            (refusal.status(), refusal.error()),
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        );
        assert!(
            refusal
                .into_response()
                .headers()
                .contains_key(header::RETRY_AFTER)
        );
        registry.remove(&first);
        assert!(registry.insert(Arc::new).is_ok());
    }

    #[test]
    fn a_drop_may_come_back() {
        struct Connection(Arc<Registry<Connection>>, ConnectionId);
        impl Drop for Connection {
            fn drop(&mut self) {
                self.0.remove(&self.1);
            }
        }
        let registry = Arc::new(Registry::new(1));
        let made = registry
            .insert(|id| Arc::new(Connection(Arc::clone(&registry), id)))
            .unwrap();
        let id = made.1;
        drop(made);
        registry.remove(&id);
        assert!(registry.is_empty());
    }

    #[test]
    fn a_panic_gives_the_place_back() {
        let registry = Registry::<ConnectionId>::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            registry.insert(|_| panic!("on purpose"))
        }));
        assert!(panicked.is_err());
        assert!(registry.insert(Arc::new).is_ok());
    }

    #[test]
    fn finds_by_request() {
        let registry = Registry::new(10);
        let id = *registry.insert(Arc::new).unwrap();
        let of = |value: Option<&str>| {
            let mut request = Request::new(());
            if let Some(value) = value {
                let value = HeaderValue::from_str(value).unwrap();
                request.headers_mut().insert(headers::CONNECTION, value);
            }
            registry
                .of_request(&request)
                .map(|found| *found)
                .map_err(|refusal| (refusal.status().as_u16(), refusal.error()))
        };
        assert_eq!(of(Some(&id.to_string())), Ok(id));
        assert_eq!(of(None), Err((400, "bad_request")));
        assert_eq!(of(Some("")), Err((404, "unknown_connection")));
        assert_eq!(of(Some("nonsense")), Err((404, "unknown_connection")));
        let other = ConnectionId::random().to_string();
        assert_eq!(of(Some(&other)), Err((404, "unknown_connection")));
    }
}
