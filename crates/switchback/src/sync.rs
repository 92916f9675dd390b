//! The lock and the flags of what `models/` takes through its interleavings: there, loom's are in their
//! place.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};
