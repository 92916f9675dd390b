//! What `sync.rs` of the facade is here.

pub(crate) use loom::sync::atomic::{AtomicU8, Ordering};
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// A flag of loom's, but for its stores: loom lets a store slip in between the read and the write of a
/// swap (tokio-rs/loom#254). A swap that releases and does not acquire comes closest.
pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn new(value: bool) -> Self {
        Self(loom::sync::atomic::AtomicBool::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: bool, _order: Ordering) {
        self.0.swap(value, Ordering::Release);
    }

    pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.swap(value, order)
    }
}
