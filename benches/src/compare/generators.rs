//! Load generators on our server: whether ours measures what others do.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::plan::{Case, Entry, Scale, ours};
use super::server::Server;

/// The load generators of others that are there.
#[derive(Debug)]
pub(super) struct Generators {
    load: PathBuf,
    load_test: Option<PathBuf>,
}

/// One of them, and how it is called in a case.
#[derive(Clone, Debug)]
pub(super) struct Generator {
    /// A word that begins with `URL` is one of the server, the word `PORT` its port.
    command: Vec<String>,
    /// What stands before the number of messages a second.
    rate: &'static str,
    /// How it is told to never sleep, if it can.
    spin: Option<&'static str>,
}

impl Generators {
    pub(super) fn find(peers: &Path, load_test: Option<PathBuf>) -> io::Result<Self> {
        let load = peers.join("rust/target/release/load");
        for file in [Some(&load), load_test.as_ref()].into_iter().flatten() {
            if !file.exists() {
                let text = format!("not installed: {}", file.display());
                return Err(io::Error::other(text));
            }
        }
        Ok(Self { load, load_test })
    }

    /// That of the peers, on libraries of others.
    fn load(
        &self,
        scenario: &str,
        path: &str,
        kind: &[&str],
        args: &[String],
        every: f64,
    ) -> Generator {
        let mut command = vec![
            self.load.display().to_string(),
            scenario.into(),
            format!("URL{path}"),
        ];
        command.extend(kind.iter().map(ToString::to_string));
        command.extend_from_slice(args);
        command.extend(["--every".into(), every.to_string()]);
        Generator {
            command,
            rate: "messages/s: ",
            spin: Some("--spin"),
        }
    }

    /// uWebSockets', which prints a line every 4 s and flushes when its buffer is full.
    fn load_test(&self, connections: u32, size: u32) -> Option<Generator> {
        let program = self.load_test.as_ref()?.display().to_string();
        let mut command: Vec<String> = ["stdbuf", "-oL", &program].map(Into::into).into();
        command.push(connections.to_string());
        command.extend(["127.0.0.1", "PORT", "0", "0"].map(Into::into));
        command.push(size.to_string());
        Some(Generator {
            command,
            rate: "Msg/sec: ",
            spin: None,
        })
    }
}

impl Generator {
    /// Lets this program observe the server while the other drives it.
    pub(super) fn drive(&self, command: &mut Command, name: &str, server: &Server, spin: bool) {
        command.args(["observe", "--json", "--label", name]);
        command.args(["--pid", &server.pid().to_string()]);
        command.args(["--rate", self.rate, "--lines", "1", "--"]);
        command.args(
            self.command
                .iter()
                .map(|word| match word.strip_prefix("URL") {
                    Some(path) => server.url(path),
                    None if word == "PORT" => server.port().to_string(),
                    None => word.clone(),
                }),
        );
        command.args(self.spin.filter(|_| spin));
    }
}

/// Name, what is spoken, connections, messages that each has in flight, messages a second in all, and
/// whether the load generator stays awake.
type Echo = (&'static str, &'static str, u32, u32, Option<u32>, bool);

#[rustfmt::skip]
const ECHOES: [Echo; 15] = [
    ("echo, 1 × 1, asleep", "ws", 1, 1, None, false),
    ("echo, 1 × 1, awake", "ws", 1, 1, None, true),
    ("echo, 1 × 16, asleep", "ws", 1, 16, None, false),
    ("echo, 1 × 16, awake", "ws", 1, 16, None, true),
    ("echo, 64 × 1, asleep", "ws", 64, 1, None, false),
    ("echo, 64 × 1, awake", "ws", 64, 1, None, true),
    ("echo, 64 × 16, awake", "ws", 64, 16, None, true),
    ("echo, 64 × 1, 40,000 a second", "ws", 64, 1, Some(40_000), true),
    ("echo, 64 × 16, 640,000 a second", "ws", 64, 16, Some(640_000), true),
    ("echo, 1000 × 1, asleep", "ws", 1000, 1, None, false),
    ("echo, 1000 × 16, awake", "ws", 1000, 16, None, true),
    ("session echo, 64 × 1, asleep", "session-ws", 64, 1, None, false),
    ("session echo, 64 × 1, awake", "session-ws", 64, 1, None, true),
    ("session echo, 64 × 16, awake", "session-ws", 64, 16, None, true),
    ("session echo, 64 × 1, 40,000 a second", "session-ws", 64, 1, Some(40_000), true),
];

