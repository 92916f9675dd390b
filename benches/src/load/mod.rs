//! The load generator: one thread that drives any server, and checks all that comes back.

mod connect;
mod echo;
mod fanout;
mod idle;
mod lane;
mod measure;
mod outcome;
mod pace;
mod round_trips;
mod sample;
mod swarm;

use clap::{Args, Subcommand};

pub(crate) use self::outcome::{Outcome, Percentiles};
pub(crate) use self::sample::Sample;
use self::swarm::OPENING;
use crate::report;
use crate::wire::{Fault, Kind, MIN_SIZE, Target};

/// Drives a server
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand, Clone, Debug)]
enum Scenario {
    /// Sends messages and waits for them to come back
    Echo(echo::EchoArgs),
    /// Publishes messages that all subscribers receive
    FanOut(fanout::FanOutArgs),
    /// Opens connections and looks at the server's memory
    Idle(idle::IdleArgs),
    /// Opens and closes connections as fast as that goes
    Connect(connect::ConnectArgs),
    /// Counts the round trips until a client of the facade is connected
    RoundTrips(round_trips::RoundTripsArgs),
}

/// What all scenarios need to know.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Where to connect to: http://host:port/path
    url: Target,
    /// What the clients speak
    #[arg(long, value_enum, default_value = "ws")]
    kind: Kind,
    /// The server's process, to measure its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// What the results call the server
    #[arg(long, default_value = "")]
    label: String,
    /// Prints one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// How a scenario with messages is timed.
#[derive(Args, Clone, Debug)]
pub(crate) struct Timing {
    /// Bytes of a message
    #[arg(long, default_value_t = 125, value_parser = clap::value_parser!(u32).range(MIN_SIZE as i64..=1 << 20))]
    size: u32,
    /// Seconds that are measured
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before that
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Never sleeps. For a load generator that has a core to itself: to wake it up would be work of
    /// the server's core, which no remote client asks for
    #[arg(long)]
    spin: bool,
    /// Connections that are opened at a time. When there are many, it shows in what a message costs
    #[arg(long, value_name = "N", default_value_t = OPENING, value_parser = clap::value_parser!(u32).range(1..=i64::from(OPENING)))]
    opening: u32,
}

pub(crate) fn run(args: &LoadArgs) -> Result<(), Fault> {
    let (outcome, json) = match &args.scenario {
        Scenario::Echo(args) => (echo::run(args)?, args.common.json),
        Scenario::FanOut(args) => (fanout::run(args)?, args.common.json),
        Scenario::Idle(args) => (idle::run(args)?, args.common.json),
        Scenario::Connect(args) => (connect::run(args)?, args.common.json),
        Scenario::RoundTrips(args) => (round_trips::run(args)?, args.common.json),
    };
    if json {
        crate::say(format_args!("{}", report::json(&outcome)));
    } else {
        crate::say(format_args!("{}", report::outcome_table(&outcome)));
    }
    Ok(())
}
