//! Idle: what a connection costs that does nothing.

use std::time::{Duration, Instant};

use clap::Args;

use super::echo::Echoes;
use super::fanout::{self, FanOut, Publishing};
use super::measure::Measure;
use super::swarm::{Handler, Swarm};
use super::{Common, Outcome};
use crate::process;
use crate::wire::{Fault, MIN_SIZE};

#[derive(Args, Clone, Debug)]
pub(super) struct IdleArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    publishing: Publishing,
    /// Connections
    #[arg(short, long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Messages on each connection before memory is measured a second time: echoes, or, with
    /// --publish, published ones
    #[arg(long, default_value_t = 50)]
    messages: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 125, value_parser = clap::value_parser!(u32).range(MIN_SIZE as i64..=1 << 20))]
    size: u32,
    /// Seconds of silence before memory is measured
    #[arg(long, default_value_t = 1.0)]
    settle: f64,
}

/// Connections before the first measurement: what a server sets up only once is then set up.
const FIRST: usize = 16;

pub(super) fn run(args: &IdleArgs) -> Result<Outcome, Fault> {
    let common = &args.common;
    let pid = common
        .pid
        .ok_or_else(|| Fault::System("idle needs the --pid of the server".into()))?;
    let resident =
        || process::resident(pid).ok_or_else(|| Fault::System(format!("no process {pid}")));
    let upstream = !args.publishing.is_given();
    let begin = Instant::now();
    let mut swarm = Swarm::new(false)?;
    swarm.open(&common.url, common.kind, upstream, FIRST, |_| ())?;
    settle(&mut swarm, args.settle)?;
    let before = resident()?;

    let connections = args.connections as usize;
    swarm.open(&common.url, common.kind, upstream, connections, |_| ())?;
    settle(&mut swarm, args.settle)?;
    let idle = resident()?;

    let clients = FIRST + connections;
    traffic(args, &mut swarm, clients)?;
    settle(&mut swarm, args.settle)?;
    let after = resident()?;

    let each = |now: u64| (now as f64 - before as f64) / connections as f64;
    Ok(Outcome {
        server: common.label.clone(),
        scenario: "idle".into(),
        kind: common.kind.name().into(),
        connections,
        size: Some(args.size as usize),
        seconds: begin.elapsed().as_secs_f64(),
        resident: Some(each(idle)),
        resident_after: (args.messages > 0).then(|| each(after)),
        ..Outcome::default()
    })
}

fn traffic(args: &IdleArgs, swarm: &mut Swarm, clients: usize) -> Result<(), Fault> {
    if args.messages == 0 {
        return Ok(());
    }
    let size = args.size as usize;
    let measure = Measure::with(None, 0.0, 3600.0);
    if args.publishing.is_given() {
        let publisher = fanout::open_publisher(swarm, &args.common, &args.publishing)?;
        let mut fan_out = FanOut::new(clients, publisher, size, 4, measure);
        fan_out.find_all(swarm)?;
        return fan_out.publish_all(swarm, u64::from(args.messages));
    }
    let messages = u64::from(args.messages);
    Echoes::new(clients, size, 1, measure)
        .each(messages)
        .run(swarm)
}

/// Lets the server come to rest.
fn settle(swarm: &mut Swarm, seconds: f64) -> Result<(), Fault> {
    let until = Instant::now() + Duration::try_from_secs_f64(seconds).unwrap_or_default();
    while Instant::now() < until {
        swarm.turn(Duration::from_millis(20), &mut Silence)?;
    }
    Ok(())
}

struct Silence;

impl Handler for Silence {
    fn message(&mut self, _: usize, _: &[u8]) -> Result<(), Fault> {
        Err(Fault::Wrong("a message while all is idle".into()))
    }
}
