//! What the chat server and its clients say to each other: JSON in text messages.

use serde::{Deserialize, Serialize};
use switchback::{Message, TransportKind};

/// The longest name, in characters.
pub const MAX_NAME: usize = 32;

/// The longest text of one entry, in characters.
pub const MAX_TEXT: usize = 2000;

/// The longest tag, in bytes.
pub const MAX_TAG: usize = 64;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ToServer {
    /// Who is here: comes first, and again with a new name.
    Join {
        /// The name that the others see.
        name: String,
    },
    /// Something to everybody.
    Say {
        /// The text.
        text: String,
        /// Chosen by the client, so that it recognises its entry, and so that the server recognises
        /// one that is said again after a session was lost.
        tag: String,
    },
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ToClient {
    /// The answer to the first `join`.
    Welcome {
        /// The id of the one who is welcomed.
        you: u64,
        /// Who is here.
        people: Vec<Person>,
        /// What was said lately, oldest first.
        messages: Vec<Entry>,
    },
    /// Somebody is here, or has another name or transport than before.
    Person {
        /// As they are now.
        person: Person,
    },
    /// Somebody is not here any more.
    Gone {
        /// Who.
        id: u64,
    },
    /// Somebody said something.
    Message {
        /// What.
        message: Entry,
    },
    /// The server did not do what the client asked for.
    Refused {
        /// The reason, for people.
        why: String,
        /// The tag of what was refused, if it had one.
        tag: Option<String>,
    },
}

/// Somebody in the chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Unique while the server runs.
    pub id: u64,
    /// The name, which need not be unique.
    pub name: String,
    /// The [name](TransportKind::name) of the transport in use; `None` while there is none.
    pub transport: Option<String>,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Unique, also among servers.
    pub id: String,
    /// The id of the person who said it.
    pub from: u64,
    /// The name of that person at the time.
    pub name: String,
    /// The text.
    pub text: String,
    /// When: milliseconds since 1970, by the clock of the server.
    pub at: u64,
    /// What the client called it.
    pub tag: String,
}

impl Person {
    /// Makes a person.
    pub fn new(id: u64, name: String, transport: Option<TransportKind>) -> Self {
        let transport = transport.map(|kind| kind.name().to_owned());
        Self {
            id,
            name,
            transport,
        }
    }
}

impl ToServer {
    /// Reads what a client sent; `None` when it is nothing that this chat knows.
    pub fn read(message: &Message) -> Option<Self> {
        serde_json::from_str(message.as_text()?).ok()
    }
}

impl ToClient {
    /// Reads what a server sent; `None` when it is nothing that this chat knows.
    pub fn read(message: &Message) -> Option<Self> {
        serde_json::from_str(message.as_text()?).ok()
    }
}

impl From<&ToServer> for Message {
    fn from(said: &ToServer) -> Self {
        to_json(said)
    }
}

impl From<&ToClient> for Message {
    fn from(said: &ToClient) -> Self {
        to_json(said)
    }
}

fn to_json(value: &impl Serialize) -> Message {
    // Serializing fails for maps whose keys are no strings; there is none in the types above.
    Message::text(serde_json::to_string(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_the_server_mean_the_same() {
        let join = Message::text(r#"{"type":"join","name":"Ada"}"#);
        assert_eq!(
            ToServer::read(&join),
            Some(ToServer::Join {
                name: "Ada".to_owned()
            })
        );

        let person = Person::new(3, "Ada".to_owned(), Some(TransportKind::LongPoll));
        assert_eq!(
            Message::from(&ToClient::Person { person }).as_text(),
            Some(r#"{"type":"person","person":{"id":3,"name":"Ada","transport":"longpoll"}}"#),
        );
    }

    #[test]
    fn nonsense_is_nothing() {
        for text in [
            "",
            "{}",
            "[1]",
            r#"{"type":"dance"}"#,
            r#"{"type":"say","text":1}"#,
        ] {
            assert_eq!(ToServer::read(&Message::text(text)), None, "{text}");
        }
        assert_eq!(ToServer::read(&Message::binary(&b"{}"[..])), None);
    }
}
