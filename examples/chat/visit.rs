use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use switchback::{Connection, Event, Message, TransportKind};
use switchback_examples::chat::{MAX_NAME, MAX_TAG, MAX_TEXT, Person, ToServer};
use tokio::time::{Instant, sleep_until};

use crate::room::Room;

/// How long somebody without a transport is shown as away, before the others are told that they
/// left. Their session may still be resumed after that.
const AWAY: Duration = Duration::from_secs(15);

/// Attends to one connection until it ends, through all the transports that carry it.
pub(crate) async fn attend(mut connection: Connection, room: Arc<Room>) {
    let mut visit = Visit::new(&connection, room);
    loop {
        let event = tokio::select! {
            event = connection.next_event() => event,
            () = at(visit.away) => {
                visit.hide();
                continue;
            }
        };
        match event {
            Ok(Some(Event::Message(message))) => visit.hear(&message),
            Ok(Some(Event::Resumed { transport } | Event::Moved { transport })) => {
                visit.appear(Some(transport));
            }
            Ok(Some(Event::Reconnecting)) => visit.appear(None),
            Ok(Some(_)) => {}
            // Closed, expired or broken: the visit is over all the same.
            Ok(None) | Err(_) => break,
        }
    }
}

/// Somebody who is connected.
struct Visit {
    room: Arc<Room>,
    id: u64,
    name: Option<String>,
    transport: Option<TransportKind>,
    /// When the others are to be told that this one left.
    away: Option<Instant>,
}

impl Visit {
    fn new(connection: &Connection, room: Arc<Room>) -> Self {
        let id = room.enter(connection.sender());
        Self {
            room,
            id,
            name: None,
            transport: connection.transport(),
            away: None,
        }
    }

    fn person(&self) -> Option<Person> {
        Some(Person::new(self.id, self.name.clone()?, self.transport))
    }

    fn hear(&mut self, message: &Message) {
        match ToServer::read(message) {
            Some(ToServer::Join { name }) => self.join(&name),
            Some(ToServer::Say { text, tag }) => self.say(text, tag),
            None => self
                .room
                .refuse(self.id, "that is nothing that this chat knows", None),
        }
    }

    fn join(&mut self, name: &str) {
        let name: String = name
            .chars()
            .filter(|character| !character.is_control())
            .collect();
        let name = name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME {
            self.room
                .refuse(self.id, "a name has 1 to 32 characters", None);
            return;
        }
        let is_first = self.name.replace(name.to_owned()).is_none();
        let Some(person) = self.person() else { return };
        if is_first {
            self.room.welcome(person);
        } else {
            self.room.show(person);
        }
    }

    fn say(&mut self, text: String, tag: String) {
        let refusal = if tag.len() > MAX_TAG {
            self.room.refuse(self.id, "the tag is too long", None);
            return;
        } else if text.trim().is_empty() {
            "there is nothing in it"
        } else if text.chars().count() > MAX_TEXT {
            "it is longer than 2000 characters"
        } else if let Some(person) = self.person() {
            self.room.say(&person, text, tag);
            return;
        } else {
            "join with a name first"
        };
        self.room.refuse(self.id, refusal, Some(tag));
    }

    /// The session has another transport now, or none.
    fn appear(&mut self, transport: Option<TransportKind>) {
        self.transport = transport;
        self.away = transport.is_none().then(|| Instant::now() + AWAY);
        if let Some(person) = self.person() {
            self.room.show(person);
        }
    }

    fn hide(&mut self) {
        self.away = None;
        self.room.hide(self.id);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.room.leave(self.id);
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
