//! The short way and the long one in turn, at random.

use switchback_core::{Broadcast, Listener};
use switchback_session::{ClientConfig, ClientSession};

use super::short::short_benches;
use super::*;

/// A generator of pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn index(&mut self, len: u32) -> usize {
        self.below(len.into()).try_into().unwrap()
    }
}

/// What the peer and the application of a [`Bench`] know of each other.
#[derive(Default)]
struct Talk {
    /// How many messages the peer has sent, and the application received.
    came: u64,
    received: u64,
    /// How many messages the application has sent, and the wire has.
    sent: u64,
    arrived: u64,
    /// What each side has acknowledged.
    acked: u64,
    peer_acked: u64,
    /// The peer owes a pong.
    pinged: bool,
    /// How many messages went the short way.
    short: u64,
    /// How many were published, and how often all of them went, and the machine does not know it.
    published: u64,
    past: u64,
}

/// Is told that something was published. The test knows.
struct Nobody;

impl Listener for Nobody {
    fn published(self: Arc<Self>) {}
}

impl Talk {
    fn text(number: u64) -> String {
        // Some begin like control frames.
        let escape = if number % 11 == 5 { "\u{1}" } else { "" };
        format!("{escape}{number}")
    }

    fn on_wire(number: u64, plain: bool) -> String {
        let text = Self::text(number);
        match text.strip_prefix('\u{1}') {
            Some(rest) if plain => format!("^{rest}"),
            Some(rest) => format!("^^{rest}"),
            None => text,
        }
    }

    /// Everything comes once and in order, and no acknowledgement is of more than came.
    fn look(&mut self, bench: &Bench, plain: bool) {
        for text in std::mem::take(&mut bench.wire.lock().unwrap().sent) {
            if text == "^ping" {
                self.pinged = true;
            } else if let Some(ack) = text.strip_prefix("^ack ") {
                let ack = ack.parse().unwrap();
                assert!(self.acked <= ack && ack <= self.came, "{ack}");
                self.acked = ack;
            } else {
                self.arrived += 1;
                assert_eq!(text, Self::on_wire(self.arrived, plain));
            }
        }
        assert!(self.arrived <= self.sent);
    }

    fn takes(&mut self, message: &Message) {
        self.received += 1;
        assert_eq!(message.as_text(), Some(&*Self::text(self.received)));
    }

    fn takes_all(&mut self, batch: &mut Batch) {
        while let Some(message) = batch.pop() {
            self.takes(&message);
        }
    }
}

impl Bench {
    /// Drives as `Shared` does. Returns whether the short way is open.
    fn drives(&mut self, due: bool) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        self.driver.drive(cx, self.now, &self.outbox, true, due);
        self.driver.is_short()
    }

    /// Has the application receive as it does through `Shared`. Returns whether it waits for more.
    fn polls(&mut self, talk: &mut Talk, short: &mut bool, batch: &mut Batch) -> bool {
        if !*short {
            while let Poll::Ready(event) = self.driver.take() {
                if let Some(Event::Message(message)) = event.unwrap() {
                    talk.takes(&message);
                }
            }
        }
        if !*short || !self.driver.is_well() {
            *short = self.drives(false);
            return false;
        }
        let cx = &mut Context::from_waker(Waker::noop());
        if self.driver.has_sent(&self.outbox)
            && !self.driver.transmit_short(cx, self.now, &self.outbox)
        {
            *short = self.drives(false);
            return false;
        }
        let waits = match self.driver.recv_short(cx, self.now, batch) {
            Received::Messages => false,
            Received::Drained => self.driver.rest_short(cx, self.now),
            Received::Other => panic!("it is nothing else"),
        };
        if waits {
            let link = &self.driver.links[0];
            assert!(self.driver.deferred == 0 && !self.driver.buffered);
            let owes = self.driver.machine.is_owing(self.now, link.attachment);
            assert!(!(owes || link.unflushed) || self.wire.lock().unwrap().full);
        }
        waits
    }
}

