//! The servers: a map of sessions each.

use switchback_core::{Broadcast, CloseCode, CloseReason};
use switchback_session::{ClosedBy, Hello, Refused, ServerEvent, ServerSession, SessionId, Why};

use super::oracle::Stream;
use super::pipe::Item;
use super::untold::Untold;
use super::world::{End, Event, Served, World, attachment, conn_index};

impl World {
    pub(super) fn arrive(&mut self, conn: usize) {
        let now = self.now;
        let hello = self.conns[conn].hello.clone();
        let server = self.conns[conn].server;
        let known = self
            .sessions
            .iter()
            .position(|s| !s.lost && s.server == server && s.session.id() == hello.session());
        let verdict = known.map(|index| {
            self.sessions[index].session.settle();
            self.sessions[index].session.authorize(&hello)
        });
        let index = match (verdict, known) {
            (Some(Ok(())), Some(index)) => index,
            (Some(Err(Refused::Unknown)) | None, _) if hello.is_resume() => {
                let id = SessionId::random(&mut self.rng);
                let remains = known.and_then(|index| self.sessions[index].session.remains());
                let gone = match &hello {
                    Hello::Resume { token, .. } => remains.map(|remains| remains.gone(token)),
                    Hello::New { .. } => None,
                };
                let gone = gone.unwrap_or(Why::Unknown.into());
                let config = self.server_config.clone();
                self.serve(server, ServerSession::new_instead(now, config, id, gone))
            }
            (None, _) => {
                let config = self.server_config.clone();
                self.serve(server, ServerSession::new(now, config, *hello.session()))
            }
            (Some(Err(refused)), _) => {
                assert_ne!(refused, Refused::Invalid);
                let code = u64::from(refused.close_reason().code().as_u16());
                let at = now + self.rng.millis(0, 100);
                self.log(|| format!("server: {} is refused: {refused}", conn + 1));
                self.conns[conn].at_server = End::Gone;
                return self.schedule(at, Event::Refused(conn, code));
            }
            (Some(Ok(())), None) => unreachable!(),
        };
        let number = self.sessions[index]
            .session
            .attach(now, &hello, &mut self.rng)
            .unwrap();
        assert_eq!(number, attachment(conn));
        let served = &mut self.sessions[index];
        assert!(number >= served.floor, "an attachment that was given up");
        served.floor = served.floor.max(hello.fence());
        assert!(served.session.live().all(|live| live >= served.floor));
        let again = served.session.authorize(&hello);
        assert!(again.is_err(), "the same number twice");
        self.log(|| format!("server: {} attached to session {index}", conn + 1));
        let answer = now + self.rng.millis(0, 200);
        let faulty = self.is_faulty();
        let it = &mut self.conns[conn];
        it.at_server = End::Live;
        it.served = Some(index);
        it.down.stall(answer);
        if it.at_client == End::Gone {
            // Long given up; the server may find out.
            if !faulty || self.rng.percent(70) {
                let at = now + self.rng.millis(0, 3000);
                self.schedule(at, Event::ServerNotices(conn));
            }
        } else if faulty && self.rng.percent(self.faults.half_open) {
            // The answer is lost.
            self.schedule(answer, Event::Cut(conn));
        } else {
            self.schedule(answer, Event::Opened(conn));
        }
    }

    pub(super) fn serve(&mut self, server: usize, session: ServerSession) -> usize {
        let broadcast = Broadcast::new();
        self.sessions.push(Served {
            session: Untold::new(session),
            subscription: broadcast.subscribe(),
            broadcast,
            lost: false,
            server,
            down: Stream::default(),
            up: None,
            backlog: Vec::new(),
            closed: None,
            floor: 0,
        });
        let index = self.sessions.len() - 1;
        if self.rng.percent(30) {
            // A greeting, before anything else.
            let message = self.message();
            self.sessions[index].backlog.push(message);
        }
        index
    }

    pub(super) fn server_event(&mut self, index: usize, event: ServerEvent) {
        self.log(|| format!("server event of session {index}: {event:?}"));
        match event {
            ServerEvent::Drop { attachment, why } => {
                let conn = conn_index(attachment);
                assert_eq!(self.conns[conn].at_server, End::Live);
                self.conns[conn].at_server = End::Gone;
                self.push_down(conn, Item::Close(why));
            }
            ServerEvent::Closed { by, .. } => {
                assert_ne!(by, ClosedBy::ProtocolError);
                let is_peer = self.peer == Some(index);
                let served = &mut self.sessions[index];
                served.closed = Some(by);
                assert_eq!(served.session.live().count(), 0);
                let unacknowledged = served.session.take_unacknowledged();
                served.down.given_back(&unacknowledged);
                if by == ClosedBy::Local {
                    assert!(served.down.is_complete());
                }
                if by == ClosedBy::Peer || by == ClosedBy::Local {
                    let up = if is_peer {
                        Some(&self.up)
                    } else {
                        served.up.as_ref()
                    };
                    assert!(up.is_none_or(Stream::is_complete), "{by:?}");
                }
            }
            _ => {}
        }
    }

    /// The server can keep no more parked sessions.
    pub(super) fn evict(&mut self) {
        let why = CloseReason::from(CloseCode::TRY_AGAIN_LATER);
        for served in self.sessions.iter_mut().filter(|s| !s.lost) {
            if served.session.is_parked() && !served.session.is_closed() {
                served.session.abort(why.clone(), ClosedBy::Overflow);
            }
        }
    }

    pub(super) fn restart(&mut self, server: usize) {
        self.log(|| format!("server {server} restarts"));
        for index in 0..self.conns.len() {
            let conn = &self.conns[index];
            if conn.server == server && conn.at_server == End::Live {
                self.cut(index);
                self.conns[index].at_server = End::Gone;
            }
        }
        for served in self.sessions.iter_mut().filter(|s| s.server == server) {
            served.lost = true;
        }
    }
}
