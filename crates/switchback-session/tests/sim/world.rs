//! A client, servers, and the network between them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use switchback_core::{Broadcast, CloseCode, CloseReason, Message, Subscription, TransportKind};
use switchback_session::{ClientConfig, ClientSession, ClosedBy, Config, Hello};

use super::applications::MAX_MESSAGE;
use super::faults::{Faults, config};
use super::oracle::{Starts, Stream};
use super::pipe::Pipe;
use super::rng::Rng;
use super::untold::Untold;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(super) now: Instant,
    pub(super) epoch: Instant,
    pub(super) rng: Rng,
    pub(super) trace: bool,
    pub(super) agenda: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    pub(super) serial: u64,
    /// Until then the network misbehaves.
    pub(super) faults_end: Instant,
    pub(super) faults: Faults,
    /// The network cuts connections that are idle for so long, also when it does nothing else.
    pub(super) idle_limit: Option<Duration>,
    /// The last close of all is cut off, on a network that does nothing else any more.
    severs: bool,
    pub(super) client: ClientSession,
    pub(super) client_backlog: Vec<Message>,
    pub(super) client_closed: Option<ClosedBy>,
    pub(super) gave_up: bool,
    /// The server has told the client how its session has ended.
    pub(super) told: bool,
    /// The server session that the client's belongs to.
    pub(super) peer: Option<usize>,
    pub(super) up: Stream,
    pub(super) config: Config,
    pub(super) server_config: Config,
    pub(super) sessions: Vec<Served>,
    pub(super) conns: Vec<Conn>,
    pub(super) starts: Starts,
    pub(super) messages: u64,
    pub(super) preferred: TransportKind,
    pub(crate) stats: Stats,
}

/// A session on a server.
pub(super) struct Served {
    pub(super) session: Untold,
    /// The server forgot it by a restart.
    pub(super) lost: bool,
    pub(super) server: usize,
    pub(super) down: Stream,
    /// What the client sent in the session that belongs to this one, once the client has left it.
    pub(super) up: Option<Stream>,
    pub(super) backlog: Vec<Message>,
    /// Where some of the backlog is published, and what reads it.
    pub(super) broadcast: Broadcast,
    pub(super) subscription: Subscription,
    pub(super) closed: Option<ClosedBy>,
    /// The lowest number of an attachment that may live or come.
    pub(super) floor: u64,
}

