//! A plain list of those who get everything that is published.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchback::{Incoming, Message, Sender};
use switchback_sse::{Event, EventSender};

use super::member::Queue;

/// All clients of all kinds, in one list.
#[derive(Debug, Default)]
pub(super) struct Room {
    members: Mutex<Vec<Member>>,
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Member {
    /// A bare WebSocket or long-poll, written by a task of its own.
    Queue(Arc<Queue>),
    /// A bare event stream, written by its HTTP connection.
    Events(EventSender),
    /// A session, or a plain client of the facade.
    Session(Sender),
}

impl Room {
    pub(super) fn join_queue(&self) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        self.lock().push(Member::Queue(Arc::clone(&queue)));
        queue
    }

    pub(super) fn join_events(&self, events: EventSender) {
        self.lock().push(Member::Events(events));
    }

    pub(super) fn join_session(&self, sender: Sender) {
        self.lock().push(Member::Session(sender));
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// How many messages were not sent because a queue was full.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Gives a message to everybody, and tells to how many. Never waits; forgets who is gone. A full
    /// queue loses the message, which the load generator notices.
    pub(super) fn publish(&self, message: &Message) -> usize {
        let mut members = self.lock();
        let event = match message.as_text() {
            Some(text) => Event::new().data(text).unwrap_or_default(),
            None => Event::new(),
        };
        let mut reached = 0;
        members.retain_mut(|member| {
            let outcome = member.push(message, &event);
            match outcome {
                Outcome::Sent => reached += 1,
                Outcome::Full => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Gone => return false,
            }
            true
        });
        reached
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) enum Outcome {
    Sent,
    Full,
    Gone,
}

impl Member {
    fn push(&mut self, message: &Message, event: &Event) -> Outcome {
        match self {
            Self::Queue(queue) => queue.push(message),
            Self::Events(events) => match events.try_send(event.clone()) {
                Ok(()) => Outcome::Sent,
                Err(error) if error.is_closed() => Outcome::Gone,
                Err(_) => Outcome::Full,
            },
            Self::Session(sender) => match sender.try_send(message.clone()) {
                Ok(()) => Outcome::Sent,
                Err(error) if error.is_full() => Outcome::Full,
                Err(_) => Outcome::Gone,
            },
        }
    }
}

/// Lets every connection of an endpoint join.
pub(super) async fn accept(room: Arc<Room>, mut incoming: Incoming) {
    while let Some(mut connection) = incoming.accept().await {
        room.join_session(connection.sender());
        tokio::spawn(async move { while let Ok(Some(_)) = connection.recv().await {} });
    }
}
