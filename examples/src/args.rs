use std::collections::BTreeMap;
use std::process;
use std::str::FromStr;

/// The command line of an example: `--flag value` or `--flag=value`, and `--help`.
///
/// ```
/// use switchback_examples::Args;
///
/// let line = ["--listen", "127.0.0.1:0"].map(String::from);
/// let args = Args::read(line, &["listen", "name"])?;
/// assert_eq!(args.get("listen"), Some("127.0.0.1:0"));
/// assert_eq!(args.get("name"), None);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    values: BTreeMap<String, String>,
}

impl Args {
    /// Reads the command line of this process. Prints `usage` and ends the process when it asks for
    /// help, or is not as the example expects it.
    #[expect(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "this is a command line"
    )]
    pub fn parse(usage: &str, flags: &[&str]) -> Self {
        let mut line = std::env::args().skip(1).peekable();
        if line
            .peek()
            .is_some_and(|first| first == "--help" || first == "-h")
        {
            println!("{usage}");
            process::exit(0);
        }
        Self::read(line, flags).unwrap_or_else(|error| {
            eprintln!("{error}\n\n{usage}");
            process::exit(2);
        })
    }

    /// Reads a command line. `flags` are the names that are known, without dashes.
    ///
    /// # Errors
    ///
    /// A flag is unknown, has no value, or was given twice: a text for the user.
    pub fn read(line: impl IntoIterator<Item = String>, flags: &[&str]) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        let mut line = line.into_iter();
        while let Some(argument) = line.next() {
            let Some(flag) = argument.strip_prefix("--") else {
                return Err(format!("unexpected argument: {argument}"));
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (flag.to_owned(), line.next()),
            };
            if !flags.contains(&name.as_str()) {
                return Err(format!("unknown flag: --{name}"));
            }
            let Some(value) = value else {
                return Err(format!("--{name} needs a value"));
            };
            if values.insert(name.clone(), value).is_some() {
                return Err(format!("--{name} was given twice"));
            }
        }
        Ok(Self { values })
    }

    /// Returns the value of a flag, if it was given.
    pub fn get(&self, flag: &str) -> Option<&str> {
        self.values.get(flag).map(String::as_str)
    }

    /// Returns the value of a flag, parsed, or the default.
    ///
    /// # Errors
    ///
    /// The value cannot be parsed: a text for the user.
    pub fn get_or<T: FromStr>(&self, flag: &str, default: T) -> Result<T, String>
    where
        T::Err: std::fmt::Display,
    {
        match self.get(flag) {
            Some(value) => value
                .parse()
                .map_err(|error| format!("--{flag} {value}: {error}")),
            None => Ok(default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Result<Args, String> {
        Args::read(line.iter().map(ToString::to_string), &["listen", "name"])
    }

    #[test]
    fn reads_both_forms() {
        let args = read(&["--listen=[::1]:80", "--name", "a=b"]).unwrap();
        assert_eq!(args.get("listen"), Some("[::1]:80"));
        assert_eq!(args.get("name"), Some("a=b"));
    }

    #[test]
    fn says_what_is_wrong() {
        for (line, error) in [
            (&["--port", "1"][..], "unknown flag: --port"),
            (&["--name"], "--name needs a value"),
            (&["x"], "unexpected argument: x"),
            (&["--name", "a", "--name", "b"], "--name was given twice"),
        ] {
            assert_eq!(read(line), Err(error.to_owned()));
        }
    }

    #[test]
    fn parses_values() {
        let args = read(&["--name", "7"]).unwrap();
        assert_eq!(args.get_or("name", 0), Ok(7));
        assert_eq!(args.get_or("listen", 5), Ok(5));
        assert!(read(&["--name", "x"]).unwrap().get_or("name", 0).is_err());
    }
}
