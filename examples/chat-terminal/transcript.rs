use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use switchback_examples::chat::{Entry, Person, ToClient, ToServer};

/// How many entries are remembered, so that none is printed twice: more than a server tells at once.
const SEEN: usize = 200;

/// What was said, and what of that the server has not answered yet.
pub(crate) struct Transcript {
    /// Whether to print what was said here; who types it sees it already.
    prints_own: bool,
    people: BTreeMap<u64, Person>,
    pending: VecDeque<(String, ToServer)>,
    own_tags: VecDeque<String>,
    seen: VecDeque<String>,
    /// What the tags of this run begin with, so that those of no other client are the same.
    unique: u64,
    count: u64,
}

impl Transcript {
    pub(crate) fn new(prints_own: bool) -> Self {
        Self {
            prints_own,
            people: BTreeMap::new(),
            pending: VecDeque::new(),
            own_tags: VecDeque::new(),
            seen: VecDeque::new(),
            unique: RandomState::new().hash_one(0),
            count: 0,
        }
    }

    /// Returns what was said here and not heard yet, oldest first.
    pub(crate) fn pending(&self) -> impl ExactSizeIterator<Item = &ToServer> {
        self.pending.iter().map(|(_, said)| said)
    }

    /// Makes what to send for a line.
    pub(crate) fn say(&mut self, text: String) -> ToServer {
        self.count += 1;
        let tag = format!("{:x}.{}", self.unique, self.count);
        let said = ToServer::Say {
            text,
            tag: tag.clone(),
        };
        self.pending.push_back((tag.clone(), said.clone()));
        remember(&mut self.own_tags, tag);
        said
    }

    /// Takes and prints what the server says.
    pub(crate) fn hear(&mut self, heard: ToClient) {
        match heard {
            ToClient::Welcome {
                people, messages, ..
            } => {
                self.people = people
                    .into_iter()
                    .map(|person| (person.id, person))
                    .collect();
                let names: Vec<String> = self.people.values().map(describe).collect();
                eprintln!("-- here are {}", names.join(", "));
                for message in messages {
                    self.print(message);
                }
            }
            ToClient::Message { message } => self.print(message),
            ToClient::Person { person } => {
                let before = self.people.insert(person.id, person.clone());
                match before.map(|before| before.name) {
                    None => eprintln!("-- {} joined", describe(&person)),
                    Some(before) if before != person.name => {
                        eprintln!("-- {} is now {}", clean(&before), clean(&person.name));
                    }
                    Some(_) => {}
                }
            }
            ToClient::Gone { id } => {
                if let Some(person) = self.people.remove(&id) {
                    eprintln!("-- {} left", clean(&person.name));
                }
            }
            ToClient::Refused { why, tag } => {
                eprintln!("-- refused: {}", clean(&why));
                self.pending
                    .retain(|(pending, _)| Some(pending) != tag.as_ref());
            }
        }
    }

    fn print(&mut self, entry: Entry) {
        if self.seen.contains(&entry.id) {
            return;
        }
        let is_own = self.own_tags.contains(&entry.tag);
        if self.prints_own || !is_own {
            println!("{}: {}", clean(&entry.name), clean(&entry.text));
        }
        self.pending.retain(|(tag, _)| *tag != entry.tag);
        remember(&mut self.seen, entry.id);
    }
}

fn remember(list: &mut VecDeque<String>, item: String) {
    if list.len() == SEEN {
        list.pop_front();
    }
    list.push_back(item);
}

fn describe(person: &Person) -> String {
    let transport = person.transport.as_deref().unwrap_or("away");
    format!("{} ({})", clean(&person.name), clean(transport))
}

/// Others must not control this terminal: no escape sequences.
fn clean(text: &str) -> String {
    let is_harmful = |character: char| character.is_control() && character != '\n';
    text.replace(is_harmful, "\u{fffd}")
}
