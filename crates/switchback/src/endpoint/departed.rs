use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use switchback_session::{Remains, SessionId, Token, Why};

/// Why the sessions have ended that were given up last, as many as the limit: for clients that come
/// back for one of them.
#[derive(Debug)]
pub(super) struct Departed {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SessionId, (Remains, Option<String>)>,
    /// The same, the oldest first.
    order: VecDeque<SessionId>,
}

impl Departed {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    pub(super) fn add(&self, remains: Remains, principal: Option<String>) {
        if self.limit == 0 {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let id = *remains.session();
        if state.sessions.insert(id, (remains, principal)).is_some() {
            // Clients choose the ids of new sessions.
            return;
        }
        state.order.push_back(id);
        if state.order.len() > self.limit
            && let Some(oldest) = state.order.pop_front()
        {
            state.sessions.remove(&oldest);
        }
    }

    /// Tells why a session is gone, to its principal with the right token. Whoever has not that
    /// token gets the answer of a session that never was.
    pub(super) fn why(&self, id: &SessionId, token: &Token, principal: Option<&str>) -> Why {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((remains, owner)) = state.sessions.get(id) else {
            return Why::Unknown;
        };
        match remains.why(token) {
            Why::Unknown => Why::Unknown,
            _ if owner.as_deref() != principal => Why::Principal,
            why => why,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use switchback_session::{Config, Entropy, Hello, ServerSession};

    use super::*;

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    /// A session that has expired, and the token that would have resumed it.
    fn expired(id: u8) -> (Remains, Token) {
        let (now, park) = (Instant::now(), Duration::from_secs(1));
        let id = SessionId::from_bytes([id; 16]);
        let mut session = ServerSession::new(now, Config::new().with_park(park), id);
        let hello = Hello::New {
            session: id,
            attachment: 1,
            fence: 1,
        };
        session.attach(now, &hello, &mut Fixed(1)).unwrap();
        session.detach(now, 1, None);
        session.handle_timeout(now + park);
        (session.remains().unwrap(), Token::random(&mut Fixed(1)))
    }

    #[test]
    fn tells_only_who_has_the_token() {
        let departed = Departed::new(9);
        let (remains, token) = expired(1);
        let id = *remains.session();
        departed.add(remains, Some("alice".to_owned()));
        let why = |token, principal| departed.why(&id, token, principal);
        assert_eq!(why(&token, Some("alice")), Why::Expired);
        assert_eq!(why(&token, Some("bob")), Why::Principal);
        assert_eq!(why(&token, None), Why::Principal);
        let wrong = Token::random(&mut Fixed(2));
        assert_eq!(why(&wrong, Some("alice")), Why::Unknown);
        assert_eq!(why(&wrong, Some("bob")), Why::Unknown);
        let other = SessionId::from_bytes([2; 16]);
        assert_eq!(departed.why(&other, &token, Some("alice")), Why::Unknown);
    }

    #[test]
    fn keeps_the_last_ones() {
        let departed = Departed::new(2);
        for id in [1, 1, 2, 3] {
            departed.add(expired(id).0, None);
        }
        let token = expired(1).1;
        let why = |id| departed.why(&SessionId::from_bytes([id; 16]), &token, None);
        let whys = [1, 2, 3].map(why);
        assert_eq!(whys, [Why::Unknown, Why::Expired, Why::Expired]);
        let none = Departed::new(0);
        none.add(expired(1).0, None);
        let id = SessionId::from_bytes([1; 16]);
        assert_eq!(none.why(&id, &token, None), Why::Unknown);
    }
}
