use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use switchback::{Broadcast, CloseCode, CloseReason, Message, Sender};
use switchback_examples::chat::{Entry, Person, ToClient};
use tokio::sync::watch;

/// How many entries somebody who joins gets to see.
const HISTORY: usize = 50;

/// The one room of the chat: who is connected, and what was said.
///
/// Everything happens under one lock, which is never held across an `await`: so all members see all
/// that happens in the same order, and nobody ever waits for a slow one.
pub(crate) struct Room {
    state: Mutex<State>,
    /// How many visits there are.
    visits: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    members: BTreeMap<u64, Member>,
    /// Who has joined hears what happens, absent or not.
    joined: Broadcast,
    history: VecDeque<Entry>,
    /// When the server started, so that the ids of entries of two runs differ.
    started: u128,
    last_person: u64,
    last_entry: u64,
    closed: Option<CloseReason>,
}

struct Member {
    sender: Sender,
    /// As the others see this member; `None` before the first `join`, and during a long absence.
    person: Option<Person>,
}

impl Room {
    pub(crate) fn new() -> Self {
        let state = State {
            started: since_epoch().as_nanos(),
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            visits: watch::Sender::new(0),
        }
    }

    /// Lets a connection in, which hears nothing before it is [welcomed](Self::welcome). Returns its
    /// id.
    pub(crate) fn enter(&self, sender: Sender) -> u64 {
        let mut state = self.state();
        if let Some(why) = &state.closed {
            sender.close(why.clone());
        }
        state.last_person += 1;
        let id = state.last_person;
        state.members.insert(
            id,
            Member {
                sender,
                person: None,
            },
        );
        self.visits.send_modify(|visits| *visits += 1);
        id
    }

    /// Forgets a connection.
    pub(crate) fn leave(&self, id: u64) {
        self.hide(id);
        self.state().members.remove(&id);
        self.visits.send_modify(|visits| *visits -= 1);
    }

    /// Tells one member who is here and what was said, then everybody that this member is here.
    pub(crate) fn welcome(&self, person: Person) {
        let mut state = self.state();
        let id = person.id;
        let Some(member) = state.members.get_mut(&id) else {
            return;
        };
        member.person = Some(person.clone());
        let people = state
            .members
            .values()
            .filter_map(|member| member.person.clone())
            .collect();
        let messages = state.history.iter().cloned().collect();
        state.tell(
            id,
            &ToClient::Welcome {
                you: id,
                people,
                messages,
            },
        );
        // Behind the welcome. One that is closed meanwhile is on its way out.
        if let Some(member) = state.members.get(&id) {
            let _ = member.sender.subscribe(&state.joined);
        }
        state.tell_all(&ToClient::Person { person });
    }

    /// Tells everybody how somebody is now.
    pub(crate) fn show(&self, person: Person) {
        let mut state = self.state();
        if let Some(member) = state.members.get_mut(&person.id) {
            member.person = Some(person.clone());
            state.tell_all(&ToClient::Person { person });
        }
    }

    /// Tells everybody that somebody is not here.
    pub(crate) fn hide(&self, id: u64) {
        let mut state = self.state();
        if let Some(member) = state.members.get_mut(&id)
            && member.person.take().is_some()
        {
            state.tell_all(&ToClient::Gone { id });
        }
    }

    /// Tells everybody what somebody says, unless it was said already: a client whose session was lost
    /// says again what it has seen no answer to.
    pub(crate) fn say(&self, person: &Person, text: String, tag: String) {
        let mut state = self.state();
        if state.history.iter().any(|entry| entry.tag == tag) {
            return;
        }
        state.last_entry += 1;
        let message = Entry {
            id: format!("{:x}.{}", state.started, state.last_entry),
            from: person.id,
            name: person.name.clone(),
            text,
            at: u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX),
            tag,
        };
        if state.history.len() == HISTORY {
            state.history.pop_front();
        }
        state.history.push_back(message.clone());
        state.tell_all(&ToClient::Message { message });
    }

    /// Tells one member that the server did not do what it asked for.
    pub(crate) fn refuse(&self, id: u64, why: &str, tag: Option<String>) {
        self.state().tell(
            id,
            &ToClient::Refused {
                why: why.to_owned(),
                tag,
            },
        );
    }

    /// Closes all connections, and those to come.
    pub(crate) fn close(&self, why: &CloseReason) {
        let mut state = self.state();
        state.closed = Some(why.clone());
        for member in state.members.values() {
            member.sender.close(why.clone());
        }
    }

    /// Waits until nobody is connected.
    pub(crate) async fn emptied(&self) {
        // The sender is in `self`, so the channel is open.
        let _ = self
            .visits
            .subscribe()
            .wait_for(|visits| *visits == 0)
            .await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&self, id: u64, what: &ToClient) {
        if let Some(member) = self.members.get(&id) {
            member.tell(what.into());
        }
    }

    fn tell_all(&self, what: &ToClient) {
        // Kept once, however many are listening. Whoever falls too far behind is disconnected, rather
        // than missing a part silently.
        self.joined.publish(what);
    }
}

impl Member {
    /// Sends without ever waiting. Somebody who reads so slowly that the queue is full is disconnected
    /// as well.
    fn tell(&self, message: Message) {
        if let Err(error) = self.sender.try_send(message)
            && error.is_full()
        {
            self.sender
                .close(CloseReason::from(CloseCode::SLOW_CONSUMER));
        }
    }
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
