//! Tables for people: aligned in a terminal, and Markdown at the same time.

use std::fmt;

use crate::load::Outcome;

/// A table with a heading. The first column is text, the others numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<S: Into<String>>(heading: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self::default();
        table.row(heading);
        table
    }

    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        };
        for (number, row) in self.rows.iter().enumerate() {
            for column in 0..columns {
                let cell = row.get(column).map_or("", String::as_str);
                match column {
                    0 => write!(f, "| {cell:<0$} ", width(column))?,
                    _ => write!(f, "| {cell:>0$} ", width(column))?,
                }
            }
            writeln!(f, "|")?;
            if number == 0 {
                for column in 0..columns {
                    let colon = if column == 0 { "" } else { ":" };
                    write!(f, "|{:-<1$}{colon}", "", width(column) + 2 - colon.len())?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// What one run found out, a line for each figure.
pub(crate) fn outcome_table(outcome: &Outcome) -> String {
    let mut table = Table::new(["", ""]);
    table.row([
        "scenario".to_owned(),
        format!("{} {}", outcome.scenario, outcome.kind),
    ]);
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.row([name.to_owned(), value]);
        }
    };
    let connections = outcome.connections;
    row(
        "connections",
        (connections > 0).then(|| connections.to_string()),
    );
    row(
        "in flight",
        outcome.in_flight.map(|count| count.to_string()),
    );
    row(
        "bytes of a message",
        outcome.size.map(|size| size.to_string()),
    );
    row(
        "a second",
        (outcome.count > 1).then(|| format!("{:.0}", outcome.throughput())),
    );
    if let Some(latency) = outcome.latency {
        row("median latency, µs", Some(format!("{:.0}", latency.p50)));
        row("90 %", Some(format!("{:.0}", latency.p90)));
        row("99 %", Some(format!("{:.0}", latency.p99)));
        row("longest", Some(format!("{:.0}", latency.max)));
    }
    let percent = |share: f64| format!("{:.0}", share * 100.0);
    row(
        "server CPU each, µs",
        outcome.cpu.map(|cpu| format!("{cpu:.2}")),
    );
    row("of that the kernel, %", outcome.system.map(percent));
    row("server busy, %", outcome.busy.map(percent));
    row(
        "load generator CPU each, µs",
        outcome.load_cpu.map(|cpu| format!("{cpu:.2}")),
    );
    row("waited for a core, %", outcome.disturbed.map(percent));
    if let Some((received, sent)) = outcome.wire {
        row("bytes received each", Some(format!("{received:.1}")));
        row("bytes sent each", Some(format!("{sent:.1}")));
    }
    row(
        "resident bytes each, idle",
        outcome.resident.map(|bytes| format!("{bytes:.0}")),
    );
    let after = outcome.resident_after;
    row(
        "resident bytes each, after traffic",
        after.map(|bytes| format!("{bytes:.0}")),
    );
    if let Some((open, echo)) = outcome.round_trips {
        row("round trips to connect", Some(format!("{open:.2}")));
        row("round trips to the first echo", Some(format!("{echo:.2}")));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_markdown() {
        let mut table = Table::new(["server", "µs"]);
        table.row(["switchback", "6.8"]);
        table.row(["x"]);
        assert_eq!(
            table.to_string(),
            "| server     |  µs |\n|------------|----:|\n| switchback | 6.8 |\n| x          |     |\n"
        );
    }
}
