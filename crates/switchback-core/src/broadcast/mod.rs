//! One log of messages that many connections read, each at its own pace.

mod listener;
mod log;
mod run;
mod segment;
mod subscription;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use self::listener::Listener;
use self::log::Log;
pub use self::run::Run;
pub use self::subscription::{Lagged, Subscription};
use crate::Message;

/// Sends messages to everybody who has subscribed.
///
/// A message is kept once, whatever the number of subscribers, and each of them remembers only how far
/// it has read. So publishing costs nothing for a subscriber that is busy, and a wake-up for one that
/// waits; those that read the log take all that has come meanwhile in one piece, a [`Run`].
///
/// Publishing never waits for anybody. A subscriber that is further behind than the
/// [capacity](Self::with_capacity) misses messages and [is told so](Lagged).
///
/// Cheap to clone; clones are the same broadcast. It lives for as long as anybody has a clone or a
/// subscription.
#[derive(Clone)]
pub struct Broadcast(Arc<Shared>);

struct Shared {
    /// How many messages were published: what tells a subscriber without a lock that it is behind.
    published: AtomicU64,
    log: Mutex<Log>,
}

/// How many messages a subscriber may be behind.
const MESSAGES: usize = 4096;
/// How many bytes of payload.
const BYTES: usize = 1024 * 1024;

impl Broadcast {
    /// Makes a broadcast whose subscribers may be 4,096 messages or 1 MiB behind.
    pub fn new() -> Self {
        Self::with_capacity(MESSAGES, BYTES)
    }

    /// Makes a broadcast whose subscribers may be so many messages, or so many bytes of payload, behind,
    /// whichever comes first; zero is as one. It should be more than is ever published in one go: then nobody
    /// has had a chance to read.
    ///
    /// Messages are kept in segments of 64, or of 16 KiB and the message that goes beyond that: one
    /// segment more may be kept. What all have read is forgotten, except in the last segment.
    pub fn with_capacity(messages: usize, bytes: usize) -> Self {
        Self(Arc::new(Shared {
            published: AtomicU64::new(0),
            log: Mutex::new(Log::new(messages, bytes)),
        }))
    }

    /// Sends a message to everybody who has subscribed by now, and returns how many they are. Never
    /// waits.
    ///
    /// The message is [prepared](Message::prepare). All subscribers see all messages in the same order.
    pub fn publish(&self, message: impl Into<Message>) -> usize {
        let message = message.into();
        let (subscribers, mut woken) = self.0.with(|log| {
            let subscribers = log.subscribers();
            if subscribers > 0 {
                log.push(message.prepare());
            }
            self.0.published.store(log.published(), Ordering::Release);
            (subscribers, log.take_waiting())
        });
        // They may run anything. Should one panic, the others are told all the same.
        let mut panicked = None;
        for waiting in woken.drain(..) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waiting.wake())) {
                panicked.get_or_insert(panic);
            }
        }
        if woken.capacity() > 0 {
            self.0.with(|log| log.reuse(woken));
        }
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
        subscribers
    }

    /// Subscribes to all messages that are published from now on.
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.0.clone())
    }

    /// Returns how many have subscribed.
    pub fn subscribers(&self) -> usize {
        self.0.with(|log| log.subscribers())
    }

    /// Tells whether two are clones of each other.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Shared {
    /// Works on the log. What is forgotten is dropped without the lock, because that may run anything.
    fn with<R>(&self, work: impl FnOnce(&mut Log) -> R) -> R {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut log);
        let forgotten = log.take_forgotten();
        drop(log);
        drop(forgotten);
        result
    }
}

impl Default for Broadcast {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("subscribers", &self.subscribers())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
