//! Connect: connections are opened, and closed as soon as they could be used.

use std::time::{Duration, Instant};

use clap::Args;

use super::measure::Measure;
use super::swarm::{Handler, PATIENCE, Swarm};
use super::{Common, Outcome};
use crate::wire::Fault;

#[derive(Args, Clone, Debug)]
pub(super) struct ConnectArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// How many are being opened at a time
    #[arg(short, long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How many in all. Too many for the ports of a machine, and they run out
    #[arg(long, default_value_t = 5000)]
    count: u32,
    /// The clients only listen
    #[arg(long)]
    listens: bool,
}

pub(super) fn run(args: &ConnectArgs) -> Result<Outcome, Fault> {
    let common = &args.common;
    let mut swarm = Swarm::new(false)?;
    let mut measure = Measure::with(common.pid, 0.0, 3600.0);
    measure.turn(swarm.traffic);
    let mut slots: Vec<(usize, u64)> = Vec::new();
    let (mut begun, mut done) = (0, 0);
    let mut deadline = Instant::now() + PATIENCE;
    while done < args.count {
        while slots.len() < args.connections as usize && begun < args.count {
            let wire = common.url.client(common.kind, !args.listens);
            slots.push((swarm.begin(&common.url, wire)?, measure.nanos()));
            begun += 1;
        }
        swarm.turn(Duration::from_millis(100), &mut Opening)?;
        let mut index = 0;
        while let Some(&(client, begin)) = slots.get(index) {
            if !swarm.is_ready(client) {
                index += 1;
                continue;
            }
            measure.count(begin, measure.nanos());
            swarm.with(client, |wire, out| wire.bye(out))?;
            swarm.close(client);
            slots.swap_remove(index);
            done += 1;
            deadline = Instant::now() + PATIENCE;
        }
        if Instant::now() > deadline {
            return Err(Fault::Silent(format!(
                "{done} of {} connections opened",
                args.count
            )));
        }
    }
    measure.end(swarm.traffic);
    Ok(measure.outcome(Outcome {
        server: common.label.clone(),
        scenario: "connect".into(),
        kind: common.kind.name().into(),
        connections: args.connections as usize,
        ..Outcome::default()
    }))
}

struct Opening;

impl Handler for Opening {
    fn message(&mut self, _: usize, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}
