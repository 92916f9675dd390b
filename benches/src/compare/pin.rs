//! Server and load generator on cores of their own, where there are two and `taskset` to choose.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Stdio};

#[derive(Clone, Debug, Default)]
pub(super) struct Cores {
    /// The core of the server and that of the load generator.
    pair: Option<(usize, usize)>,
}

impl Cores {
    pub(super) fn find() -> Self {
        let allowed = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let list = allowed
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .map(parse)
            .unwrap_or_default();
        let taskset = Command::new("taskset")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        let pair = match list[..] {
            [first, second, ..] if taskset.is_ok() => Some((first, second)),
            _ => None,
        };
        Self { pair }
    }

    /// A command that runs where servers run.
    pub(super) fn server(&self, program: impl AsRef<OsStr>) -> Command {
        on(self.pair.map(|pair| pair.0), program)
    }

    /// A command that runs where the load generator runs.
    pub(super) fn load(&self, program: impl AsRef<OsStr>) -> Command {
        on(self.pair.map(|pair| pair.1), program)
    }

    /// Tells whether neither takes the other's time.
    pub(super) fn are_apart(&self) -> bool {
        self.pair.is_some()
    }

    pub(super) fn describe(&self) -> String {
        match self.pair {
            Some((server, load)) => {
                format!("server on core {server}, load generator on core {load}")
            }
            None => "server and load generator wherever the system put them".into(),
        }
    }
}

fn on(core: Option<usize>, program: impl AsRef<OsStr>) -> Command {
    match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.arg("-c").arg(core.to_string()).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// `0-2,5` (proc(5)).
fn parse(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_lists_of_cores() {
        assert_eq!(super::parse("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(super::parse("3"), [3]);
        assert!(super::parse("").is_empty());
    }
}