/// Drives a bench as `Shared` does, at random.
fn plays(mut bench: Bench, plain: bool, dice: &mut Dice) -> Talk {
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut talk, mut batch) = (Talk::default(), Batch::default());
    let mut short = true;
    let broadcast = Broadcast::with_capacity(10_000, 1 << 20);
    bench
        .driver
        .subscribe(&broadcast, Arc::new(Nobody), &bench.outbox)
        .unwrap();
    for _ in 0..200 {
        match dice.below(14) {
            0..=2 => {
                for _ in 0..dice.below(12) {
                    let text = match dice.below(8) {
                        0 if !plain => {
                            talk.peer_acked += dice.below(talk.arrived - talk.peer_acked + 1);
                            format!("^ack {}", talk.peer_acked)
                        }
                        1 if talk.pinged => {
                            talk.pinged = false;
                            "^pong".to_owned()
                        }
                        2 if !plain => "^unknown".to_owned(),
                        3 if !plain => {
                            // Replays some, as after a hand-over.
                            let from = talk.came - dice.below(talk.came.min(3) + 1) + 1;
                            let mut wire = bench.wire.lock().unwrap();
                            wire.comes.push_back(format!("^seq {from}"));
                            let again = (from..=talk.came).map(|n| Talk::on_wire(n, plain));
                            wire.comes.extend(again);
                            continue;
                        }
                        _ => {
                            talk.came += 1;
                            Talk::on_wire(talk.came, plain)
                        }
                    };
                    bench.wire.lock().unwrap().comes.push_back(text);
                }
                bench.driver.note_readable(true);
            }
            3..=5 => {
                talk.takes_all(&mut batch);
                bench.polls(&mut talk, &mut short, &mut batch);
            }
            6..=8 => {
                // The application replies while it has messages left, or sends of its own accord.
                for _ in 0..dice.below(6) {
                    if let Some(message) = batch.pop() {
                        talk.takes(&message);
                    }
                    let message = Message::from(Talk::text(talk.sent + 1));
                    let more = !batch.is_empty();
                    if bench.driver.read_ahead(&bench.outbox) {
                        short = bench.drives(false);
                        continue;
                    }
                    if !short {
                        let sent = bench.driver.send(message).is_ok();
                        talk.sent += u64::from(sent);
                        if !sent || !bench.driver.may_defer() {
                            short = bench.drives(false);
                        }
                        continue;
                    }
                    match bench.driver.send_short(cx, bench.now, message) {
                        Ok(is_well) => {
                            talk.sent += 1;
                            talk.short += 1;
                            assert!(is_well && bench.driver.has_deferred());
                            if !bench.driver.may_linger(more) {
                                assert!(bench.driver.flush_short(cx));
                                let full = bench.wire.lock().unwrap().full;
                                assert!(!bench.driver.links[0].unflushed || full);
                            }
                        }
                        Err(_) => {
                            short = bench.drives(false);
                        }
                    }
                }
            }
            12 | 13 => {
                for _ in 0..dice.below(4) {
                    talk.sent += 1;
                    talk.published += 1;
                    broadcast.publish(Talk::text(talk.sent));
                }
                // The janitor delivers, or nobody comes before something else happens.
                if short && dice.below(4) > 0 && bench.driver.is_well() {
                    let now = bench.now;
                    let all = bench.driver.transmit_short(cx, now, &bench.outbox);
                    talk.past += u64::from(all && !bench.driver.machine.is_told());
                    if !(all && bench.driver.rest_short(cx, now)) {
                        short = bench.drives(false);
                    }
                }
            }
            9 => {
                bench.now += Duration::from_millis([1, 300, 600, 1000][dice.index(4)]);
                // The janitor's timer.
                if bench.driver.deadline().is_some_and(|at| at <= bench.now) {
                    short = bench.drives(true);
                }
            }
            10 => {
                let mut wire = bench.wire.lock().unwrap();
                wire.full = dice.below(3) == 0;
                wire.full_after = (dice.below(3) == 0).then(|| 1 + dice.index(4));
                drop(wire);
                bench.driver.note_readable(true);
            }
            11 if dice.below(4) == 0 => bench.driver.machine.hold_acks(dice.below(3) == 0),
            _ => {
                short = bench.drives(false);
            }
        }
        // Nothing is received into a batch that is not empty.
        if dice.below(2) == 0 {
            talk.takes_all(&mut batch);
        }
        talk.look(&bench, plain);
    }
    talk.takes_all(&mut batch);
    // In the end there is room, and all that was sent and came is known, after a while, to both.
    let mut wire = bench.wire.lock().unwrap();
    (wire.full, wire.full_after) = (false, None);
    drop(wire);
    bench.driver.machine.hold_acks(false);
    if !plain {
        let mut acks = 0;
        while talk.arrived < talk.sent || acks == 0 {
            acks += 1;
            assert!(acks < 1000);
            let ack = format!("^ack {}", talk.arrived);
            bench.wire.lock().unwrap().comes.push_back(ack);
            bench.driver.note_readable(true);
            bench.polls(&mut talk, &mut short, &mut batch);
            talk.takes_all(&mut batch);
            talk.look(&bench, plain);
        }
    }
    let mut rounds = 0;
    while !bench.polls(&mut talk, &mut short, &mut batch) {
        talk.takes_all(&mut batch);
        rounds += 1;
        assert!(rounds < 1000);
    }
    talk.look(&bench, plain);
    assert_eq!((talk.arrived, talk.received), (talk.sent, talk.came));
    if !plain {
        bench.wait(SECOND);
        talk.look(&bench, plain);
        assert_eq!(talk.acked, talk.came);
    }
    talk
}

