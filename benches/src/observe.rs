//! Observe: what a server uses while another load generator drives it.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use clap::Args;

use crate::load::{Outcome, Sample};
use crate::report;

/// Measures a server while another load generator drives it
///
/// That has to print, again and again, how many messages a second there were since it last did. The
/// first such line ends the warm-up; the load generator is ended when the last one has come.
#[derive(Args, Clone, Debug)]
pub(crate) struct ObserveArgs {
    /// The server's process
    #[arg(long)]
    pid: u32,
    /// What stands before the number in the lines that tell messages a second
    #[arg(long, value_name = "TEXT", default_value = "messages/s: ")]
    rate: String,
    /// How many such lines count, after the first
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    lines: u32,
    /// What the results call the load generator
    #[arg(long, default_value = "")]
    label: String,
    /// Prints one line of JSON instead of a table
    #[arg(long)]
    json: bool,
    /// The load generator, and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &ObserveArgs) -> io::Result<()> {
    let (program, rest) = args.command.split_first().ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::null());
    let mut generator = Generator(command.stdout(Stdio::piped()).spawn()?);
    let outcome = generator.observe(args)?;
    if args.json {
        crate::say(format_args!("{}", report::json(&outcome)));
    } else {
        crate::say(format_args!("{}", report::outcome_table(&outcome)));
    }
    Ok(())
}

/// Ended when it is dropped.
struct Generator(Child);

impl Generator {
    fn observe(&mut self, args: &ObserveArgs) -> io::Result<Outcome> {
        let stdout = self.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut first: Option<Sample> = None;
        let mut last: Option<Sample> = None;
        let (mut count, mut lines) = (0.0, 0);
        for line in BufReader::new(stdout).lines() {
            let Some(rate) = number_after(&line?, &args.rate) else {
                continue;
            };
            let now = Sample::take(Some(args.pid), self.0.id());
            if let Some(last) = &last {
                count += rate * (now.at - last.at).as_secs_f64();
                lines += 1;
            }
            last = Some(now);
            let first = first.get_or_insert(now);
            if lines == args.lines {
                let outcome = Outcome {
                    server: args.label.clone(),
                    scenario: "observed".into(),
                    ..Outcome::default()
                };
                return Ok(first.until(&now, count as u64, outcome));
            }
        }
        let status = self.0.wait()?;
        Err(io::Error::other(format!(
            "the load generator ended early, {status}"
        )))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn number_after(line: &str, text: &str) -> Option<f64> {
    let (_, rest) = line.split_once(text)?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_number() {
        assert_eq!(number_after("Msg/sec: 1234.5", "Msg/sec: "), Some(1234.5));
        assert_eq!(
            number_after("7 clients, messages/s: 80 (ok)", "messages/s: "),
            Some(80.0)
        );
        assert_eq!(number_after("messages/s: -", "messages/s: "), None);
        assert_eq!(number_after("Running", "messages/s: "), None);
    }
}
