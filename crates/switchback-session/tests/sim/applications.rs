//! The applications on both ends, and what they are promised.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use switchback_core::{CloseCode, CloseReason, Message, Run};
use switchback_session::{ClientEvent, ClosedBy, Why};

use super::network::Taken;
use super::world::{End, Event, Served, World, conn_index};

/// The largest message, in bytes.
pub(super) const MAX_MESSAGE: usize = 600;

impl World {
    pub(super) fn plan(&mut self) {
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
        if self.rng.percent(20) {
            at(self, Event::Evict);
        }
        for _ in 0..self.rng.between(0, 2) {
            at(self, Event::Wake);
        }
    }

    pub(super) fn message(&mut self) -> Message {
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

    pub(super) fn client_sends(&mut self) {
        if self.client.is_closing() {
            return;
        }
        for _ in 0..self.rng.between(1, 8) {
            let message = self.message();
            self.client_backlog.push(message);
        }
    }

    /// Has the transport take what the client may send, past the session.
    pub(super) fn client_sends_at_once(&mut self, attachment: u64, taken: &mut Taken) {
        let mut allowance = self.client.allowance(self.now, attachment);
        while let Some(message) = self.client_backlog.first()
            && allowance.take(message)
            && taken.take(message)
        {
            let message = self.client_backlog.remove(0);
            assert!(self.client.is_writable());
            self.client.sent(self.now, attachment, message.clone());
            self.up.sent(message);
            self.stats.at_once += 1;
        }
    }

    pub(super) fn server_sends(&mut self) {
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
    pub(super) fn retry(&mut self) -> bool {
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
            if !served.backlog.is_empty() {
                served.session.settle();
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

    pub(super) fn client_closes(&mut self) {
        self.log(|| "client closes".into());
        self.client_backlog.clear();
        self.client.close(self.now, CloseReason::normal());
    }

    pub(super) fn server_closes(&mut self) {
        let code = self.rng.pick(&[1000, 1001, 1012, 4100]);
        let reason = CloseReason::new(CloseCode::new(code).unwrap(), "server");
        let reconnect = self.rng.percent(40).then(|| self.rng.millis(0, 5000));
        self.log(|| format!("server closes with {code}, reconnect {reconnect:?}"));
        for served in self.sessions.iter_mut().filter(|s| !s.lost) {
            served.session.close(self.now, reason.clone(), reconnect);
        }
    }

    pub(super) fn client_event(&mut self, event: ClientEvent) {
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
                if conn.mute {
                    let left = &self.conns[conn_index(from)];
                    assert_eq!(left.at_client, End::Gone, "left what worked");
                }
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
                match why {
                    Why::Expired => assert!(matches!(
                        served.closed,
                        Some(ClosedBy::Expired | ClosedBy::TimedOut)
                    )),
                    Why::Overflow => assert_eq!(served.closed, Some(ClosedBy::Overflow)),
                    _ => {}
                }
                if self.told && served.session.remains().is_some() {
                    assert_ne!(why, Why::Unknown, "who has the token is told");
                    up.given_back_exactly(&unacknowledged);
                }
                self.stats.told += u64::from(matches!(why, Why::Expired | Why::Overflow));
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

    pub(super) fn client_ended(&mut self, by: ClosedBy) {
        assert!(self.client.is_closed() && !self.client.is_writable());
        assert_ne!(by, ClosedBy::ProtocolError);
        assert_ne!(by, ClosedBy::Superseded);
        let unacknowledged = self.client.take_unacknowledged();
        self.up.given_back(&unacknowledged);
        if by == ClosedBy::Local {
            assert!(self.up.is_complete());
        }
        if let Some(peer) = self.peer.filter(|_| self.told) {
            let served = &self.sessions[peer];
            let closed = matches!(served.closed, Some(ClosedBy::Local | ClosedBy::Peer));
            let complete = self.up.is_complete() && served.down.is_complete();
            self.stats.confirmed += u64::from(closed && complete);
            assert!(
                !(closed && complete && by == ClosedBy::TimedOut),
                "everything had arrived, and the server has said so"
            );
        }
        if let (ClosedBy::Peer | ClosedBy::Local, Some(peer)) = (by, self.peer) {
            let down = &self.sessions[peer].down;
            assert!(down.is_complete(), "{:?}", down.counts());
        }
    }
}

impl Served {
    /// Has the transport take what the server may send, past the session. Returns how many messages.
    pub(super) fn send_at_once(&mut self, now: Instant, attachment: u64, taken: &mut Taken) -> u64 {
        let mut count = 0;
        self.session.settle();
        let mut allowance = self.session.allowance(now, attachment);
        while let Some(message) = self.backlog.first()
            && !self.lost
            && allowance.take(message)
            && taken.take(message)
        {
            let message = self.backlog.remove(0);
            assert!(self.session.is_writable());
            self.session.sent(now, attachment, message.clone());
            self.down.sent(message);
            count += 1;
        }
        count
    }

    /// Publishes what is to be sent, and has the transport take what it may of that. Returns how much
    /// it took.
    pub(super) fn publish(&mut self, now: Instant, attachment: u64, taken: &mut Taken) -> u64 {
        if self.lost || self.session.is_closing() {
            return 0;
        }
        let mut left = std::mem::take(&mut self.backlog);
        for message in &left {
            self.broadcast.publish(message.clone());
        }
        let mut count = 0;
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(run) = self.subscription.poll_next(&mut cx) {
            let mut run = run.unwrap();
            let take = |run: &Run| run.front().is_some_and(|message| taken.take(message));
            let sent = self.session.send_run(now, attachment, &mut run, take);
            for message in left.drain(..sent) {
                self.down.sent(message);
                count += 1;
            }
            if !run.is_empty() {
                break;
            }
        }
        // It reads on behind what nobody took, which is sent otherwise.
        while self.subscription.poll_next(&mut cx).is_ready() {}
        self.backlog = left;
        count
    }
}
