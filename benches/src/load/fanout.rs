//! Fan-out: what is published arrives at every subscriber.

use std::time::{Duration, Instant};

use clap::Args;

use super::measure::Measure;
use super::swarm::{Handler, PATIENCE, Swarm};
use super::{Common, Outcome, Timing};
use crate::wire::{Fault, Kind, PROBE, Payload, Stamp, Target};

#[derive(Args, Clone, Debug)]
pub(super) struct FanOutArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    publishing: Publishing,
    /// Subscribers
    #[arg(short, long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Published messages that may be on their way to somebody
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4000))]
    in_flight: u32,
    /// Publishes when there is room for so many
    #[arg(long, default_value_t = 1, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=4000))]
    batch: u32,
    /// Publishes so many messages a second, instead of as many as go
    #[arg(long)]
    rate: Option<f64>,
}

/// Where messages are published.
#[derive(Args, Clone, Debug)]
pub(super) struct Publishing {
    /// Where to publish; /ws/publish of the same server if not given
    #[arg(long)]
    publish: Option<Target>,
    /// Publishes by POST, and not on a WebSocket
    #[arg(long)]
    post: bool,
}

impl Publishing {
    pub(super) fn is_given(&self) -> bool {
        self.publish.is_some()
    }
}

pub(super) fn run(args: &FanOutArgs) -> Result<Outcome, Fault> {
    let subscribers = args.connections as usize;
    let mut swarm = Swarm::new(args.timing.spin)?
        .opening(args.timing.opening)
        .prompt();
    swarm.open(
        &args.common.url,
        args.common.kind,
        false,
        subscribers,
        |_| (),
    )?;
    let publisher = open_publisher(&mut swarm, &args.common, &args.publishing)?;
    let measure = Measure::new(args.common.pid, &args.timing);
    let size = args.timing.size as usize;
    let mut fan_out = FanOut::new(subscribers, publisher, size, args.in_flight, measure);
    fan_out.find_all(&mut swarm)?;
    fan_out.measure = Measure::new(args.common.pid, &args.timing);
    fan_out.batch = args.batch.min(args.in_flight) as usize;
    fan_out.run(&mut swarm, args.rate)?;
    Ok(fan_out.measure.outcome(Outcome {
        server: args.common.label.clone(),
        scenario: if args.rate.is_some() {
            "fan-out-rate"
        } else {
            "fan-out"
        }
        .into(),
        kind: args.common.kind.name().into(),
        connections: subscribers,
        in_flight: args.rate.is_none().then_some(args.in_flight as usize),
        size: Some(size),
        ..Outcome::default()
    }))
}

/// Opens the client that publishes, and returns its number.
pub(super) fn open_publisher(
    swarm: &mut Swarm,
    common: &Common,
    publishing: &Publishing,
) -> Result<usize, Fault> {
    let target = match &publishing.publish {
        Some(target) => target.clone(),
        None => common.url.with_path("/ws/publish"),
    };
    let kind = if publishing.post {
        Kind::Post
    } else {
        common.kind
    };
    let publisher = swarm.begin(&target, target.publisher(kind))?;
    let deadline = Instant::now() + PATIENCE;
    while !swarm.is_ready(publisher) {
        swarm.turn(Duration::from_millis(50), &mut Nothing)?;
        if Instant::now() > deadline {
            return Err(Fault::Silent("the publisher's connection".into()));
        }
    }
    Ok(publisher)
}

struct Nothing;