/// A client whose session is open, on whose bench the short way is.
fn client_bench(ack_messages: u64) -> Bench {
    let config = ClientConfig::new().with_transports([TransportKind::WebSocket]);
    let config = config.with_session(Config::new().with_replay_messages(5));
    let now = Instant::now();
    let mut session = ClientSession::new(now, config, None, Box::new(OsEntropy));
    let id = session.id().to_string();
    session.opened(now, 1);
    while session.poll_action().is_some() {}
    let mut driver = Driver::new(Machine::Client(Box::new(session)), None, 1 << 16);
    let wire = Arc::new(Mutex::new(Wire::default()));
    let transport = Line {
        info: TransportInfo::new(TransportKind::WebSocket),
        wire: wire.clone(),
    };
    driver.plug(1, Box::new(transport));
    let outbox = Outbox::new(usize::MAX, 1 << 16, 1 << 20);
    let mut bench = Bench {
        now,
        driver,
        outbox,
        wire,
    };
    let opened = format!(
        "^opened {{\"session\":\"{id}\",\"token\":\"AAAAAAAAAAAAAAAAAAAAAAAA\",\"resumed\":false,\
         \"received\":0,\"next\":1,\"heartbeat\":2500000,\"timeout\":3500000,\"park\":120000,\
         \"ack_messages\":{ack_messages},\"ack_bytes\":100000,\"ack_delay\":1000}}"
    );
    bench.gets(&[&opened]);
    bench.wait(SECOND);
    assert_eq!(bench.sent(), ["^select 0"]);
    while bench.driver.take().is_ready() {}
    bench.drive();
    assert!(bench.driver.is_short());
    bench
}

/// Whatever comes, is sent, and has no room, in whichever order: each message goes once and in order,
/// nothing that is owed waits when the application rests, and all is acknowledged in the end.
#[test]
fn nothing_is_lost_late_or_in_disorder_at_random() {
    let dice = &mut Dice(0x9e37_79b9_7f4a_7c15);
    let (mut short, mut published) = ([0; 3], [[0; 3]; 2]);
    for round in 0..999 {
        let acks = [1, 2, 4, 9, 64][dice.index(5)];
        let config = Config::new().with_ack_messages(acks);
        let config = config.with_replay_messages(5);
        let [session, plain] = short_benches(&config);
        let talk = match round % 3 {
            0 => plays(session, false, dice),
            1 => plays(client_bench(acks), false, dice),
            _ => plays(plain, true, dice),
        };
        short[round % 3] += talk.short;
        published[0][round % 3] += talk.published;
        published[1][round % 3] += talk.past;
    }
    // It must not have become harmless.
    assert!(short.iter().all(|sent| *sent > 1000), "{short:?}");
    assert!(published[0].iter().all(|n| *n > 1000), "{published:?}");
    let [server, client, plain] = published[1];
    assert!(server.min(client) > 100 && plain == 0, "{published:?}");
}
