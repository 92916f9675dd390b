use std::sync::{Arc, Weak};

use loom::sync::{Condvar, Mutex};

use crate::Shared;

/// The janitor of one connection, which it serves until there is nothing left to do.
#[derive(Default)]
pub(crate) struct Janitor {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: Option<Weak<Shared>>,
    stopped: bool,
}

impl Janitor {
    pub(crate) fn enqueue(&self, connection: Weak<Shared>) {
        self.state.lock().unwrap().ready = Some(connection);
        self.changed.notify_one();
    }

    /// In a moment is any time from now on.
    pub(crate) fn enqueue_soon(&self, connection: Weak<Shared>) {
        self.enqueue(connection);
    }

    pub(crate) fn stop(&self) {
        self.state.lock().unwrap().stopped = true;
        self.changed.notify_one();
    }

    /// Serves until it is stopped.
    pub(crate) fn run(&self) {
        while let Some(connection) = self.next() {
            connection.serve();
        }
    }

    fn next(&self) -> Option<Arc<Shared>> {
        let mut state = self.state.lock().unwrap();
        while !state.stopped {
            if let Some(ready) = state.ready.take() {
                return ready.upgrade();
            }
            state = self.changed.wait(state).unwrap();
        }
        None
    }
}
