//! Measures what Switchback and its peers cost, through real sockets.
//!
//! `docs/performance.md` says how, and what came out.

#![allow(
    clippy::cast_possible_truncation,
    reason = "counts, sizes and nanoseconds of a benchmark are far below 2^63"
)]

mod compare;
mod load;
mod observe;
mod process;
mod report;
mod serve;
mod stats;
mod wire;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures what real-time transports cost
#[derive(Parser, Debug)]
#[command(name = "switchback-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::ServeArgs),
    Load(load::LoadArgs),
    Observe(observe::ObserveArgs),
    Compare(compare::CompareArgs),
}

fn main() -> ExitCode {
    let result: Result<(), Box<dyn std::error::Error>> = match Arguments::parse().command {
        Command::Serve(args) => serve::run(&args).map_err(Into::into),
        Command::Load(args) => load::run(&args).map_err(Into::into),
        Command::Observe(args) => observe::run(&args).map_err(Into::into),
        Command::Compare(args) => compare::run(&args).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "switchback-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line. Whoever closes the pipe does not want it.
fn say(text: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
