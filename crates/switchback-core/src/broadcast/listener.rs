use std::sync::Arc;
use std::task::Waker;

/// Is told that something was published: for who reads many things and wants to know which of them
/// calls, or else waits with a [`Waker`].
pub trait Listener: Send + Sync {
    /// Something was published that the subscription has not read. Called once after each time that
    /// it had read everything, by who publishes: it should take little time.
    fn published(self: Arc<Self>);
}

/// Who waits for something to be published.
pub(super) enum Waiting {
    Task(Waker),
    Listener(Arc<dyn Listener>),
}

impl Waiting {
    pub(super) fn wake(self) {
        match self {
            Self::Task(waker) => waker.wake(),
            Self::Listener(listener) => listener.published(),
        }
    }
}