impl Handler for Nothing {
    fn message(&mut self, _: usize, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// The state of a fan-out: for each subscriber, what it got.
pub(super) struct FanOut {
    payload: Payload,
    publisher: usize,
    /// How many messages there must be room for.
    batch: usize,
    /// The number that each subscriber expects next; `None` until it got a probe.
    expected: Vec<Option<u64>>,
    /// How many subscribers have got each of the messages in flight, by number.
    arrived: Vec<usize>,
    published: u64,
    /// All messages with lower numbers arrived everywhere.
    complete: u64,
    pub(super) measure: Measure,
}

impl FanOut {
    pub(super) fn new(
        subscribers: usize,
        publisher: usize,
        size: usize,
        in_flight: u32,
        measure: Measure,
    ) -> Self {
        Self {
            payload: Payload::new(size),
            publisher,
            batch: 1,
            expected: vec![None; subscribers],
            arrived: vec![0; in_flight as usize],
            published: 0,
            complete: 0,
            measure,
        }
    }

    fn in_flight(&self) -> usize {
        (self.published - self.complete) as usize
    }

    fn publish(&mut self, swarm: &mut Swarm, count: usize) -> Result<(), Fault> {
        if count == 0 {
            return Ok(());
        }
        swarm.with(self.publisher, |wire, out| {
            for _ in 0..count {
                let stamp = Stamp {
                    client: 0,
                    number: self.published,
                    nanos: self.measure.nanos(),
                };
                self.published += 1;
                wire.send(self.payload.write(stamp), out);
            }
            wire.flush(out);
        })
    }

    /// Publishes probes until every subscriber has got one: from then on all get everything. A server
    /// may have answered a client before it put it into its list.
    pub(super) fn find_all(&mut self, swarm: &mut Swarm) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        let mut next = Instant::now();
        while self.expected.iter().any(Option::is_none) {
            if Instant::now() >= next {
                next = Instant::now() + Duration::from_millis(200);
                let probe = Stamp {
                    client: PROBE,
                    number: 0,
                    nanos: 0,
                };
                swarm.with(self.publisher, |wire, out| {
                    wire.send(self.payload.write(probe), out);
                    wire.flush(out);
                })?;
            }
            swarm.turn(Duration::from_millis(20), self)?;
            if Instant::now() > deadline {
                let missing = self
                    .expected
                    .iter()
                    .filter(|expected| expected.is_none())
                    .count();
                return Err(Fault::Silent(format!("{missing} subscribers got no probe")));
            }
        }
        Ok(())
    }

    /// Runs until the time is over and everything that was published has arrived everywhere.
    pub(super) fn run(&mut self, swarm: &mut Swarm, rate: Option<f64>) -> Result<(), Fault> {
        let between = rate.map(|rate| Duration::from_secs_f64(1.0 / rate.max(0.001)));
        let mut due = Instant::now();
        while !self.measure.is_over() {
            let room = self.arrived.len() - self.in_flight();
            let now = Instant::now();
            let (count, wait) = match between {
                None if room < self.batch => (0, Duration::from_millis(100)),
                None => (room, Duration::from_millis(100)),
                Some(between) if due <= now => {
                    due += between;
                    // What cannot keep up must not be measured as if it could.
                    if room == 0 {
                        return Err(Fault::Silent("the server does not keep up".into()));
                    }
                    (1, Duration::ZERO)
                }
                Some(_) => (0, due - now),
            };
            self.publish(swarm, count)?;
            swarm.turn(wait, self)?;
            self.measure.turn(swarm.traffic);
        }
        self.drain(swarm)
    }

    /// Publishes so many messages and waits until all have arrived.
    pub(super) fn publish_all(&mut self, swarm: &mut Swarm, messages: u64) -> Result<(), Fault> {
        let last = self.published + messages;
        while self.published < last {
            let room = (self.arrived.len() - self.in_flight()) as u64;
            self.publish(swarm, room.min(last - self.published) as usize)?;
            swarm.turn(Duration::from_millis(100), self)?;
        }
        self.drain(swarm)
    }

    fn drain(&mut self, swarm: &mut Swarm) -> Result<(), Fault> {
        let mut deadline = Instant::now() + PATIENCE;
        let mut seen = self.complete;
        while self.in_flight() > 0 {
            swarm.turn(Duration::from_millis(100), self)?;
            if self.complete > seen {
                seen = self.complete;
                deadline = Instant::now() + PATIENCE;
            } else if Instant::now() > deadline {
                let got: usize = self.arrived.iter().sum();
                let all = self.in_flight() * self.expected.len();
                return Err(Fault::Lost(format!("{} deliveries at the end", all - got)));
            }
        }
        Ok(())
    }
}

impl Handler for FanOut {
    fn message(&mut self, client: usize, payload: &[u8]) -> Result<(), Fault> {
        let stamp = self.payload.read(payload)?;
        let Some(expected) = self.expected.get_mut(client) else {
            return Err(Fault::Wrong("the publisher got a message".into()));
        };
        if stamp.client == PROBE {
            if expected.is_some_and(|expected| expected > 0) {
                return Err(Fault::Wrong("a probe among messages".into()));
            }
            *expected = Some(0);
            return Ok(());
        }
        let number = expected.unwrap_or(0);
        stamp.follows(0, number)?;
        if number >= self.published {
            return Err(Fault::Doubled(format!("{} were published", self.published)));
        }
        *expected = Some(number + 1);
        let now = self.measure.nanos();
        self.measure.count(stamp.nanos, now);
        let window = self.arrived.len() as u64;
        self.arrived[(number % window) as usize] += 1;
        while self.in_flight() > 0
            && self.arrived[(self.complete % window) as usize] == self.expected.len()
        {
            self.arrived[(self.complete % window) as usize] = 0;
            self.complete += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fan_out() -> FanOut {
        let mut run = FanOut::new(2, 2, 64, 4, Measure::with(None, 0.0, 1.0));
        run.published = 4;
        run
    }

    fn deliver(run: &mut FanOut, client: usize, number: u64) -> Result<(), Fault> {
        let stamp = Stamp {
            client: 0,
            number,
            nanos: 0,
        };
        let payload = Payload::new(64).write(stamp).to_vec();
        run.message(client, &payload)
    }

    #[test]
    fn a_message_is_complete_when_all_have_it() {
        let mut run = fan_out();
        for number in 0..3 {
            assert_eq!(deliver(&mut run, 0, number), Ok(()));
        }
        assert_eq!(run.complete, 0);
        assert_eq!(deliver(&mut run, 1, 0), Ok(()));
        assert_eq!(deliver(&mut run, 1, 1), Ok(()));
        assert_eq!((run.complete, run.in_flight()), (2, 2));
    }

    #[test]
    fn a_lost_doubled_or_wrong_delivery_fails_the_run() {
        let mut run = fan_out();
        assert_eq!(deliver(&mut run, 0, 0), Ok(()));
        assert!(matches!(deliver(&mut run, 0, 0), Err(Fault::Doubled(_))));
        assert!(matches!(deliver(&mut run, 0, 2), Err(Fault::Lost(_))));
        assert!(matches!(deliver(&mut run, 1, 1), Err(Fault::Lost(_))));
        assert!(matches!(run.message(1, b"x"), Err(Fault::Wrong(_))));
        assert!(deliver(&mut run, 2, 0).is_err(), "that is the publisher");
    }

    #[test]
    fn what_was_not_published_fails_the_run() {
        let mut run = fan_out();
        run.published = 1;
        assert_eq!(deliver(&mut run, 0, 0), Ok(()));
        assert!(deliver(&mut run, 0, 1).is_err());
    }
}
