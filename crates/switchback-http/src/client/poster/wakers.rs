use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Lets several waiters share what remembers one waker only.
///
/// Receiving, sending and flushing may wait in different tasks' contexts, and all drive the same
/// lane. The lane gets a waker that wakes everyone who polled since it was last woken.
#[derive(Debug, Default)]
pub(super) struct Wakers(Mutex<Vec<Waker>>);

/// More waiters than methods that can wait. The oldest is woken early when there are more, so that
/// nobody is forgotten.
const MAX: usize = 8;

impl Wakers {
    /// Remembers a waiter, and makes the waker to poll with.
    pub(super) fn register(self: &Arc<Self>, waker: &Waker) -> Waker {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            let oldest = (waiting.len() == MAX).then(|| waiting.remove(0));
            waiting.push(waker.clone());
            drop(waiting);
            if let Some(oldest) = oldest {
                oldest.wake();
            }
        }
        Waker::from(Arc::clone(self))
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in waiting {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_everyone_once() {
        let counts: Vec<Arc<Count>> = (0..3).map(|_| Arc::default()).collect();
        let wakers = Arc::new(Wakers::default());
        let mut shared = Waker::noop().clone();
        for count in counts.iter().chain(&counts) {
            shared = wakers.register(&Waker::from(Arc::clone(count)));
        }
        shared.wake_by_ref();
        shared.wake();
        for count in counts {
            assert_eq!(count.0.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn remembers_so_many_at_most() {
        let counts: Vec<Arc<Count>> = (0..MAX + 2).map(|_| Arc::default()).collect();
        let wakers = Arc::new(Wakers::default());
        for count in &counts {
            wakers.register(&Waker::from(Arc::clone(count)));
        }
        let woken = counts.iter().map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!(woken.sum::<usize>(), 2);
        assert_eq!(wakers.0.lock().unwrap().len(), MAX);
    }
}
