//! Compare: all scenarios on all servers, in turn, again and again.

mod generators;
mod pin;
mod plan;
mod results;
mod server;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::generators::Generators;
use self::pin::Cores;
use self::plan::{Case, Entry, Scale};
use self::results::Results;
use self::server::{Peers, Server};
use crate::load::Outcome;
use crate::report;

/// Compares the transports with each other, and with the peers that are installed
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArgs {
    /// A short run that shows that everything works, with figures that mean little
    #[arg(long)]
    quick: bool,
    /// Adds the peers that are installed (benches/peers/README.md)
    #[arg(long)]
    peers: bool,
    /// Where the peers are
    #[arg(long, value_name = "DIR", default_value = "benches/peers")]
    peers_dir: PathBuf,
    /// Compares load generators on our server instead: ours, and those of others that are installed
    #[arg(long, conflicts_with = "peers")]
    generators: bool,
    /// Adds the `load_test` of uWebSockets (benches/peers/README.md) to the load generators
    #[arg(long, value_name = "FILE", requires = "generators")]
    load_test: Option<PathBuf>,
    /// How often everything is measured; 3 if not given
    #[arg(long)]
    runs: Option<usize>,
    /// Seconds that each run measures; 1.5 if not given
    #[arg(long)]
    seconds: Option<f64>,
    /// Only the cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only the servers whose name contains one of these
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    servers: Vec<String>,
    /// A run counts as disturbed when server or load generator waited for a core for a larger share of
    /// the time. Such runs are repeated, once
    #[arg(long, default_value_t = 0.1)]
    disturbed: f64,
    /// Where the results go
    #[arg(long, value_name = "DIR", default_value = "target/compare")]
    out: PathBuf,
}

/// How long a run may take, whatever happens.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &CompareArgs) -> io::Result<()> {
    let scale = Scale::new(args.quick, args.seconds);
    let runs = args.runs.unwrap_or(if args.quick { 1 } else { 3 });
    let peers = args.peers.then(|| Peers::find(&args.peers_dir));
    for missing in peers.iter().flat_map(|peers| &peers.missing) {
        crate::say(format_args!("not installed: {missing}"));
    }
    let cores = Cores::find();
    let mut cases = if args.generators {
        let others = Generators::find(&args.peers_dir, args.load_test.clone())?;
        generators::cases(&scale, &others)
    } else {
        plan::cases(&scale, peers.as_ref())
    };
    cases.retain(|case| {
        args.only
            .as_ref()
            .is_none_or(|only| case.name.contains(only))
    });
    for case in &mut cases {
        case.entries.retain(|entry| {
            args.servers.is_empty() || args.servers.iter().any(|name| entry.name.contains(name))
        });
    }
    fs::create_dir_all(&args.out)?;

    let steps: usize = cases.iter().map(|case| case.entries.len()).sum();
    let bar = ProgressBar::new((steps * runs) as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}") {
        bar.set_style(style);
    }
    let mut results = Results::default();
    let mut failures = Vec::new();
    for turn in 0..runs {
        for case in &cases {
            for entry in &case.entries {
                bar.set_message(format!("{}: {}", case.name, entry.name));
                match repeated(args, case, entry, &cores, &mut results) {
                    Ok(outcome) => results.add(case, entry, turn, outcome),
                    // The others may still be fine, and have taken a while.
                    Err(error) => failures.push(error.to_string()),
                }
                bar.inc(1);
            }
        }
        // After each turn: what is there when somebody ends it early is worth something.
        save(args, &cases, &results, &cores)?;
    }
    bar.finish_and_clear();

    crate::say(format_args!(
        "{}\nAll of it is in {}.",
        results.markdown(&cases, &cores.describe(), args.disturbed),
        args.out.display()
    ));
    if failures.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(failures.join("; ")))
}

/// Writes report, lines and charts.
fn save(args: &CompareArgs, cases: &[Case], results: &Results, cores: &Cores) -> io::Result<()> {
    let text = results.markdown(cases, &cores.describe(), args.disturbed);
    fs::write(args.out.join("compare.md"), text)?;
    fs::write(args.out.join("runs.jsonl"), results.lines())?;
    for (name, svg) in results.charts(cases) {
        fs::write(args.out.join(name), svg)?;
    }
    Ok(())
}

/// One run, and a second one if the first was disturbed; the quieter counts.
fn repeated(
    args: &CompareArgs,
    case: &Case,
    entry: &Entry,
    cores: &Cores,
    results: &mut Results,
) -> io::Result<Outcome> {
    let first = one(case, entry, cores)?;
    if args.quick || first.disturbed.is_none_or(|share| share <= args.disturbed) {
        return Ok(first);
    }
    results.repeated += 1;
    let second = one(case, entry, cores)?;
    Ok(if second.disturbed < first.disturbed {
        second
    } else {
        first
    })
}

/// One run of one case on one server that is started for it.
fn one(case: &Case, entry: &Entry, cores: &Cores) -> io::Result<Outcome> {
    let server = Server::start(&entry.server, cores)?;
    let mut command = cores.load(&std::env::current_exe()?);
    let spin = case.spin && cores.are_apart();
    match &entry.generator {
        Some(generator) => generator.drive(&mut command, &entry.name, &server, spin),
        None => drive(&mut command, case, entry, &server, spin),
    }
    let output = finish(command)?;
    if !output.status.success() {
        let what = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!(
            "{} on {}: {}",
            case.name,
            entry.name,
            what.trim()
        )));
    }
    serde_json::from_slice(&output.stdout).map_err(io::Error::other)
}

/// Our load generator.
fn drive(command: &mut Command, case: &Case, entry: &Entry, server: &Server, spin: bool) {
    command.args(["load", case.scenario, "--json", "--label", &entry.name]);
    command.arg(server.url(&entry.path));
    command.args(["--pid", &server.pid().to_string()]);
    if case.scenario != "round-trips" {
        command.args(["--kind", entry.kind]);
    }
    command.args(&case.args);
    if spin {
        command.arg("--spin");
    }
    if let Some(publish) = entry.publish.as_ref().filter(|_| case.publishes(entry)) {
        command.args(["--publish", &server.url(publish)]);
        if entry.post {
            command.arg("--post");
        }
    }
    if case.scenario == "connect" && entry.listens {
        command.arg("--listens");
    }
}

/// Runs to the end, or to the limit.
fn finish(mut command: Command) -> io::Result<std::process::Output> {
    use std::process::Stdio;
    use std::time::Instant;

    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let deadline = Instant::now() + LIMIT;
    // One line of JSON or of an error: it fits into the pipes, so nobody has to read meanwhile.
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output()
}

/// The lines of JSON.
fn lines(outcomes: impl IntoIterator<Item = impl serde::Serialize>) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        text.push_str(&report::json(&outcome));
        text.push('\n');
    }
    text
}