/// Name, what is spoken, the path, messages in flight, messages a second.
#[rustfmt::skip]
const FAN_OUTS: [(&str, &str, &str, u32, Option<u32>); 12] = [
    ("fan-out, ws, one at a time", "ws", "/ws/room", 1, None),
    ("fan-out, ws, 64 at a time", "ws", "/ws/room", 64, None),
    ("fan-out, ws, 50 a second", "ws", "/ws/room", 64, Some(50)),
    ("fan-out, sse, one at a time", "sse", "/sse/room", 1, None),
    ("fan-out, sse, 64 at a time", "sse", "/sse/room", 64, None),
    ("fan-out, sse, 50 a second", "sse", "/sse/room", 64, Some(50)),
    ("fan-out, poll, one at a time", "poll", "/poll/room", 1, None),
    ("fan-out, poll, 64 at a time", "poll", "/poll/room", 64, None),
    ("fan-out, poll, 10 a second", "poll", "/poll/room", 64, Some(10)),
    ("fan-out, session, one at a time", "session-ws", "/rt/room", 1, None),
    ("fan-out, session, 64 at a time", "session-ws", "/rt/room", 64, None),
    ("fan-out, session, 50 a second", "session-ws", "/rt/room", 64, Some(50)),
];

const SIZE: u32 = 125;

pub(super) fn cases(scale: &Scale, others: &Generators) -> Vec<Case> {
    let echoes = ECHOES.map(|(name, kind, connections, in_flight, rate, spin)| {
        let path = if kind == "ws" { "/ws/echo" } else { "/rt" };
        let args = args(
            connections,
            [("--in-flight", Some(in_flight)), ("--rate", rate)],
        );
        let other = others.load("echo", path, &["--kind", kind], &args, scale.seconds);
        let mut entries = vec![entry("ours", kind, path, None)];
        entries.push(entry("libraries", kind, path, Some(other)));
        // It knows nothing else.
        if kind == "ws" && in_flight == 1 && rate.is_none() && !spin {
            let other = others.load_test(connections, SIZE);
            entries.extend(other.map(|other| entry("load_test", "ws", "/ws/echo", Some(other))));
        }
        case(name, "echo", args, spin, entries, scale)
    });
    let fan_outs = FAN_OUTS.map(|(name, kind, path, in_flight, rate)| {
        let batch = rate.is_none().then_some(in_flight);
        let list = [
            ("--in-flight", Some(in_flight)),
            ("--batch", batch),
            ("--rate", rate),
        ];
        let args = args(1000, list);
        let other = others.load("fan-out", path, &["--kind", kind], &args, scale.seconds);
        let entries = vec![
            entry("ours", kind, path, None),
            entry("libraries", kind, path, Some(other)),
        ];
        case(name, "fan-out", args, true, entries, scale)
    });
    echoes.into_iter().chain(fan_outs).collect()
}

fn args<const N: usize>(connections: u32, list: [(&str, Option<u32>); N]) -> Vec<String> {
    let mut args = vec!["-c".to_owned(), connections.to_string()];
    args.extend(["--size".to_owned(), SIZE.to_string()]);
    for (name, value) in list {
        args.extend(
            value
                .into_iter()
                .flat_map(|value| [name.to_owned(), value.to_string()]),
        );
    }
    args
}

fn entry(name: &str, kind: &'static str, path: &str, generator: Option<Generator>) -> Entry {
    Entry {
        name: name.into(),
        generator,
        ..ours(name, kind, path)
    }
}

fn case(
    name: &'static str,
    scenario: &'static str,
    mut args: Vec<String>,
    spin: bool,
    entries: Vec<Entry>,
    scale: &Scale,
) -> Case {
    // As the others do.
    args.extend(["--opening".into(), "1".into()]);
    args.extend(["--seconds".into(), scale.seconds.to_string()]);
    args.extend(["--warm-up".into(), scale.warm_up.to_string()]);
    Case {
        name,
        scenario,
        args,
        spin,
        entries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_comes_first_and_the_others_are_told_the_same() {
        let others = Generators {
            load: "load".into(),
            load_test: Some("load_test".into()),
        };
        for case in cases(&Scale::new(true, None), &others) {
            let (first, rest) = case.entries.split_first().unwrap();
            assert!(first.generator.is_none() && !rest.is_empty());
            for entry in rest {
                let command = &entry.generator.as_ref().unwrap().command;
                if command[0] != "load" {
                    assert!(command.contains(&case.args[1]), "{command:?}");
                    continue;
                }
                let ours = case.args.chunks(2);
                let told = ours.take_while(|arg| arg[0] != "--opening");
                for arg in told {
                    assert!(command.windows(2).any(|other| other == arg), "{arg:?}");
                }
            }
        }
    }
}
