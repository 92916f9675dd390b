//! A client, servers, and the network between them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use switchback_core::{CloseCode, CloseReason, Message, TransportKind};
use switchback_session::{
    Action, ClientConfig, ClientEvent, ClientSession, ClosedBy, Config, Failure, FailureWhy, Hello,
    Refused, ServerEvent, ServerSession, SessionId, Why,
};

use super::oracle::{Starts, Stream};
use super::pipe::{Item, Pipe};
use super::rng::Rng;

const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct World {
    now: Instant,
    epoch: Instant,
    rng: Rng,
    trace: bool,
    agenda: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    serial: u64,
    /// Until then the network misbehaves.
    faults_end: Instant,
    faults: Faults,
    client: ClientSession,
    client_backlog: Vec<Message>,
    client_closed: Option<ClosedBy>,
    gave_up: bool,
    /// The server session that the client's belongs to.
    peer: Option<usize>,
    up: Stream,
    config: Config,
    server_config: Config,
    sessions: Vec<Served>,
    conns: Vec<Conn>,
    starts: Starts,
    messages: u64,
    preferred: TransportKind,
    pub(crate) stats: Stats,
}

/// A session on a server.
struct Served {
    session: ServerSession,
    /// The server forgot it by a restart.
    lost: bool,
    server: usize,
    down: Stream,
    /// What the client sent in the session that belongs to this one, once the client has left it.
    up: Option<Stream>,
    backlog: Vec<Message>,
    closed: Option<ClosedBy>,
    /// The lowest number of an attachment that may live or come.
    floor: u64,
}

/// A transport.
struct Conn {
    kind: TransportKind,
    hello: Hello,
    server: usize,
    served: Option<usize>,
    at_client: End,
    at_server: End,
    up: Pipe,
    down: Pipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not there yet.
    Coming,
    Live,
    Gone,
}

