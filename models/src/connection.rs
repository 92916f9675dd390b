use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Mutex, MutexGuard};

use crate::janitor::Janitor;
use crate::wake::{ConnectionWaker, TaskId};

/// What `connection/shared/` does with the waker, on messages that are only counted.
///
/// Whoever makes a message tells of it by the waker and nothing else: the counters are relaxed.
pub(crate) struct Shared {
    driver: Mutex<Driver>,
    waker: Arc<ConnectionWaker>,
    janitor: Arc<Janitor>,
    /// Messages that have come on the transport.
    received: AtomicUsize,
    /// Messages that the application's tasks have queued.
    queued: AtomicUsize,
    /// How many of both there will be.
    expected: (usize, usize),
}

#[derive(Default)]
struct Driver {
    read: usize,
    written: usize,
    /// What was read and the application has not taken.
    inbound: usize,
    /// The task that waited last.
    task: TaskId,
}

impl Shared {
    pub(crate) fn new(janitor: &Arc<Janitor>, expected: (usize, usize)) -> Arc<Self> {
        Arc::new_cyclic(|this| {
            let waker = Arc::new(ConnectionWaker::new(this.clone(), janitor.clone()));
            Self {
                driver: Mutex::default(),
                waker,
                janitor: janitor.clone(),
                received: AtomicUsize::new(0),
                queued: AtomicUsize::new(0),
                expected,
            }
        })
    }

    /// The transport is there.
    pub(crate) fn plug(&self) {
        self.waker.nudge();
    }

    /// A message comes on the transport, which has the connection's waker.
    pub(crate) fn receive(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
        self.waker.wake_by_ref();
    }

    /// A task queues a message.
    pub(crate) fn send(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.waker.call();
    }

    /// What the application's task does.
    pub(crate) fn poll_event(&self, task: &Waker) -> Poll<()> {
        let mut driver = self.lock();
        if driver.take() {
            self.waker.stop_waiting();
            if self.waker.is_called() {
                self.waker.nudge_soon();
            }
            return Poll::Ready(());
        }
        if self.waker.is_called() {
            let readable = self.waker.begin_awake();
            self.drive(&mut driver, readable);
            if driver.take() {
                return Poll::Ready(());
            }
        }
        self.waker.wait(task, &mut driver.task);
        Poll::Pending
    }

    /// The application's task has dropped the future that it polled.
    pub(crate) fn stop_waiting(&self) {
        self.waker.abandon();
    }

    /// What the janitor does.
    pub(crate) fn serve(&self) {
        let mut driver = self.lock();
        let asked = self.waker.served();
        if !asked && (!self.waker.is_called() || self.waker.is_awaited()) {
            return;
        }
        let readable = self.waker.begin();
        self.drive(&mut driver, readable);
        if driver.inbound > 0 {
            self.waker.wake_application();
        }
    }

    fn drive(&self, driver: &mut Driver, readable: bool) {
        if readable {
            let received = self.received.load(Ordering::Relaxed);
            driver.inbound += received - driver.read;
            driver.read = received;
        }
        driver.written = self.queued.load(Ordering::Relaxed);
        if (driver.read, driver.written) == self.expected {
            self.janitor.stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Driver> {
        self.driver.lock().unwrap()
    }
}

impl Driver {
    fn take(&mut self) -> bool {
        let some = self.inbound > 0;
        self.inbound -= usize::from(some);
        some
    }
}
