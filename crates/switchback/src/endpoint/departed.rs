use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use switchback_session::{Gone, Remains, SessionId, Token, Why};

/// What remains of the sessions that have ended last: for clients that come back for one of them.
///
/// Closed ones are remembered apart from those that were given up, because there are many more of them
/// and nobody asks for them but a client that has missed the confirmation, a moment later.
#[derive(Debug)]
pub(super) struct Departed {
    limit: usize,
    given_up: Mutex<Last>,
    closed: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    sessions: HashMap<SessionId, (Remains, Option<String>)>,
    /// The same, the oldest first.
    order: VecDeque<SessionId>,
}

impl Departed {
    /// Remembers as many sessions of each kind.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            given_up: Mutex::default(),
            closed: Mutex::default(),
        }
    }

    pub(super) fn add(&self, remains: Remains, principal: Option<String>) {
        if self.limit == 0 {
            return;
        }
        let last = if remains.is_closed() {
            &self.closed
        } else {
            &self.given_up
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        last.add(remains, principal, self.limit);
    }

    /// Tells why a session is gone, to its principal with the right token. Whoever has not that
    /// token gets the answer of a session that never was.
    pub(super) fn gone(&self, id: &SessionId, token: &Token, principal: Option<&str>) -> Gone {
        let known = [&self.closed, &self.given_up].into_iter().find_map(|last| {
            let last = last.lock().unwrap_or_else(PoisonError::into_inner);
            let (remains, owner) = last.sessions.get(id)?;
            let gone = remains.gone(token);
            if gone.why() == Why::Unknown {
                return None;
            }
            let is_owner = owner.as_deref() == principal;
            Some(if is_owner {
                gone
            } else {
                Why::Principal.into()
            })
        });
        known.unwrap_or(Why::Unknown.into())
    }
}

impl Last {
    fn add(&mut self, remains: Remains, principal: Option<String>, limit: usize) {
        let id = *remains.session();
        if self.sessions.insert(id, (remains, principal)).is_some() {
            // Clients choose the ids of new sessions.
            return;
        }
        self.order.push_back(id);
        if self.order.len() > limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.sessions.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use switchback_core::CloseReason;
    use switchback_session::{Close, Config, Control, Entropy, Hello, ServerSession};

    use super::*;

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    /// A session that has ended, and the token that would have resumed it.
    fn ended(id: u8, end: impl FnOnce(&mut ServerSession, Instant)) -> (Remains, Token) {
        let now = Instant::now();
        let id = SessionId::from_bytes([id; 16]);
        let mut session = ServerSession::new(now, Config::new(), id);
        let hello = Hello::New {
            session: id,
            attachment: 1,
            fence: 1,
        };
        session.attach(now, &hello, &mut Fixed(1)).unwrap();
        end(&mut session, now);
        (session.remains().unwrap(), Token::random(&mut Fixed(1)))
    }

    fn expired(id: u8) -> (Remains, Token) {
        ended(id, |session, now| {
            session.detach(now, 1, None);
            session.handle_timeout(now + Config::new().park());
        })
    }

    fn closed(id: u8) -> (Remains, Token) {
        ended(id, |session, now| {
            let close = Control::Close(Close {
                reason: CloseReason::normal(),
                sent: 0,
                reconnect: None,
            });
            session.receive(now, 1, close.encode()).unwrap();
            session.transmit(now, 1, |_| true);
        })
    }

    #[test]
    fn tells_only_who_has_the_token() {
        let departed = Departed::new(9);
        let (remains, token) = expired(1);
        let id = *remains.session();
        departed.add(remains, Some("alice".to_owned()));
        let why = |token, principal| departed.gone(&id, token, principal).why();
        assert_eq!(why(&token, Some("alice")), Why::Expired);
        assert_eq!(why(&token, Some("bob")), Why::Principal);
        assert_eq!(why(&token, None), Why::Principal);
        let wrong = Token::random(&mut Fixed(2));
        assert_eq!(why(&wrong, Some("alice")), Why::Unknown);
        assert_eq!(why(&wrong, Some("bob")), Why::Unknown);
        let other = SessionId::from_bytes([2; 16]);
        assert_eq!(
            departed.gone(&other, &token, Some("alice")),
            Why::Unknown.into()
        );
    }

    #[test]
    fn keeps_the_last_ones() {
        let departed = Departed::new(2);
        for id in [1, 1, 2, 3] {
            departed.add(expired(id).0, None);
        }
        let token = expired(1).1;
        let gone = |id| departed.gone(&SessionId::from_bytes([id; 16]), &token, None);
        let why = |id| gone(id).why();
        let whys = [1, 2, 3].map(why);
        assert_eq!(whys, [Why::Unknown, Why::Expired, Why::Expired]);
        let none = Departed::new(0);
        none.add(expired(1).0, None);
        let id = SessionId::from_bytes([1; 16]);
        assert_eq!(none.gone(&id, &token, None), Why::Unknown.into());
    }

    #[test]
    fn closed_sessions_do_not_displace_those_that_were_given_up() {
        let departed = Departed::new(2);
        departed.add(expired(1).0, None);
        for id in [2, 3, 4] {
            departed.add(closed(id).0, None);
        }
        let token = expired(1).1;
        let gone = |id| departed.gone(&SessionId::from_bytes([id; 16]), &token, None);
        let whys = [1, 2, 3, 4].map(|id| gone(id).why());
        assert_eq!(whys, [Why::Expired, Why::Unknown, Why::Closed, Why::Closed]);
    }
}
