//! The network: transports that open or do not, carry messages, and break.

use switchback_core::{CloseReason, Message, TransportKind};
use switchback_session::{Action, Allowance, Failure, FailureWhy, Hello, ServerSession, Tally};

use super::pipe::{Item, Pipe};
use super::world::{Conn, End, Event, World, attachment, conn_index, show};

/// Has a session receive a message as drivers do: counts it, if the session allows that, and else gives it to
/// the session. What may be sent at once is then as before, or nothing, as the session tells.
macro_rules! receive {
    ($session:ident, $now:expr, $attachment:expr, $message:ident, $tallies:ident) => {{
        let mut tally = Tally::default();
        $tallies &= $session.may_tally($attachment) && tally.push(&$message);
        if $tallies {
            let before = $session.allowance($now, $attachment);
            let holds = $session.receive_tally($now, $attachment, tally);
            let now = if holds { before } else { Allowance::NONE };
            assert!(before.is_none() || $session.allowance($now, $attachment) == now);
            Ok(Some($message))
        } else {
            $session.receive($now, $attachment, $message)
        }
    }};
}

impl World {
    pub(super) fn act(&mut self, action: Action) {
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

    pub(super) fn start(&mut self, kind: TransportKind, hello: Hello) {
        self.stats.conns += 1;
        self.starts.started(self.now);
        let faulty = self.is_faulty();
        let (now, faults) = (self.now, self.faults);
        let rng = &mut self.rng;
        let mut up = Pipe::new(now, kind != TransportKind::WebSocket, rng);
        let mute = faulty && rng.percent(faults.mute);
        if mute {
            up.cut(now, rng);
        }
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
            mute,
            last_traffic: now,
            forgotten: false,
            up,
            down,
        });
        for (at, event) in events {
            self.schedule(at, event);
        }
    }

    pub(super) fn refused(&mut self, conn: usize, code: u64) {
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
    pub(super) fn cut(&mut self, conn: usize) {
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

    pub(super) fn client_loses(&mut self, conn: usize, clean: Option<CloseReason>) {
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

    pub(super) fn server_loses(&mut self, conn: usize, clean: Option<CloseReason>) {
        let it = &mut self.conns[conn];
        if it.at_server == End::Live {
            it.at_server = End::Gone;
            let served = &mut self.sessions[it.served.unwrap()];
            served.session.detach(self.now, attachment(conn), clean);
        }
    }

    /// Has something between that forgets idle connections. It tells nobody, or both.
    pub(super) fn idle(&mut self, conn: usize) {
        let Some(limit) = self.idle_limit else {
            return;
        };
        let it = &mut self.conns[conn];
        let is_idle = self.now >= it.last_traffic + limit;
        if it.at_client != End::Live || it.forgotten || !is_idle {
            return;
        }
        it.forgotten = true;
        self.stats.idle += 1;
        if self.rng.percent(50) {
            return self.cut(conn);
        }
        self.log(|| format!("{} is forgotten", conn + 1));
        let it = &mut self.conns[conn];
        it.up.cut(self.now, &mut self.rng);
        it.down.cut(self.now, &mut self.rng);
    }

    fn traffic(&mut self, conn: usize) {
        let it = &mut self.conns[conn];
        it.last_traffic = self.now;
        // Polls and their answers are traffic of their own.
        if it.kind != TransportKind::LongPoll
            && let Some(limit) = self.idle_limit
        {
            self.schedule(self.now + limit, Event::Idle(conn));
        }
    }

    pub(super) fn push_up(&mut self, conn: usize, item: Item) {
        self.traffic(conn);
        if let Some(at) = self.conns[conn].up.push(self.now, item, &mut self.rng) {
            self.schedule(at, Event::Up(conn));
        }
    }

    pub(super) fn push_down(&mut self, conn: usize, item: Item) {
        self.traffic(conn);
        if let Some(at) = self.conns[conn].down.push(self.now, item, &mut self.rng) {
            self.schedule(at, Event::Down(conn));
        }
    }

    pub(super) fn deliver_up(&mut self, conn: usize) {
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
                    let session: &mut ServerSession = &mut served.session;
                    if message
                        .as_text()
                        .is_some_and(|t| t.starts_with("\u{1}select"))
                    {
                        served.floor = served.floor.max(attachment(conn));
                    }
                    let mut tallies = self.rng.percent(50);
                    let message = receive!(session, self.now, attachment(conn), message, tallies);
                    self.stats.tallied += u64::from(tallies);
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

    pub(super) fn deliver_down(&mut self, conn: usize) {
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
                    self.told = self.tells_the_end(conn, &message);
                    let (client, mut tallies) = (&mut self.client, self.rng.percent(50));
                    let message = receive!(client, self.now, attachment(conn), message, tallies);
                    self.stats.tallied += u64::from(tallies);
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
            self.told = false;
        }
    }

    /// Tells whether this is the answer of the client's server to a resume of a session that has
    /// ended there, to a client that has nothing else.
    fn tells_the_end(&self, conn: usize, message: &Message) -> bool {
        let it = &self.conns[conn];
        let is_opened = message
            .as_text()
            .is_some_and(|text| text.starts_with("\u{1}opened"));
        let Some(peer) = self.peer.filter(|peer| Some(*peer) != it.served) else {
            return false;
        };
        let served = &self.sessions[peer];
        is_opened
            && self.client.carrier().is_none()
            && it.hello.is_resume()
            && it.hello.session() == served.session.id()
            && it.server == served.server
            && !served.lost
    }

    pub(super) fn peer_of_message(&self, conn: usize) -> usize {
        let served = self.conns[conn].served;
        assert_eq!(served, self.peer, "a message of another session");
        served.unwrap()
    }

    /// Hands over what the machines have for transports that have room.
    pub(super) fn transmit(&mut self) -> bool {
        let mut busy = false;
        for conn in 0..self.conns.len() {
            while self.conns[conn].at_client == End::Live && self.conns[conn].up.room() > 0 {
                let mut taken = self.taking(self.conns[conn].up.room());
                if self.rng.percent(30) {
                    self.client_sends_at_once(attachment(conn), &mut taken);
                }
                self.client
                    .transmit(self.now, attachment(conn), |m| taken.take(m));
                if taken.messages.is_empty() {
                    break;
                }
                for message in taken.messages {
                    self.log(|| format!("client: {} -> {}", conn + 1, show(&message)));
                    if self.conns[conn].mute && self.client.carrier() != Some(attachment(conn)) {
                        self.stats.unheard += 1;
                    }
                    self.push_up(conn, Item::Message(message));
                }
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
            while self.conns[conn].at_server == End::Live && self.conns[conn].down.room() > 0 {
                let index = self.conns[conn].served.unwrap();
                let mut taken = self.taking(self.conns[conn].down.room());
                let mut is_told = true;
                if self.rng.percent(30) {
                    let served = &mut self.sessions[index];
                    self.stats.published += served.publish(self.now, attachment(conn), &mut taken);
                    is_told = served.session.is_told()
                        || served.session.is_owing(self.now, attachment(conn))
                        || self.rng.percent(50);
                } else if self.rng.percent(30) {
                    let served = &mut self.sessions[index];
                    self.stats.at_once +=
                        served.send_at_once(self.now, attachment(conn), &mut taken);
                }
                if is_told {
                    let session = &mut self.sessions[index].session;
                    session.transmit(self.now, attachment(conn), |m| taken.take(m));
                } else {
                    self.stats.untold += 1;
                }
                if taken.messages.is_empty() {
                    break;
                }
                for message in taken.messages {
                    self.log(|| format!("server: {} -> {}", conn + 1, show(&message)));
                    self.push_down(conn, Item::Message(message));
                }
                busy = true;
                while let Some(event) = self.sessions[index].session.poll_event() {
                    self.server_event(index, event);
                }
            }
        }
        busy
    }

    /// Up to `room` messages are taken: all at once, or after `Pending` has come in between.
    fn taking(&mut self, room: usize) -> Taken {
        Taken {
            room: 1 + self.rng.index(room),
            messages: Vec::new(),
        }
    }
}

/// What a transport took.
pub(super) struct Taken {
    room: usize,
    messages: Vec<Message>,
}

impl Taken {
    pub(super) fn take(&mut self, message: &Message) -> bool {
        let room = self.messages.len() < self.room;
        if room {
            self.messages.push(message.clone());
        }
        room
    }
}
