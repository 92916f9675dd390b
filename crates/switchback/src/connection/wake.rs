use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Wake, Waker};

use super::Shared;
use crate::janitor::Janitor;

/// The waker that every transport of a connection holds.
///
/// It wakes the application's task while that waits for the connection, and otherwise asks the
/// janitor to drive the connection. So a connection needs no task of its own, and none stalls
/// because its application is busy elsewhere.
pub(crate) struct ConnectionWaker {
    state: Mutex<State>,
    connection: Weak<Shared>,
    janitor: Arc<Janitor>,
}

#[derive(Default)]
struct State {
    application: Option<Waker>,
    /// Woken since the connection was last driven.
    woken: bool,
    /// Handed to the janitor, which has not come round yet.
    queued: bool,
}

impl ConnectionWaker {
    pub(crate) fn new(connection: Weak<Shared>, janitor: Arc<Janitor>) -> Self {
        Self {
            state: Mutex::default(),
            connection,
            janitor,
        }
    }

    /// Call before driving: whatever wakes from now on calls for another round.
    pub(crate) fn begin(&self) {
        let mut state = self.lock();
        state.woken = false;
        state.queued = false;
    }

    /// Registers the application's task. Wakes it at once if something happened meanwhile.
    pub(crate) fn wait(&self, waker: &Waker) {
        let mut state = self.lock();
        if state.woken {
            drop(state);
            waker.wake_by_ref();
            return;
        }
        match &mut state.application {
            Some(registered) => registered.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    /// The application went away without driving the connection.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.application = None;
        if state.woken && !state.queued {
            state.queued = true;
            drop(state);
            self.janitor.enqueue(self.connection.clone());
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

    /// Asks the janitor to drive the connection soon, whether or not the application waits.
    pub(crate) fn nudge(&self) {
        let mut state = self.lock();
        if !state.queued {
            state.queued = true;
            drop(state);
            self.janitor.enqueue(self.connection.clone());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.lock();
        state.woken = true;
        if let Some(waker) = state.application.take() {
            drop(state);
            waker.wake();
        } else if !state.queued {
            state.queued = true;
            drop(state);
            self.janitor.enqueue(self.connection.clone());
        }
    }
}
