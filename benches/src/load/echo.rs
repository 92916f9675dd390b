//! Echo: what a client sends comes back to it.

use std::time::{Duration, Instant};

use clap::Args;

use super::measure::Measure;
use super::pace::Pace;
use super::swarm::{Handler, PATIENCE, Swarm};
use super::{Common, Outcome, Timing};
use crate::wire::{Fault, Out, Payload, Stamp, Wire};

#[derive(Args, Clone, Debug)]
pub(super) struct EchoArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    timing: Timing,
    /// Connections
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Messages that each has in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    in_flight: u32,
    /// Sends so many messages a second in all, instead of as many as go: at even times one connection
    /// after the other sends as many as it may have in flight. Without --spin as evenly as the timers
    /// of the system, which are about 1 ms
    #[arg(long)]
    rate: Option<f64>,
}

pub(super) fn run(args: &EchoArgs) -> Result<Outcome, Fault> {
    let connections = args.connections as usize;
    let mut swarm = Swarm::new(args.timing.spin)?.opening(args.timing.opening);
    swarm.open(
        &args.common.url,
        args.common.kind,
        true,
        connections,
        |_| (),
    )?;
    let measure = Measure::new(args.common.pid, &args.timing);
    let mut echoes = Echoes::new(
        connections,
        args.timing.size as usize,
        args.in_flight,
        measure,
    );
    if let Some(rate) = args.rate {
        echoes = echoes.at(rate);
    }
    echoes.run(&mut swarm)?;
    Ok(echoes.measure.outcome(Outcome {
        server: args.common.label.clone(),
        scenario: if args.rate.is_some() {
            "echo-rate"
        } else {
            "echo"
        }
        .into(),
        kind: args.common.kind.name().into(),
        connections,
        in_flight: Some(args.in_flight as usize),
        size: Some(args.timing.size as usize),
        ..Outcome::default()
    }))
}

/// The state of all echoes: for each client, how many it sent and got back.
pub(super) struct Echoes {
    payload: Payload,
    numbers: Vec<Numbers>,
    in_flight: u64,
    /// No client sends more than this.
    most: u64,
    pace: Option<Pace>,
    pub(super) measure: Measure,
}

#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    sent: u64,
    received: u64,
}

impl Echoes {
    pub(super) fn new(clients: usize, size: usize, in_flight: u32, measure: Measure) -> Self {
        Self {
            payload: Payload::new(size),
            numbers: vec![Numbers::default(); clients],
            in_flight: u64::from(in_flight),
            most: u64::MAX,
            pace: None,
            measure,
        }
    }

    /// Ends each client after so many echoes, rather than all after a time.
    pub(super) fn each(self, most: u64) -> Self {
        Self { most, ..self }
    }

    /// Sends so many messages a second in all, rather than as many as go.
    fn at(self, rate: f64) -> Self {
        let turns = rate / self.in_flight as f64;
        let pace = Some(Pace::new(self.numbers.len(), turns));
        Self { pace, ..self }
    }

    /// Runs until the time is over, or each client has had its share, and everything that was sent
    /// has come back.
    pub(super) fn run(&mut self, swarm: &mut Swarm) -> Result<(), Fault> {
        for client in 0..self.numbers.len() {
            swarm.with(client, |wire, out| self.fill(client, wire, out))?;
        }
        let mut deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        loop {
            let wait = self.send_due(swarm)?;
            swarm.turn(wait, self)?;
            self.measure.turn(swarm.traffic);
            let received = self
                .numbers
                .iter()
                .map(|numbers| numbers.received)
                .sum::<u64>();
            if received > seen {
                seen = received;
                deadline = Instant::now() + PATIENCE;
            } else if Instant::now() > deadline {
                let sent: u64 = self.numbers.iter().map(|numbers| numbers.sent).sum();
                return Err(Fault::Lost(format!(
                    "{} echoes at the end",
                    sent - received
                )));
            }
            if (self.measure.is_over() || self.most < u64::MAX) && self.is_complete() {
                self.measure.end(swarm.traffic);
                return Ok(());
            }
        }
    }

    /// Lets those send whose turn has come, and returns how long nothing has to be sent.
    fn send_due(&mut self, swarm: &mut Swarm) -> Result<Duration, Fault> {
        let longest = Duration::from_millis(100);
        let now = Instant::now();
        while let Some(client) = self.pace.as_mut().and_then(|pace| pace.next(now)) {
            swarm.with(client, |wire, out| self.fill(client, wire, out))?;
        }
        let wait = self.pace.as_ref().map(|pace| pace.wait(now));
        Ok(wait.map_or(longest, |wait| wait.min(longest)))
    }

    fn is_complete(&self) -> bool {
        let mut numbers = self.numbers.iter();
        numbers.all(|numbers| {
            numbers.sent == numbers.received
                && (self.measure.is_over() || numbers.sent == self.most)
        })
    }

    fn fill(&mut self, client: usize, wire: &mut dyn Wire, out: &mut Out) {
        let numbers = &mut self.numbers[client];
        if self.measure.is_over() {
            return;
        }
        if let Some(pace) = &mut self.pace
            && (numbers.sent > numbers.received || !pace.take(client))
        {
            return;
        }
        let nanos = self.measure.nanos();
        while numbers.sent - numbers.received < self.in_flight && numbers.sent < self.most {
            let stamp = Stamp {
                client: client as u32,
                number: numbers.sent,
                nanos,
            };
            wire.send(self.payload.write(stamp), out);
            numbers.sent += 1;
        }
        wire.flush(out);
    }
}

impl Handler for Echoes {
    fn message(&mut self, client: usize, payload: &[u8]) -> Result<(), Fault> {
        let stamp = self.payload.read(payload)?;
        let numbers = &mut self.numbers[client];
        stamp.follows(client as u32, numbers.received)?;
        if numbers.received == numbers.sent {
            return Err(Fault::Doubled(format!(
                "client {client} has sent {}",
                numbers.sent
            )));
        }
        numbers.received += 1;
        let now = self.measure.nanos();
        self.measure.count(stamp.nanos, now);
        Ok(())
    }

    fn after(&mut self, client: usize, wire: &mut dyn Wire, out: &mut Out) {
        self.fill(client, wire, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echoes() -> Echoes {
        let mut echoes = Echoes::new(1, 64, 4, Measure::with(None, 0.0, 1.0));
        echoes.numbers[0].sent = 4;
        echoes
    }

    fn echo(echoes: &mut Echoes, number: u64) -> Result<(), Fault> {
        let stamp = Stamp {
            client: 0,
            number,
            nanos: 0,
        };
        let payload = Payload::new(64).write(stamp).to_vec();
        echoes.message(0, &payload)
    }

    #[test]
    fn a_lost_doubled_or_wrong_echo_fails_the_run() {
        let mut run = echoes();
        assert_eq!(echo(&mut run, 0), Ok(()));
        assert_eq!(echo(&mut run, 1), Ok(()));
        assert!(matches!(echo(&mut run, 1), Err(Fault::Doubled(_))));
        assert!(matches!(echo(&mut run, 3), Err(Fault::Lost(_))));
        assert!(matches!(run.message(0, b"x"), Err(Fault::Wrong(_))));
    }

    #[test]
    fn an_echo_of_what_was_not_sent_fails_the_run() {
        let mut run = echoes();
        for number in 0..4 {
            assert_eq!(echo(&mut run, number), Ok(()));
        }
        assert!(matches!(echo(&mut run, 4), Err(Fault::Doubled(_))));
    }
}
