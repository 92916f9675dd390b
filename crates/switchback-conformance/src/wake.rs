use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The waker of one end: remembers that the end wants to be polled, and wakes the task of the case.
///
/// Each end is polled only when this was woken, as if it had a task of its own. Otherwise the
/// traffic of one end would hide that the other forgot its waker.
#[derive(Default)]
pub(crate) struct EndWaker {
    woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl EndWaker {
    /// Sets the task to wake.
    pub(crate) fn register(&self, task: &Waker) {
        let mut slot = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *slot {
            Some(old) => old.clone_from(task),
            None => *slot = Some(task.clone()),
        }
    }

    /// Tells whether the end was woken since the last call.
    pub(crate) fn take(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Lets the end be polled in any case.
    pub(crate) fn force(&self) {
        self.woken.store(true, Ordering::Release);
    }
}

impl Wake for EndWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.force();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            task.wake_by_ref();
        }
    }
}