/// A transport.
pub(super) struct Conn {
    pub(super) kind: TransportKind,
    pub(super) hello: Hello,
    pub(super) server: usize,
    pub(super) served: Option<usize>,
    pub(super) at_client: End,
    pub(super) at_server: End,
    pub(super) mute: bool,
    pub(super) last_traffic: Instant,
    pub(super) forgotten: bool,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Not there yet.
    Coming,
    Live,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Arrive(usize),
    Opened(usize),
    Refused(usize, u64),
    Up(usize),
    Down(usize),
    Cut(usize),
    Idle(usize),
    HoleUp(usize),
    HoleDown(usize),
    ClientNotices(usize),
    ServerNotices(usize),
    ClientSends,
    ServerSends,
    ClientCloses,
    ServerCloses,
    Restart(usize),
    Evict,
    Wake,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) messages: u64,
    pub(crate) conns: u64,
    pub(crate) resumed: u64,
    pub(crate) anew: u64,
    /// Of these, with a reason.
    pub(crate) told: u64,
    /// Closes that the client learnt of from what remained of the session.
    pub(crate) confirmed: u64,
    /// Messages that were published, and taken at once.
    pub(crate) published: u64,
    /// How often the session was not told of them before something else happened.
    pub(crate) untold: u64,
    /// Messages that were sent because it was allowed, and not given to the session before.
    pub(crate) at_once: u64,
    /// Messages that were received and only counted.
    pub(crate) tallied: u64,
    pub(crate) moved: u64,
    pub(crate) unheard: u64,
    pub(crate) closed: u64,
    pub(crate) gave_up: u64,
    /// Connections that were idle for too long.
    pub(crate) idle: u64,
    pub(crate) steps: u64,
}

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let now = Instant::now();
        let mut server_config = config(&mut rng);
        let mut client_side = config(&mut rng);
        let severs = rng.percent(10);
        if severs {
            // So long that the client comes back before, whatever the gate says.
            let long = |config: Config| config.with_close_timeout(MINUTE).with_park(2 * MINUTE);
            server_config = long(server_config);
            client_side = long(client_side);
        }
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
        let idle_limit = rng.percent(5).then(|| {
            // Not about 12.5 s: where half the heartbeat is the limit, chance decides.
            let (low, high) = rng.pick(&[(11_000, 12_000), (13_000, 24_000)]);
            rng.millis(low, high)
        });
        if idle_limit.is_some() {
            let answer = server_config.pong_timeout();
            server_config = server_config
                .with_heartbeat(25 * SECOND)
                .with_silence(25 * SECOND + answer)
                .with_park(120 * SECOND);
        }
        let mut world = Self {
            client: ClientSession::new(now, client_config, None, entropy),
            now,
            epoch: now,
            trace,
            agenda: BinaryHeap::new(),
            serial: 0,
            faults_end,
            faults,
            idle_limit,
            severs,
            client_backlog: Vec::new(),
            client_closed: None,
            gave_up: false,
            told: false,
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
            if reachable && self.idle_limit.is_some() {
                self.adapt();
            }
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

    /// Half an hour without traffic: the heartbeat becomes so short that the network cuts nothing
    /// any more.
    fn adapt(&mut self) {
        let (until, before) = (self.now + 1800 * SECOND, self.stats.idle);
        while self.step(until) {}
        self.now = until;
        // Twice two deaths until it is the shortest, and as many again where the session begins anew.
        let cuts = self.stats.idle - before;
        assert!(cuts <= 8, "{cuts} times: {}", self.state());
        let patience = self.now + 200 * SECOND;
        while !self.is_quiet() {
            assert!(self.step(patience), "lost while idle: {}", self.state());
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
        // A resume leads to the first server.
        let severs = self.severs && self.sessions[peer].server == 0;
        if by_client {
            self.client_closes();
        } else {
            let reason = CloseReason::new(CloseCode::new(4200).unwrap(), "enough");
            self.sessions[peer].session.close(self.now, reason, None);
            self.log(|| "server closes calmly".into());
        }
        self.after();
        if severs {
            self.sever();
        }
        let patience = self.now + 400 * SECOND;
        while !self.is_over() {
            assert!(self.step(patience), "no end: {}", self.state());
        }
        let served = &self.sessions[peer];
        let (local, remote) = (Some(ClosedBy::Local), Some(ClosedBy::Peer));
        let expected = if by_client {
            (local, remote)
        } else if severs && served.closed == Some(ClosedBy::TimedOut) {
            // The client's answer was lost, and it has gone.
            (remote, served.closed)
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

    /// Cuts what is open once or twice in the next seconds.
    fn sever(&mut self) {
        for _ in 0..self.rng.between(1, 2) {
            let at = self.now + self.rng.millis(0, 1500);
            while !self.is_over() && self.step(at) {}
            self.now = at;
            if let Some(carrier) = self.client.carrier() {
                self.cut(conn_index(carrier));
            }
            self.after();
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
            && served.session.is_told()
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
    pub(super) fn is_over(&self) -> bool {
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

    pub(super) fn happen(&mut self, event: Event) {
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
            Event::Idle(conn) => self.idle(conn),
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
            Event::Evict => self.evict(),
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

    pub(super) fn is_faulty(&self) -> bool {
        self.now < self.faults_end
    }

    pub(super) fn schedule(&mut self, at: Instant, event: Event) {
        self.serial += 1;
        self.agenda.push(Reverse((at, self.serial, event)));
    }

    pub(super) fn log(&self, what: impl FnOnce() -> String) {
        if self.trace {
            let at = (self.now - self.epoch).as_secs_f64();
            eprintln!("{at:10.4} {}", what());
        }
    }

    pub(super) fn state(&self) -> String {
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

pub(super) fn attachment(conn: usize) -> u64 {
    conn as u64 + 1
}

pub(super) fn conn_index(attachment: u64) -> usize {
    usize::try_from(attachment).unwrap() - 1
}

pub(super) fn show(message: &Message) -> String {
    match message.as_text() {
        Some(text) if text.len() < 100 => format!("{text:?}"),
        Some(text) if text.starts_with('\u{1}') => format!("{text:?}"),
        _ => format!("{message:?}"),
    }
}
