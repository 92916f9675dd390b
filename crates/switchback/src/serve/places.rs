use std::sync::atomic::{AtomicUsize, Ordering};

/// So many places and no more.
#[derive(Debug)]
pub(super) struct Places(AtomicUsize);

/// A place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place(&'static Places);

impl Places {
    pub(super) const fn new(count: usize) -> Self {
        Self(AtomicUsize::new(count))
    }

    /// Takes a place; `None` when all are taken.
    pub(super) fn take(&'static self) -> Option<Place> {
        let less = |free: usize| free.checked_sub(1);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        // Not `then_some`: a place that is made must be one that was taken.
        taken.is_ok().then(|| Place(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_no_more() {
        static TWO: Places = Places::new(2);
        let taken = [TWO.take(), TWO.take()];
        assert!(taken.iter().all(Option::is_some));
        for _ in 0..3 {
            assert!(TWO.take().is_none());
        }
        drop(taken);
        let again = [TWO.take(), TWO.take(), TWO.take()];
        assert_eq!(again.map(|place| place.is_some()), [true, true, false]);
    }
}
