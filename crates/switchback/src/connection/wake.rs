use std::sync::{Arc, PoisonError, Weak};
use std::task::{Wake, Waker};

use super::Shared;
use crate::janitor::Janitor;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// The waker that every transport of a connection holds.
///
/// It wakes the application's task while that waits for the connection, and otherwise asks the
/// janitor to drive the connection. So a connection needs no task of its own, and none stalls
/// because its application is busy elsewhere.
pub(crate) struct ConnectionWaker {
    /// Something calls for a drive, and somebody was told. Cleared when a drive begins.
    pending: AtomicBool,
    /// A transport called since the last drive began, so that reading may find something.
    readable: AtomicBool,
    /// The janitor was asked to look in a moment.
    soon: AtomicBool,
    state: Mutex<State>,
    connection: Weak<Shared>,
    janitor: Arc<Janitor>,
}

#[derive(Default)]
struct State {
    application: Option<Waker>,
    /// Handed to the janitor, which has not come round yet.
    queued: bool,
}

impl ConnectionWaker {
    pub(crate) fn new(connection: Weak<Shared>, janitor: Arc<Janitor>) -> Self {
        Self {
            pending: AtomicBool::new(false),
            readable: AtomicBool::new(true),
            soon: AtomicBool::new(false),
            state: Mutex::default(),
            connection,
            janitor,
        }
    }

    /// Call before driving: whatever calls from now on wants another drive. Returns whether a
    /// transport may have something to read.
    pub(crate) fn begin(&self) -> bool {
        // A swap, not a store: it sees what was done before each of the calls that it takes away.
        self.pending.swap(false, Ordering::SeqCst);
        self.readable.swap(false, Ordering::SeqCst)
    }

    /// Tells whether something calls for a drive.
    pub(crate) fn is_called(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }

    /// Asks for a drive, for another reason than a transport's.
    pub(crate) fn call(&self) {
        if self.pending.swap(true, Ordering::SeqCst) {
            return; // Somebody was told and has not begun.
        }
        let mut state = self.lock();
        if let Some(waker) = state.application.take() {
            drop(state);
            waker.wake();
        } else {
            self.enqueue(state);
        }
    }

    /// Registers the application's task. Wakes it at once if something called meanwhile.
    ///
    /// Call it while the connection is locked, so that whoever drives next finds the task.
    pub(crate) fn wait(&self, waker: &Waker) {
        {
            let mut state = self.lock();
            match &mut state.application {
                Some(registered) => registered.clone_from(waker),
                empty => *empty = Some(waker.clone()),
            }
        }
        if self.pending.load(Ordering::SeqCst) {
            self.wake_application();
        }
    }

    /// The application went away; if it was called and has not come, the janitor is.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.application = None;
        if self.pending.load(Ordering::SeqCst) {
            self.enqueue(state);
        }
    }

    /// Wakes the application's task because there is something for it to take. Without one that
    /// waits nothing happens: the next call finds it.
    pub(crate) fn wake_application(&self) {
        let waker = self.lock().application.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Has the janitor drive the connection, whether or not the application waits.
    pub(crate) fn nudge(&self) {
        self.enqueue(self.lock());
    }

    /// Has the janitor look in a moment, in case that nobody else drives until then.
    pub(crate) fn nudge_soon(&self) {
        if !self.soon.load(Ordering::Relaxed) && !self.soon.swap(true, Ordering::SeqCst) {
            self.janitor.enqueue_soon(self.connection.clone());
        }
    }

    /// The janitor has come. Returns whether it was asked to, and not only to look in a moment.
    pub(crate) fn served(&self) -> bool {
        self.soon.store(false, Ordering::SeqCst);
        std::mem::take(&mut self.lock().queued)
    }

    fn enqueue(&self, mut state: MutexGuard<'_, State>) {
        if !state.queued {
            state.queued = true;
            drop(state);
            self.janitor.enqueue(self.connection.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.readable.store(true, Ordering::SeqCst);
        self.call();
    }
}
