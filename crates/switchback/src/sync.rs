//! The lock and the flags of what `models/` takes through its interleavings: there, loom's are in their
//! place.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};
