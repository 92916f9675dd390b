use std::error::Error;
use std::{env, fmt, process};

/// The command line of an example: `--flag value` or `--flag=value`, and `--help`.
///
/// ```
/// use switchback_examples::Args;
///
/// let flags = [("--listen", "ADDR", "127.0.0.1:8080"), ("--name", "NAME", "")];
/// let args = Args::read("chat", &flags, ["--listen", "[::1]:80"].map(String::from))?;
/// assert_eq!(args.get("--listen"), "[::1]:80");
/// assert_eq!(args.get("--name"), "");
/// # Ok::<(), switchback_examples::Usage>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    values: Vec<(String, String)>,
}

/// A flag that an example takes: its name with the dashes, a word for its value, the default.
pub type Flag<'a> = (&'a str, &'a str, &'a str);

/// A command line is not as the example expects it: what is wrong, and what it expects.
#[derive(Clone, PartialEq, Eq)]
pub struct Usage(String);

impl Args {
    /// Reads the command line of this process. When it asks for help, prints that and ends the
    /// process.
    ///
    /// # Errors
    ///
    /// A flag is unknown or has no value.
    #[expect(clippy::print_stdout, reason = "help is what was asked for")]
    pub fn parse(example: &str, flags: &[Flag<'_>]) -> Result<Self, Usage> {
        let line: Vec<String> = env::args().skip(1).collect();
        if line
            .iter()
            .any(|argument| argument == "--help" || argument == "-h")
        {
            println!("{}", help(example, flags));
            process::exit(0);
        }
        Self::read(example, flags, line)
    }

    /// Reads a command line. The last of several values counts.
    ///
    /// # Errors
    ///
    /// A flag is unknown or has no value.
    pub fn read(
        example: &str,
        flags: &[Flag<'_>],
        line: impl IntoIterator<Item = String>,
    ) -> Result<Self, Usage> {
        let usage = |error: String| Usage(format!("{error}\n\n{}", help(example, flags)));
        let mut values: Vec<(String, String)> = flags
            .iter()
            .map(|&(name, _, default)| (name.to_owned(), default.to_owned()))
            .collect();
        let mut line = line.into_iter();
        while let Some(argument) = line.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            let Some(slot) = values.iter_mut().find(|(known, _)| *known == name) else {
                return Err(usage(format!("unexpected argument: {name}")));
            };
            let Some(value) = value.or_else(|| line.next()) else {
                return Err(usage(format!("{name} needs a value")));
            };
            slot.1 = value;
        }
        Ok(Self { values })
    }

    /// Returns the value of a flag, or its default. (Empty for a flag that the example has not
    /// declared.)
    pub fn get(&self, flag: &str) -> &str {
        let found = self.values.iter().find(|(name, _)| name == flag);
        found.map_or("", |(_, value)| value)
    }
}

fn help(example: &str, flags: &[Flag<'_>]) -> String {
    let mut text = format!("Usage: cargo run --example {example} --");
    for (name, value, _) in flags {
        text.push_str(&format!(" [{name} {value}]"));
    }
    for (name, value, default) in flags.iter().filter(|(_, _, default)| !default.is_empty()) {
        text.push_str(&format!("\n  {name} {value}  (default {default})"));
    }
    text
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The same as `Display`, because that is what a `main` prints that returns it.
impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Usage {}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: [Flag<'_>; 2] = [("--listen", "ADDR", "127.0.0.1:0"), ("--name", "NAME", "")];

    fn read(line: &[&str]) -> Result<Args, String> {
        let line = line.iter().map(ToString::to_string);
        Args::read("chat", &FLAGS, line).map_err(|usage| usage.to_string())
    }

    #[test]
    fn reads_both_forms() {
        let args = read(&["--listen=[::1]:80", "--name", "a=b"]).unwrap();
        assert_eq!(args.get("--listen"), "[::1]:80");
        assert_eq!(args.get("--name"), "a=b");
    }

    #[test]
    fn knows_the_defaults() {
        let args = read(&[]).unwrap();
        assert_eq!(args.get("--listen"), "127.0.0.1:0");
        assert_eq!(args.get("--name"), "");
    }

    #[test]
    fn says_what_is_wrong_and_what_is_right() {
        for (line, error) in [
            (&["--port", "1"][..], "unexpected argument: --port\n"),
            (&["--name"], "--name needs a value\n"),
            (&["x"], "unexpected argument: x\n"),
        ] {
            let usage = read(line).unwrap_err();
            assert!(usage.starts_with(error), "{usage}");
            assert!(
                usage.contains("--example chat -- [--listen ADDR] [--name NAME]"),
                "{usage}"
            );
            assert!(
                usage.ends_with("--listen ADDR  (default 127.0.0.1:0)"),
                "{usage}"
            );
        }
    }
}
