//! A plain list of those who get everything that is published.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchback::{Broadcast, Incoming, Message, Subscription};
use switchback_sse::{Event, EventSender};

/// All clients of all kinds.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Bare WebSockets and long-polls, sessions, and plain clients of the facade.
    broadcast: Broadcast,
    /// Bare event streams, each with a queue, written by its HTTP connection.
    events: Mutex<Vec<EventSender>>,
    dropped: AtomicU64,
}

impl Room {
    pub(super) fn subscribe(&self) -> Subscription {
        self.broadcast.subscribe()
    }

    pub(super) fn join_events(&self, events: EventSender) {
        self.events().push(events);
    }

    pub(super) fn len(&self) -> usize {
        self.broadcast.subscribers() + self.events().len()
    }

    /// How many messages were not sent because a client was too far behind.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A client has missed messages, which the load generator notices.
    pub(super) fn note_dropped(&self, messages: u64) {
        self.dropped.fetch_add(messages, Ordering::Relaxed);
    }

    /// Gives a message to everybody, and tells to how many. Never waits.
    pub(super) fn publish(&self, message: Message) -> usize {
        let events = self.publish_events(&message);
        self.broadcast.publish(message) + events
    }

    /// Forgets who is gone.
    fn publish_events(&self, message: &Message) -> usize {
        let mut events = self.events();
        if events.is_empty() {
            return 0;
        }
        let event = match message.as_text() {
            Some(text) => Event::new().data(text).unwrap_or_default(),
            None => Event::new(),
        };
        let mut reached = 0;
        events.retain_mut(|events| match events.try_send(event.clone()) {
            Ok(()) => {
                reached += 1;
                true
            }
            Err(error) if error.is_closed() => false,
            Err(_) => {
                self.note_dropped(1);
                true
            }
        });
        reached
    }

    fn events(&self) -> MutexGuard<'_, Vec<EventSender>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets every connection of an endpoint join.
pub(super) async fn accept(room: Arc<Room>, mut incoming: Incoming) {
    while let Some(mut connection) = incoming.accept().await {
        let room = Arc::clone(&room);
        tokio::spawn(async move {
            if connection.subscribe(&room.broadcast).is_ok() {
                while let Ok(Some(_)) = connection.recv().await {}
            }
        });
    }
}