/// How likely each fault is, in percent of the transports.
#[derive(Clone, Copy, Debug)]
struct Faults {
    refuse: u64,
    swallow: u64,
    half_open: u64,
    stall: u64,
    kill: u64,
    hole: u64,
    astray: u64,
    late: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(usize),
    Opened(usize),
    Refused(usize, u64),
    Up(usize),
    Down(usize),
    Cut(usize),
    HoleUp(usize),
    HoleDown(usize),
    ClientNotices(usize),
    ServerNotices(usize),
    ClientSends,
    ServerSends,
    ClientCloses,
    ServerCloses,
    Restart(usize),
    Wake,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) messages: u64,
    pub(crate) conns: u64,
    pub(crate) resumed: u64,
    pub(crate) anew: u64,
    pub(crate) moved: u64,
    pub(crate) closed: u64,
    pub(crate) gave_up: u64,
    pub(crate) steps: u64,
}

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let now = Instant::now();
        let server_config = config(&mut rng);
        let client_side = config(&mut rng);
        let mut kinds = TransportKind::ALL.to_vec();
        if rng.percent(30) {
            kinds.remove(rng.index(3));
        }
        let mut client_config = ClientConfig::new()
            .with_session(client_side.clone())
            .with_transports(kinds.clone())
            .with_give_up_after(rng.percent(10).then_some(2));
        if rng.percent(30) {
            client_config = client_config.with_starts(rng.index(4) + 1, rng.millis(100, 5000));
        }
        let starts = Starts::new(client_config.starts());
        let entropy = Box::new(rng.fork());
        let faults_end = now + rng.millis(1, 60_000);
        let faults = Faults::random(&mut rng);
        let mut world = Self {
            client: ClientSession::new(now, client_config, None, entropy),
            now,
            epoch: now,
            trace,
            agenda: BinaryHeap::new(),
            serial: 0,
            faults_end,
            faults,
            client_backlog: Vec::new(),
            client_closed: None,
            gave_up: false,
            peer: None,
            up: Stream::default(),
            config: client_side,
            server_config,
            sessions: Vec::new(),
            conns: Vec::new(),
            starts,
            messages: 0,
            preferred: kinds[0],
            stats: Stats::default(),
            rng,
        };
        world.plan();
        world
    }

    /// Runs to the end: everything is delivered, or the session has ended on both sides.
    pub(crate) fn run(&mut self) {
        self.after();
        let patience = self.faults_end + 200 * SECOND;
        while !(self.is_over() || (self.now >= self.faults_end && self.is_quiet())) {
            assert!(self.step(patience), "nothing goes on: {}", self.state());
        }
        if !self.is_over() {
            // A session on the server that nothing leads to any more cannot move.
            let reachable = self
                .peer
                .is_some_and(|peer| self.sessions[peer].server == 0);
            if reachable && self.rng.percent(3) {
                self.climb();
            }
            self.close_calmly();
        }
        self.stats.messages = self.messages;
    }

    /// Without faults the client finds the best transport, as soon as no demotion is in the way.
    fn climb(&mut self) {
        let patience = self.now + 6 * 3600 * SECOND;
        while self.kind_in_use() != Some(self.preferred) {
            assert!(self.step(patience), "does not climb: {}", self.state());
        }
        let patience = self.now + 200 * SECOND;
        while !self.is_quiet() {
            assert!(self.step(patience), "lost in the climb: {}", self.state());
        }
    }

    /// Without faults a close loses nothing, and both sides know it.
    fn close_calmly(&mut self) {
        let peer = self.peer.unwrap();
        self.client_sends();
        self.server_sends();
        let mut backlog =
            !self.client_backlog.is_empty() || !self.sessions[peer].backlog.is_empty();
        let by_client = self.rng.percent(50);
        if by_client {
            self.client_closes();
        } else {
            let reason = CloseReason::new(CloseCode::new(4200).unwrap(), "enough");
            self.sessions[peer].session.close(self.now, reason, None);
            self.log(|| "server closes calmly".into());
        }
        self.after();
        let patience = self.now + 200 * SECOND;
        while !self.is_over() {
            assert!(self.step(patience), "no end: {}", self.state());
        }
        let served = &self.sessions[peer];
        let (local, remote) = (Some(ClosedBy::Local), Some(ClosedBy::Peer));
        let expected = if by_client {
            (local, remote)
        } else {
            (remote, local)
        };
        assert_eq!((self.client_closed, served.closed), expected);
        // What found no room before the close was never sent.
        backlog |= !self.client_backlog.is_empty();
        if !backlog {
            let up = served.up.as_ref().unwrap_or(&self.up);
            assert!(
                up.is_complete() && served.down.is_complete(),
                "{}",
                self.state()
            );
        }
    }

    fn is_quiet(&self) -> bool {
        let Some(served) = self.peer.map(|peer| &self.sessions[peer]) else {
            return false;
        };
        !self.client.is_closed()
            && !self.client.is_closing()
            && self.is_healthy()
            && self.client.unacknowledged().0 == 0
            && self.client_backlog.is_empty()
            && !served.lost
            && !served.session.is_closing()
            && served.session.unacknowledged().0 == 0
            && served.backlog.is_empty()
            && self.up.is_complete()
            && served.down.is_complete()
    }

    /// The two sides are connected, by something that works.
    fn is_healthy(&self) -> bool {
        let Some(carrier) = self.client.carrier() else {
            return false;
        };
        let conn = &self.conns[conn_index(carrier)];
        let tried = |conn: &Conn| conn.at_client == End::Coming;
        self.client.live().count() == 1
            && !self.conns.iter().any(tried)
            && conn.at_client == End::Live
            && conn.at_server == End::Live
            && conn.up.is_healthy(self.now)
            && conn.down.is_healthy(self.now)
    }

    /// Both sides know that the client's session has ended.
    fn is_over(&self) -> bool {
        let ended = |s: &Served| s.lost || s.session.is_closed();
        self.client.is_closed() && self.peer.is_none_or(|peer| ended(&self.sessions[peer]))
    }

    fn kind_in_use(&self) -> Option<TransportKind> {
        let carrier = self.client.carrier()?;
        Some(self.conns[conn_index(carrier)].kind)
    }

    /// Goes on to the next event, if there is one before the deadline.
    fn step(&mut self, patience: Instant) -> bool {
        self.stats.steps += 1;
        assert!(self.stats.steps < 2_000_000, "spins: {}", self.state());
        let event = self.agenda.peek().map(|Reverse((at, _, _))| *at);
        let timers = self.sessions.iter().filter(|s| !s.lost);
        let timer = timers
            .filter_map(|s| s.session.deadline())
            .chain(self.client.deadline())
            .min();
        let Some(at) = event.into_iter().chain(timer).min() else {
            return false;
        };
        if at > patience {
            return false;
        }
        self.now = self.now.max(at);
        if timer.is_some_and(|timer| timer <= self.now) && event.is_none_or(|at| at > self.now) {
            self.handle_timeouts();
        } else if let Some(Reverse((_, _, event))) = self.agenda.pop() {
            self.happen(event);
        }
        self.after();
        true
    }

    fn handle_timeouts(&mut self) {
        let now = self.now;
        for served in self.sessions.iter_mut().filter(|s| !s.lost) {
            if served.session.deadline().is_some_and(|at| at <= now) {
                served.session.handle_timeout(now);
                let next = served.session.deadline();
                assert!(next.is_none_or(|at| at > now), "the server's timer spins");
            }
        }
        if self.client.deadline().is_some_and(|at| at <= now) {
            self.client.handle_timeout(now);
            let next = self.client.deadline();
            assert!(next.is_none_or(|at| at > now), "the client's timer spins");
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Arrive(conn) => self.arrive(conn),
            Event::Opened(conn) => {
                if self.conns[conn].at_client == End::Coming {
                    self.log(|| format!("client: {} opened", conn + 1));
                    self.conns[conn].at_client = End::Live;
                    self.client.opened(now, attachment(conn));
                }
            }
            Event::Refused(conn, code) => self.refused(conn, code),
            Event::Up(conn) => self.deliver_up(conn),
            Event::Down(conn) => self.deliver_down(conn),
            Event::Cut(conn) if !self.is_faulty() => {
                if self.conns[conn].at_client == End::Coming {
                    self.happen(Event::Opened(conn));
                }
            }
            Event::Cut(conn) => self.cut(conn),
            Event::HoleUp(_) | Event::HoleDown(_) if !self.is_faulty() => {}
            Event::HoleUp(conn) => {
                self.log(|| format!("{} loses what goes up", conn + 1));
                self.conns[conn].up.cut(now, &mut self.rng);
            }
            Event::HoleDown(conn) => {
                self.log(|| format!("{} loses what goes down", conn + 1));
                self.conns[conn].down.cut(now, &mut self.rng);
            }
            Event::ClientNotices(conn) => self.client_loses(conn, None),
            Event::ServerNotices(conn) => self.server_loses(conn, None),
            Event::ClientSends => self.client_sends(),
            Event::ServerSends => self.server_sends(),
            Event::ClientCloses => self.client_closes(),
            Event::ServerCloses => self.server_closes(),
            Event::Restart(server) => self.restart(server),
            Event::Wake => self.client.wake(now),
        }
    }

    /// Does what the machines want, until they want nothing.
    fn after(&mut self) {
        loop {
            let mut busy = false;
            while let Some(action) = self.client.poll_action() {
                busy = true;
                self.act(action);
            }
            while let Some(event) = self.client.poll_event() {
                busy = true;
                self.client_event(event);
            }
            for index in 0..self.sessions.len() {
                while let Some(event) = self.sessions[index].session.poll_event() {
                    busy = true;
                    self.server_event(index, event);
                }
            }
            busy |= self.transmit();
            busy |= self.retry();
            if !busy {
                break;
            }
        }
        self.check_bounds();
    }

    fn check_bounds(&self) {
        let check = |(messages, bytes): (usize, usize), config: &Config| {
            assert!(messages <= config.replay_messages());
            assert!(messages <= 1 || bytes < config.replay_bytes() + MAX_MESSAGE);
        };
        check(self.client.unacknowledged(), &self.config);
        assert!(self.client.live().count() <= 6);
        for served in &self.sessions {
            check(served.session.unacknowledged(), &self.server_config);
            assert!(served.session.live().count() <= self.server_config.max_attachments());
        }
    }

    // The applications.

    fn plan(&mut self) {
        let span = u64::try_from((self.faults_end - self.now).as_millis()).unwrap();
        let at = |world: &mut Self, event| {
            let at = world.now + world.rng.millis(0, span);
            world.schedule(at, event);
        };
        for _ in 0..self.rng.between(0, 8) {
            at(self, Event::ClientSends);
        }
        for _ in 0..self.rng.between(0, 8) {
            at(self, Event::ServerSends);
        }
        if self.rng.percent(25) {
            at(self, Event::ClientCloses);
        }
        if self.rng.percent(25) {
            at(self, Event::ServerCloses);
        }
        if self.rng.percent(20) {
            let server = self.rng.index(2);
            at(self, Event::Restart(server));
        }
        for _ in 0..self.rng.between(0, 2) {
            at(self, Event::Wake);
        }
    }

    fn message(&mut self) -> Message {
        self.messages += 1;
        let number = self.messages;
        match self.rng.between(0, 9) {
            0 => Message::text(""),
            1 => Message::text(format!("\u{1}ack {number}")),
            2 => Message::text(format!("\u{1}\u{1}{number}")),
            3 => Message::text("\u{1}"),
            4 => Message::text(format!("prepared {number}")).prepare(),
            5 => Message::binary(format!("\u{1}{number}").into_bytes()),
            6 => Message::text("big ".repeat(self.rng.index(MAX_MESSAGE / 4))),
            _ => Message::text(number.to_string()),
        }
    }

    fn client_sends(&mut self) {
        if self.client.is_closing() {
            return;
        }
        for _ in 0..self.rng.between(1, 8) {
            let message = self.message();
            self.client_backlog.push(message);
        }
    }

    fn server_sends(&mut self) {
        for index in 0..self.sessions.len() {
            if self.sessions[index].lost || self.sessions[index].session.is_closing() {
                continue;
            }
            for _ in 0..self.rng.between(1, 8) {
                let message = self.message();
                self.sessions[index].backlog.push(message);
            }
        }
    }

    /// Sends what found no room before.
    fn retry(&mut self) -> bool {
        let mut busy = false;
        if self.client.is_closing() {
            self.client_backlog.clear();
        }
        while !self.client_backlog.is_empty() {
            let message = self.client_backlog.remove(0);
            let writable = self.client.is_writable();
            match self.client.send(message.clone()) {
                Ok(()) => {
                    assert!(writable);
                    self.up.sent(message);
                    busy = true;
                }
                Err(back) => {
                    assert!(!writable);
                    assert_eq!(back, message);
                    self.client_backlog.insert(0, message);
                    break;
                }
            }
        }
        for served in &mut self.sessions {
            if served.lost || served.session.is_closing() {
                served.backlog.clear();
            }
            while served.session.is_writable() && !served.backlog.is_empty() {
                let message = served.backlog.remove(0);
                served.session.send(message.clone()).unwrap();
                served.down.sent(message);
                busy = true;
            }
        }
        busy
    }

    fn client_closes(&mut self) {
        self.log(|| "client closes".into());
        self.client_backlog.clear();
        self.client.close(self.now, CloseReason::normal());
    }

    fn server_closes(&mut self) {
        let code = self.rng.pick(&[1000, 1001, 1012, 4100]);
        let reason = CloseReason::new(CloseCode::new(code).unwrap(), "server");
        let reconnect = self.rng.percent(40).then(|| self.rng.millis(0, 5000));
        self.log(|| format!("server closes with {code}, reconnect {reconnect:?}"));
        for served in self.sessions.iter_mut().filter(|s| !s.lost) {
            served.session.close(self.now, reason.clone(), reconnect);
        }
    }

    fn client_event(&mut self, event: ClientEvent) {
        self.log(|| format!("client event: {event:?}"));
        match event {
            ClientEvent::Open {
                attachment,
                resumed,
                ..
            } => {
                let served = self.conns[conn_index(attachment)].served;
                if resumed {
                    assert_eq!(served, self.peer, "resumed another session");
                    self.stats.resumed += 1;
                }
                self.peer = served;
            }
            ClientEvent::Moved { from, to, kind } => {
                assert!(from < to);
                let conn = &self.conns[conn_index(to)];
                assert_eq!(conn.served, self.peer, "moved to another session");
                assert_eq!(conn.kind, kind);
                self.stats.moved += 1;
            }
            ClientEvent::StartedAnew {
                unacknowledged,
                why,
                ..
            } => {
                self.stats.anew += 1;
                let up = std::mem::take(&mut self.up);
                up.given_back(&unacknowledged);
                let peer = self.peer.take().unwrap();
                let served = &mut self.sessions[peer];
                if why == Why::Ended {
                    assert!(
                        served.down.is_complete(),
                        "the server said how much there is"
                    );
                }
                served.up = Some(up);
            }
            ClientEvent::Closed { by, .. } => {
                self.stats.closed += 1;
                self.client_closed = Some(by);
                self.client_ended(by);
            }
            ClientEvent::GaveUp { failures } => {
                assert!(!failures.is_empty());
                self.stats.gave_up += 1;
                self.gave_up = true;
                self.client_ended(ClosedBy::Refused);
            }
            _ => {}
        }
    }

    fn client_ended(&mut self, by: ClosedBy) {
        assert!(self.client.is_closed() && !self.client.is_writable());
        assert_ne!(by, ClosedBy::ProtocolError);
        assert_ne!(by, ClosedBy::Superseded);
        let unacknowledged = self.client.take_unacknowledged();
        self.up.given_back(&unacknowledged);
        if by == ClosedBy::Local {
            assert!(self.up.is_complete());
        }
        if let (ClosedBy::Peer | ClosedBy::Local, Some(peer)) = (by, self.peer) {
            let down = &self.sessions[peer].down;
            assert!(down.is_complete(), "{:?}", down.counts());
        }
    }

    // The servers.

    fn arrive(&mut self, conn: usize) {
        let now = self.now;
        let hello = self.conns[conn].hello.clone();
        let server = self.conns[conn].server;
        let known = self
            .sessions
            .iter()
            .position(|s| !s.lost && s.server == server && s.session.id() == hello.session());
        let verdict = known.map(|index| self.sessions[index].session.authorize(&hello));
        let index = match (verdict, known) {
            (Some(Ok(())), Some(index)) => index,
            (Some(Err(Refused::Unknown)) | None, _) if hello.is_resume() => {
                let id = SessionId::random(&mut self.rng);
                let why = self.rng.pick(&[Why::Unknown, Why::Expired, Why::Overflow]);
                let config = self.server_config.clone();
                self.serve(server, ServerSession::new_instead(now, config, id, why))
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

    fn serve(&mut self, server: usize, session: ServerSession) -> usize {
        self.sessions.push(Served {
            session,
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

    fn server_event(&mut self, index: usize, event: ServerEvent) {
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

    fn restart(&mut self, server: usize) {
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

    // The network.

    fn act(&mut self, action: Action) {
        self.log(|| format!("client: {action:?}"));
        match action {
            Action::Start {
                attachment,
                kind,
                hello,
            } => {
                assert_eq!(
                    conn_index(attachment),
                    self.conns.len(),
                    "numbers rise by one"
                );
                self.start(kind, hello);
            }
            Action::Cancel { attachment } => {
                let conn = conn_index(attachment);
                assert_ne!(self.conns[conn].at_client, End::Gone);
                self.conns[conn].at_client = End::Gone;
                let end = self.conns[conn].up.cut(self.now, &mut self.rng);
                if !self.is_faulty() || self.rng.percent(80) {
                    let at = end.max(self.now) + self.rng.millis(0, 500);
                    self.schedule(at, Event::ServerNotices(conn));
                }
            }
            Action::Close { attachment, why } => {
                let conn = conn_index(attachment);
                assert_eq!(self.conns[conn].at_client, End::Live);
                self.conns[conn].at_client = End::Gone;
                self.push_up(conn, Item::Close(why));
            }
            _ => unreachable!(),
        }
    }

    fn start(&mut self, kind: TransportKind, hello: Hello) {
        self.stats.conns += 1;
        self.starts.started(self.now);
        let faulty = self.is_faulty();
        let (now, faults) = (self.now, self.faults);
        let rng = &mut self.rng;
        let up = Pipe::new(now, kind != TransportKind::WebSocket, rng);
        let mut down = Pipe::new(now, kind == TransportKind::LongPoll, rng);
        let server = usize::from(faulty && rng.percent(faults.astray));
        let conn = self.conns.len();
        let mut arrives = now + rng.millis(0, 300);
        let mut events = Vec::new();
        if faulty && rng.percent(faults.refuse) {
            events.push((arrives, Event::Refused(conn, 502)));
        } else if !faulty || !rng.percent(faults.swallow) {
            if faulty && rng.percent(faults.late) {
                arrives += rng.millis(0, 15_000);
            }
            events.push((arrives, Event::Arrive(conn)));
        }
        if faulty && rng.percent(faults.stall) {
            down.stall(now + rng.millis(100, 20_000));
        }
        if faulty && rng.percent(faults.kill) {
            let after = rng.pick(&[100, 1_000, 10_000]);
            events.push((now + rng.millis(1, after), Event::Cut(conn)));
        }
        if faulty && rng.percent(faults.hole) {
            let at = now + rng.millis(1, 10_000);
            let hole = if rng.percent(50) {
                Event::HoleUp(conn)
            } else {
                Event::HoleDown(conn)
            };
            events.push((at, hole));
        }
        self.conns.push(Conn {
            kind,
            hello,
            server,
            served: None,
            at_client: End::Coming,
            at_server: End::Coming,
            up,
            down,
        });
        for (at, event) in events {
            self.schedule(at, event);
        }
    }

    fn refused(&mut self, conn: usize, code: u64) {
        let it = &mut self.conns[conn];
        if it.at_client != End::Coming {
            return;
        }
        it.at_client = End::Gone;
        let why = match code {
            4000 => FailureWhy::Superseded,
            4001 => FailureWhy::Unknown,
            _ if self.rng.percent(5) => FailureWhy::Denied,
            _ => FailureWhy::Refused,
        };
        let hint = self.rng.percent(10).then(|| self.rng.millis(0, 10_000));
        let failure = Failure::new(it.kind, why, code.to_string()).with_retry_after(hint);
        self.log(|| format!("client: {} failed: {failure:?}", conn + 1));
        self.client.failed(self.now, attachment(conn), failure);
    }

    /// Both directions break; each side notices it, or does not.
    fn cut(&mut self, conn: usize) {
        self.log(|| format!("{} is cut", conn + 1));
        let faulty = self.is_faulty();
        let now = self.now;
        let it = &mut self.conns[conn];
        let up = it.up.cut(now, &mut self.rng);
        let down = it.down.cut(now, &mut self.rng);
        let delay = self.rng.millis(0, 1000);
        if !faulty || self.rng.percent(80) {
            self.schedule(down.max(now) + delay, Event::ClientNotices(conn));
        }
        if !faulty || self.rng.percent(80) {
            self.schedule(up.max(now) + delay, Event::ServerNotices(conn));
        }
    }

    fn client_loses(&mut self, conn: usize, clean: Option<CloseReason>) {
        let it = &mut self.conns[conn];
        match std::mem::replace(&mut it.at_client, End::Gone) {
            End::Gone => {}
            End::Live => self.client.detach(self.now, attachment(conn), clean),
            End::Coming => {
                let failure = Failure::new(it.kind, FailureWhy::Cut, "cut");
                self.client.failed(self.now, attachment(conn), failure);
            }
        }
    }

    fn server_loses(&mut self, conn: usize, clean: Option<CloseReason>) {
        let it = &mut self.conns[conn];
        if it.at_server == End::Live {
            it.at_server = End::Gone;
            let served = &mut self.sessions[it.served.unwrap()];
            served.session.detach(self.now, attachment(conn), clean);
        }
    }

    fn push_up(&mut self, conn: usize, item: Item) {
        if let Some(at) = self.conns[conn].up.push(self.now, item, &mut self.rng) {
            self.schedule(at, Event::Up(conn));
        }
    }

    fn push_down(&mut self, conn: usize, item: Item) {
        if let Some(at) = self.conns[conn].down.push(self.now, item, &mut self.rng) {
            self.schedule(at, Event::Down(conn));
        }
    }

    fn deliver_up(&mut self, conn: usize) {
        while let Some(item) = self.conns[conn].up.arrived(self.now) {
            let it = &self.conns[conn];
            if it.at_server != End::Live {
                continue;
            }
            let index = it.served.unwrap();
            match item {
                Item::Close(why) => {
                    self.log(|| format!("server: {} closed by the client: {why}", conn + 1));
                    self.server_loses(conn, Some(why));
                }
                Item::Message(message) => {
                    self.log(|| format!("server: {} <- {}", conn + 1, show(&message)));
                    let served = &mut self.sessions[index];
                    let session = &mut served.session;
                    if message
                        .as_text()
                        .is_some_and(|t| t.starts_with("\u{1}select"))
                    {
                        served.floor = served.floor.max(attachment(conn));
                    }
                    let message = session.receive(self.now, attachment(conn), message);
                    assert!(served.session.live().all(|live| live >= served.floor));
                    if let Some(message) = message.unwrap() {
                        let up = match &mut served.up {
                            Some(up) => up,
                            None => {
                                assert_eq!(self.peer, Some(index), "a message for nobody");
                                &mut self.up
                            }
                        };
                        up.received(&message);
                    }
                }
            }
            // What it wants comes before the next message.
            while let Some(event) = self.sessions[index].session.poll_event() {
                self.server_event(index, event);
            }
        }
    }

    fn deliver_down(&mut self, conn: usize) {
        while let Some(item) = self.conns[conn].down.arrived(self.now) {
            if self.conns[conn].at_client != End::Live {
                // Not open at this end: an answer that nobody waits for.
                continue;
            }
            match item {
                Item::Close(why) => {
                    self.log(|| format!("client: {} closed by the server: {why}", conn + 1));
                    self.client_loses(conn, Some(why));
                }
                Item::Message(message) => {
                    self.log(|| format!("client: {} <- {}", conn + 1, show(&message)));
                    let message = self.client.receive(self.now, attachment(conn), message);
                    if let Some(message) = message.unwrap() {
                        let peer = self.peer_of_message(conn);
                        self.sessions[peer].down.received(&message);
                    }
                }
            }
            // What it wants comes before the next message.
            while let Some(event) = self.client.poll_event() {
                self.client_event(event);
            }
            while let Some(action) = self.client.poll_action() {
                self.act(action);
            }
        }
    }

    fn peer_of_message(&self, conn: usize) -> usize {
        let served = self.conns[conn].served;
        assert_eq!(served, self.peer, "a message of another session");
        served.unwrap()
    }

    /// Hands over what the machines have for transports that have room.
    fn transmit(&mut self) -> bool {
        let mut busy = false;
        for conn in 0..self.conns.len() {
            while self.conns[conn].at_client == End::Live && self.conns[conn].up.has_room() {
                let Some(message) = self.client.next_transmit(self.now, attachment(conn)) else {
                    break;
                };
                let message = message.clone();
                if self.rng.percent(5) {
                    // Asked twice, as after `Pending`.
                    let again = self.client.next_transmit(self.now, attachment(conn));
                    assert_eq!(again, Some(&message));
                }
                self.log(|| format!("client: {} -> {}", conn + 1, show(&message)));
                self.push_up(conn, Item::Message(message));
                self.client.transmitted(self.now, attachment(conn));
                busy = true;
                // A close of the transport comes after what it took, and what is sent next may
                // belong to another session.
                while let Some(action) = self.client.poll_action() {
                    self.act(action);
                }
                while let Some(event) = self.client.poll_event() {
                    self.client_event(event);
                }
            }
            while self.conns[conn].at_server == End::Live && self.conns[conn].down.has_room() {
                let index = self.conns[conn].served.unwrap();
                let session = &mut self.sessions[index].session;
                let Some(message) = session.next_transmit(self.now, attachment(conn)) else {
                    break;
                };
                let message = message.clone();
                self.log(|| format!("server: {} -> {}", conn + 1, show(&message)));
                self.push_down(conn, Item::Message(message));
                let session = &mut self.sessions[index].session;
                session.transmitted(self.now, attachment(conn));
                busy = true;
                while let Some(event) = self.sessions[index].session.poll_event() {
                    self.server_event(index, event);
                }
            }
        }
        busy
    }

    fn is_faulty(&self) -> bool {
        self.now < self.faults_end
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.serial += 1;
        self.agenda.push(Reverse((at, self.serial, event)));
    }

    fn log(&self, what: impl FnOnce() -> String) {
        if self.trace {
            let at = (self.now - self.epoch).as_secs_f64();
            eprintln!("{at:10.4} {}", what());
        }
    }

    fn state(&self) -> String {
        let peer = self.peer.map(|peer| {
            let served = &self.sessions[peer];
            (served.down.counts(), served.backlog.len(), &served.session)
        });
        format!(
            "up {:?}, backlog {}, client {:#?}, peer {peer:#?}",
            self.up.counts(),
            self.client_backlog.len(),
            self.client
        )
    }
}

impl Faults {
    fn random(rng: &mut Rng) -> Self {
        let mut likely = || rng.pick(&[0, 0, 10, 40]);
        Self {
            refuse: likely(),
            swallow: likely(),
            half_open: likely(),
            stall: likely(),
            kill: likely(),
            hole: likely(),
            astray: likely() / 4,
            late: likely(),
        }
    }
}

/// The largest message, in bytes.
const MAX_MESSAGE: usize = 600;

fn config(rng: &mut Rng) -> Config {
    if rng.percent(20) {
        return Config::new();
    }
    let heartbeat = rng.millis(500, 25_000);
    let answer = rng.millis(1_500, 10_000);
    Config::new()
        .with_replay_messages(rng.index(30) + 1)
        .with_replay_bytes(rng.index(2000) + 1)
        .with_ack_messages(rng.between(1, 12))
        .with_ack_bytes(rng.between(1, 1000))
        .with_ack_delay(rng.millis(0, 1000))
        .with_heartbeat(heartbeat)
        .with_pong_timeout(answer)
        .with_silence(heartbeat + answer)
        .with_park(rng.millis(5_000, 120_000))
        .with_close_timeout(rng.millis(2_500, 6_000))
        .with_max_attachments(rng.index(3) + 2)
}

fn attachment(conn: usize) -> u64 {
    conn as u64 + 1
}

fn conn_index(attachment: u64) -> usize {
    usize::try_from(attachment).unwrap() - 1
}

fn show(message: &Message) -> String {
    match message.as_text() {
        Some(text) if text.len() < 100 => format!("{text:?}"),
        Some(text) if text.starts_with('\u{1}') => format!("{text:?}"),
        _ => format!("{message:?}"),
    }
}
