//! What the runs agree on.

use std::fmt::Write;

use serde::Serialize;

use super::lines;
use super::plan::{Case, Entry};
use crate::load::Outcome;
use crate::report::{Bar, Table, chart};
use crate::stats::Summary;

/// All runs of all cases.
#[derive(Debug, Default)]
pub(super) struct Results {
    runs: Vec<Run>,
    /// How many runs were done again.
    pub(super) repeated: usize,
}

#[derive(Clone, Debug, Serialize)]
struct Run {
    case: String,
    turn: usize,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What a case is about: a figure of each outcome, lower is better.
fn figure(case: &Case) -> fn(&Outcome) -> Option<f64> {
    match case.scenario {
        "idle" => |outcome| outcome.resident_after,
        "round-trips" => |outcome| outcome.round_trips.map(|trips| trips.1),
        _ => |outcome| outcome.cpu,
    }
}

impl Results {
    pub(super) fn add(&mut self, case: &Case, entry: &Entry, turn: usize, outcome: Outcome) {
        debug_assert_eq!(outcome.server, entry.name);
        self.runs.push(Run {
            case: case.name.to_owned(),
            turn,
            outcome,
        });
    }

    /// One line of JSON for each run.
    pub(super) fn lines(&self) -> String {
        lines(&self.runs)
    }

    fn of<'a>(&'a self, case: &'a Case, name: &'a str) -> impl Iterator<Item = &'a Run> + 'a {
        let runs = self.runs.iter();
        runs.filter(move |run| run.case == case.name && run.outcome.server == name)
    }

    fn summary(
        &self,
        case: &Case,
        name: &str,
        figure: impl Fn(&Outcome) -> Option<f64>,
    ) -> Option<Summary> {
        Summary::of(self.of(case, name).filter_map(|run| figure(&run.outcome)))
    }

    /// The median of the ratios to the first entry, turn by turn: what drifts in time drifts for
    /// both.
    fn ratio(&self, case: &Case, name: &str) -> Option<Summary> {
        let reference = &case.entries.first()?.name;
        let figure = figure(case);
        Summary::of(self.of(case, name).filter_map(|run| {
            let base = self
                .of(case, reference)
                .find(|base| base.turn == run.turn)?;
            Some(figure(&run.outcome)? / figure(&base.outcome)?)
        }))
    }

    /// The report for people.
    pub(super) fn markdown(&self, cases: &[Case], cores: &str, disturbed: f64) -> String {
        let waited = |run: &&Run| run.outcome.disturbed.is_some_and(|share| share > disturbed);
        let noisy = self.runs.iter().filter(waited).count();
        let mut text = format!(
            "# Comparison\n\n{} runs of everything, in turn; medians, ± half of the range; {cores}. \
             {} runs were repeated because a core was taken away, {noisy} of {} are disturbed all the same.\n\
             The ratio is to the first line, turn by turn. Differences below 10 % mean nothing.\n",
            self.runs.last().map_or(0, |run| run.turn + 1),
            self.repeated,
            self.runs.len(),
        );
        let mut last = "";
        for case in cases {
            // Cases of one name share a table.
            if case.name == last {
                continue;
            }
            last = case.name;
            // Writing into a string cannot fail.
            let _ = write!(text, "\n## {}\n\n{}", case.name, self.table(cases, case));
        }
        text
    }

    fn table(&self, cases: &[Case], case: &Case) -> Table {
        let same = cases.iter().filter(|other| other.name == case.name);
        let entries = same.flat_map(|case| &case.entries);
        match case.scenario {
            "idle" => {
                let heading = ["", "bytes", "after traffic", "±", "ratio"];
                let mut table = Table::new(heading);
                for entry in entries {
                    let name = &entry.name;
                    let after = self.summary(case, name, figure(case));
                    table.row([
                        name.clone(),
                        whole(self.summary(case, name, |outcome| outcome.resident)),
                        whole(after),
                        spread(after),
                        decimals(self.ratio(case, name)),
                    ]);
                }
                table
            }
            "round-trips" => {
                let mut table = Table::new(["", "to connect", "to the first echo"]);
                for entry in entries {
                    let trips = |pick: fn((f64, f64)) -> f64| {
                        self.summary(case, &entry.name, |outcome| outcome.round_trips.map(pick))
                    };
                    let (open, echo) = (trips(|trips| trips.0), trips(|trips| trips.1));
                    table.row([entry.name.clone(), decimals(open), decimals(echo)]);
                }
                table
            }
            _ => {
                let heading = [
                    "",
                    "CPU µs",
                    "±",
                    "ratio",
                    "kernel %",
                    "a second",
                    "median µs",
                    "99 % µs",
                    "bytes in",
                    "bytes out",
                    "waited %",
                ];
                let mut table = Table::new(heading);
                for entry in entries {
                    let name = &entry.name;
                    let of = |figure: fn(&Outcome) -> Option<f64>| self.summary(case, name, figure);
                    let cpu = of(|outcome| outcome.cpu);
                    table.row([
                        name.clone(),
                        decimals(cpu),
                        spread(cpu),
                        decimals(self.ratio(case, name)),
                        whole(of(|outcome| Some(outcome.system? * 100.0))),
                        whole(of(|outcome| Some(outcome.throughput()))),
                        whole(of(|outcome| Some(outcome.latency?.p50))),
                        whole(of(|outcome| Some(outcome.latency?.p99))),
                        whole(of(|outcome| Some(outcome.wire?.0))),
                        whole(of(|outcome| Some(outcome.wire?.1))),
                        whole(of(|outcome| Some(outcome.disturbed? * 100.0))),
                    ]);
                }
                table
            }
        }
    }

    /// A chart for each case: the name of its file, and the SVG.
    pub(super) fn charts(&self, cases: &[Case]) -> Vec<(String, String)> {
        let plotted = cases.iter().filter(|case| case.scenario != "round-trips");
        let draw = |case: &Case| {
            let bar = |entry: &Entry| {
                let summary = self.summary(case, &entry.name, figure(case))?;
                Some(Bar {
                    name: entry.name.clone(),
                    value: summary.median,
                    low: summary.low,
                    high: summary.high,
                })
            };
            let bars: Vec<_> = case.entries.iter().filter_map(bar).collect();
            let unit = match case.scenario {
                "idle" => "resident bytes of a connection after traffic",
                "connect" => "server CPU of a connection, µs",
                _ => "server CPU of a message, µs",
            };
            let file: String = case.name.replace([',', '.'], "").replace(' ', "-");
            (
                format!("{file}.svg"),
                chart(&format!("{}: {unit}", case.name), &bars),
            )
        };
        plotted.map(draw).collect()
    }
}

fn decimals(summary: Option<Summary>) -> String {
    summary.map_or_else(|| "–".into(), |summary| format!("{:.2}", summary.median))
}

fn whole(summary: Option<Summary>) -> String {
    summary.map_or_else(|| "–".into(), |summary| format!("{:.0}", summary.median))
}

fn spread(summary: Option<Summary>) -> String {
    summary.map_or_else(
        || "–".into(),
        |summary| format!("{:.0} %", summary.spread() * 100.0),
    )
}
