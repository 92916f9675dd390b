use std::ptr;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Wake, Waker};

use super::Shared;
use crate::janitor::Janitor;
use crate::sync::{AtomicBool, AtomicU8, Mutex, MutexGuard, Ordering};

/// The waker that every transport of a connection holds.
///
/// It wakes the application's task while that waits for the connection, and otherwise asks the
/// janitor to drive the connection. So a connection needs no task of its own, and none stalls
/// because its application is busy elsewhere.
// What a call touches comes first, beside the counts of the `Arc`: with thousands of connections it is
// cold.
#[repr(C)]
pub(crate) struct ConnectionWaker {
    /// What is going on, in bits. One location, so that everybody agrees on what came first.
    flags: AtomicU8,
    /// The janitor was asked to look in a moment.
    soon: AtomicBool,
    state: Mutex<State>,
    connection: Weak<Shared>,
    janitor: Arc<Janitor>,
}

/// Something calls for a drive, and somebody was told. Cleared when a drive begins.
const CALLED: u8 = 1;
/// A transport called since the last drive began, so that reading may find something.
const READABLE: u8 = 2;
/// The application's task waits, and comes when it is woken.
const WAITING: u8 = 4;
/// The task that waited last is still registered.
const REGISTERED: u8 = 8;

/// Which task a waker wakes, for comparison while it is registered: until then its task is not
/// freed, and no other is where it was.
pub(super) type TaskId = (usize, usize);

fn task_id(waker: &Waker) -> TaskId {
    (waker.data().addr(), ptr::from_ref(waker.vtable()).addr())
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
            flags: AtomicU8::new(READABLE),
            soon: AtomicBool::new(false),
            state: Mutex::default(),
            connection,
            janitor,
        }
    }

    /// Call before driving: whatever calls from now on wants another drive. Returns whether a
    /// transport may have something to read.
    pub(crate) fn begin(&self) -> bool {
        self.clear(CALLED | READABLE) & READABLE != 0
    }

    /// [Begins](Self::begin), in the application's task.
    pub(crate) fn begin_awake(&self) -> bool {
        self.clear(CALLED | READABLE | WAITING) & READABLE != 0
    }

    /// Tells whether something calls for a drive.
    pub(crate) fn is_called(&self) -> bool {
        self.has(CALLED)
    }

    /// Tells whether the application waits: whatever calls, its task comes.
    pub(crate) fn is_awaited(&self) -> bool {
        self.has(WAITING)
    }

    /// Asks for a drive, for another reason than a transport's.
    pub(crate) fn call(&self) {
        self.call_with(CALLED);
    }

    fn call_with(&self, bits: u8) {
        let before = self.flags.fetch_or(bits, Ordering::AcqRel);
        if before & CALLED != 0 {
            return; // Somebody was told and has not begun.
        }
        if before & WAITING != 0 {
            self.wake_registered();
        } else {
            self.enqueue(self.lock());
        }
    }

    /// The application's task waits from now on. Wakes it at once if something called meanwhile.
    /// `last` is the caller's, one for each connection: the task that waited last, which most often is
    /// this one, and registered.
    ///
    /// Call it while the connection is locked, so that whoever drives next finds the task.
    pub(crate) fn wait(&self, waker: &Waker, last: &mut TaskId) {
        let task = task_id(waker);
        if *last != task || !self.has(REGISTERED) {
            *last = task;
            let before = self.lock().application.replace(waker.clone());
            drop(before);
        }
        if self.flags.fetch_or(WAITING | REGISTERED, Ordering::AcqRel) & CALLED != 0 {
            self.wake_registered();
        }
    }

    /// The application's task does not wait any more, but is at work.
    pub(crate) fn stop_waiting(&self) {
        if self.has(WAITING) {
            self.clear(WAITING);
        }
    }

    /// The application went away; if it was called and has not come, the janitor is.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        let before = state.application.take();
        if self.clear(WAITING | REGISTERED) & CALLED != 0 {
            self.enqueue(state);
        } else {
            drop(state);
        }
        // Neither dropped nor woken while anything is locked: nobody knows what that does.
        drop(before);
    }

    /// Wakes the application's task because there is something for it to take. Without one that
    /// waits nothing happens: the next call finds it.
    pub(crate) fn wake_application(&self) {
        if self.has(WAITING) {
            self.wake_registered();
        }
    }

    fn wake_registered(&self) {
        let waker = self.lock().application.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Has the janitor drive the connection, whether or not the application waits.
    pub(crate) fn nudge(&self) {
        self.enqueue(self.lock());
    }

    /// Has the janitor look in a moment, in case that nobody else drives until then.
    #[inline]
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

    #[inline]
    fn has(&self, bits: u8) -> bool {
        self.flags.load(Ordering::Acquire) & bits != 0
    }

    /// Clears bits, and returns what was set before. It sees what was done before each of the calls
    /// that it takes away.
    fn clear(&self, bits: u8) -> u8 {
        self.flags.fetch_and(!bits, Ordering::AcqRel)
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
        self.call_with(CALLED | READABLE);
    }
}
