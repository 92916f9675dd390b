//! The task that serves the connections of an endpoint (or the one of a client) whose application is
//! busy elsewhere, keeps their timers, and delivers what broadcasts bring. An endpoint has as many as
//! its runtime has threads, and each connection has one of them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::connection::Shared;

/// Keeps the timers and drives what nobody else drives.
///
/// An idle connection has one entry in a heap and no timer of the runtime. Timers are lazy: a
/// deadline that moves later leaves its entry alone, which then fires early and is armed anew.
pub(crate) struct Janitor {
    state: Mutex<State>,
    notify: Arc<Notify>,
}

#[derive(Default)]
struct State {
    ready: Vec<Weak<Shared>>,
    /// Broadcasts have something for them.
    published: VecDeque<Arc<Shared>>,
    /// To be served at a time that they share.
    soon: Vec<Weak<Shared>>,
    soon_at: Option<Instant>,
    timers: BinaryHeap<Reverse<Timer>>,
    /// Connections that the application dropped and that still deliver what it sent.
    closing: HashMap<usize, Arc<Shared>>,
    started: bool,
}

struct Timer {
    at: Instant,
    connection: Weak<Shared>,
}

/// After how many deliveries others have their turn. A runtime lets a task do twice as much at a time.
const DELIVERIES: usize = 64;

/// How long a reply may wait for others that leave in the same write, at most.
const SOON: Duration = Duration::from_millis(2);

/// The janitors of an endpoint.
pub(crate) struct Janitors {
    all: Box<[Arc<Janitor>]>,
    /// How many connections have got theirs.
    given: AtomicUsize,
}

impl Janitors {
    /// Makes one for each thread of the runtime.
    pub(crate) fn new() -> Self {
        let workers = Handle::try_current().map(|runtime| runtime.metrics().num_workers());
        let count = workers.unwrap_or_else(|_| available_parallelism().map_or(1, usize::from));
        Self {
            all: (0..count).map(|_| Janitor::new()).collect(),
            given: AtomicUsize::new(0),
        }
    }

    /// Returns the one of a new connection: all get as many.
    pub(crate) fn next(&self) -> &Arc<Janitor> {
        let given = self.given.fetch_add(1, Ordering::Relaxed);
        &self.all[given % self.all.len()]
    }
}

impl Janitor {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            notify: Arc::default(),
        })
    }

    /// Has the connection driven as soon as the janitor comes round.
    pub(crate) fn enqueue(self: &Arc<Self>, connection: Weak<Shared>) {
        self.change(|state| state.ready.push(connection));
        self.notify.notify_one();
    }

    /// Has what was published delivered to the connection: in this task and not in the application's,
    /// which has nothing to do with it. To wake that costs more than the rest of a delivery, beside
    /// the write itself.
    pub(crate) fn deliver(self: &Arc<Self>, connection: Arc<Shared>) {
        let first = self.change(|state| {
            state.published.push_back(connection);
            state.published.len() == 1
        });
        if first {
            self.notify.notify_one();
        }
    }

    /// Has the connection driven in a moment.
    pub(crate) fn enqueue_soon(self: &Arc<Self>, connection: Weak<Shared>) {
        let first = self.change(|state| {
            state.soon.push(connection);
            let first = state.soon_at.is_none();
            if first {
                state.soon_at = Some(Instant::now() + SOON);
            }
            first
        });
        if first {
            self.notify.notify_one();
        }
    }

    /// Has the connection driven at a time.
    pub(crate) fn arm(self: &Arc<Self>, at: Instant, connection: Weak<Shared>) {
        let earliest = self.change(|state| {
            let earliest = state.timers.peek().is_none_or(|first| at < first.0.at);
            state.timers.push(Reverse(Timer { at, connection }));
            earliest
        });
        if earliest {
            self.notify.notify_one();
        }
    }

    /// Keeps a connection alive until it is closed.
    pub(crate) fn adopt(self: &Arc<Self>, connection: Arc<Shared>) {
        let weak = Arc::downgrade(&connection);
        self.change(|state| {
            state.closing.insert(address(&connection), connection);
            state.ready.push(weak);
        });
        self.notify.notify_one();
    }

    /// Changes the state, and starts the task with the first change.
    fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        if !state.started {
            // Outside a runtime there is nobody to drive; a later call inside one starts it.
            if let Ok(runtime) = Handle::try_current() {
                state.started = true;
                runtime.spawn(run(Arc::downgrade(self), self.notify.clone()));
            }
        }
        change(&mut state)
    }

    /// Returns whether there are more deliveries than were made.
    fn deliver_some(&self) -> bool {
        let now = Instant::now();
        for _ in 0..DELIVERIES {
            let connection = self.lock().published.pop_front();
            let Some(connection) = connection else {
                return false;
            };
            connection.deliver(now);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn round(&self) -> Option<Instant> {
        let now = Instant::now();
        let due = {
            let mut state = self.lock();
            let mut due = std::mem::take(&mut state.ready);
            if state.soon_at.is_some_and(|at| at <= now) {
                state.soon_at = None;
                due.append(&mut state.soon);
            }
            while state.timers.peek().is_some_and(|first| first.0.at <= now) {
                due.extend(state.timers.pop().map(|timer| timer.0.connection));
            }
            due
        };
        // The janitor's lock is never held while a connection's is taken: connections take them
        // in the other order.
        let mut done = Vec::new();
        let mut round = Round { janitor: self, due };
        round.due.reverse();
        while let Some(connection) = round.due.pop() {
            if let Some(connection) = connection.upgrade()
                && connection.serve(now)
            {
                done.push(connection);
            }
        }
        let due = std::mem::take(&mut round.due);
        let mut state = self.lock();
        let adopted: Vec<_> = done
            .iter()
            .filter_map(|connection| state.closing.remove(&address(connection)))
            .collect();
        if state.ready.capacity() == 0 {
            state.ready = due;
        }
        let timer = state.timers.peek().map(|first| first.0.at);
        let next = timer.into_iter().chain(state.soon_at).min();
        drop(state);
        // Last references end here, outside of the lock.
        drop((done, adopted));
        next
    }
}

/// What is left of a round. Should one connection panic, the others are served in the next round.
struct Round<'a> {
    janitor: &'a Janitor,
    due: Vec<Weak<Shared>>,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if !self.due.is_empty() {
            let mut state = self.janitor.lock();
            state.ready.append(&mut self.due);
        }
    }
}

/// What tells connections apart.
fn address(connection: &Arc<Shared>) -> usize {
    Arc::as_ptr(connection).addr()
}

/// Holds the janitor only while it works, so that the task ends with the janitor's last user.
async fn run(janitor: Weak<Janitor>, notify: Arc<Notify>) {
    let _restart = Restart(janitor.clone());
    loop {
        let Some(this) = janitor.upgrade() else {
            return;
        };
        let next = this.round();
        let more = this.deliver_some();
        drop(this);
        if more {
            tokio::task::yield_now().await;
            continue;
        }
        match next {
            Some(at) => {
                // The outcome does not matter: the round finds out what is due.
                let _ = timeout_at(at.into(), notify.notified()).await;
            }
            None => notify.notified().await,
        }
    }
}

/// Lets the next call start the task again, should it end early: with its runtime, or by a panic in
/// a transport.
struct Restart(Weak<Janitor>);

impl Drop for Restart {
    fn drop(&mut self) {
        if let Some(janitor) = self.0.upgrade() {
            janitor.lock().started = false;
            if std::thread::panicking() {
                // What the others wait for goes on.
                janitor.change(|_| ());
                janitor.notify.notify_one();
            }
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.notify.notify_one();
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
