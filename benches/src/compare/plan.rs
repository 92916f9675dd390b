//! What is measured on which servers.

use super::generators::Generator;
use super::server::{How, Peers};

/// One scenario with its parameters.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) scenario: &'static str,
    pub(super) args: Vec<String>,
    /// The load generator never sleeps, if it has a core to itself: remote clients are not woken up by
    /// the server's core.
    pub(super) spin: bool,
    pub(super) entries: Vec<Entry>,
}

/// One server, and how clients speak to it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) server: How,
    pub(super) path: String,
    pub(super) kind: &'static str,
    /// Where to publish.
    pub(super) publish: Option<String>,
    pub(super) post: bool,
    /// Its clients cannot send, so that memory after traffic is measured with published messages.
    pub(super) listens: bool,
    /// Another load generator, in place of ours.
    pub(super) generator: Option<Generator>,
}

impl Case {
    pub(super) fn publishes(&self, entry: &Entry) -> bool {
        match self.scenario {
            "fan-out" => true,
            "idle" => entry.listens,
            _ => false,
        }
    }
}

/// How much of everything.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    pub(super) seconds: f64,
    pub(super) warm_up: f64,
    echo: u32,
    fan_out: u32,
    idle: u32,
    idle_messages: u32,
    settle: f64,
    connect: u32,
    trip: u32,
}

impl Scale {
    pub(super) fn new(quick: bool, seconds: Option<f64>) -> Self {
        if quick {
            return Self {
                seconds: seconds.unwrap_or(0.1),
                warm_up: 0.05,
                echo: 8,
                fan_out: 50,
                idle: 100,
                idle_messages: 5,
                settle: 0.05,
                connect: 100,
                trip: 20,
            };
        }
        Self {
            seconds: seconds.unwrap_or(1.5),
            warm_up: 0.4,
            echo: 64,
            fan_out: 1000,
            idle: 2000,
            idle_messages: 50,
            settle: 1.2,
            connect: 4000,
            trip: 100,
        }
    }
}

/// Ours: what it is called, how it is spoken to, and the paths of echo and room.
const OURS: [(&str, &str, &str, &str); 6] = [
    ("ws", "ws", "/ws/echo", "/ws/room"),
    ("sse", "sse", "/rt", "/sse/room"),
    ("poll", "poll", "/rt", "/poll/room"),
    ("session-ws", "session-ws", "/rt", "/rt/room"),
    ("session-sse", "session-sse", "/rt", "/rt/room"),
    ("session-poll", "session-poll", "/rt", "/rt/room"),
];

/// Peers: the name, how it is spoken to, the path of the echo, that of the room, and where to
/// publish (`POST …` by POST). An empty path: it cannot.
const PEERS: [(&str, &str, &str, &str, &str); 13] = [
    ("floor", "tcp", "+0", "+1", "+2"),
    ("tungstenite", "ws", "/ws/echo", "/ws/room", "/ws/publish"),
    ("fastwebsockets", "ws", "/ws/echo", "", ""),
    ("axum", "ws", "/ws/echo", "/ws/room", "/ws/publish"),
    ("axum", "sse", "", "/sse/room", "/ws/publish"),
    (
        "socketioxide",
        "socketio",
        "/socket.io/",
        "/socket.io/",
        "/socket.io/",
    ),
    (
        "socketioxide",
        "socketio-poll",
        "/socket.io/",
        "/socket.io/",
        "/socket.io/",
    ),
    ("npm-ws", "ws", "/ws/echo", "/ws/room", "/ws/publish"),
    (
        "socket.io",
        "socketio",
        "/socket.io/",
        "/socket.io/",
        "/socket.io/",
    ),
    (
        "socket.io",
        "socketio-poll",
        "/socket.io/",
        "/socket.io/",
        "/socket.io/",
    ),
    ("nchan", "ws", "", "/sub", "POST /pub"),
    ("nchan", "sse", "", "/sub", "POST /pub"),
    ("nchan", "nchan-poll", "", "/sub", "POST /pub"),
];

pub(super) fn cases(scale: &Scale, peers: Option<&Peers>) -> Vec<Case> {
    let timing = [
        "--seconds".to_owned(),
        scale.seconds.to_string(),
        "--warm-up".to_owned(),
        scale.warm_up.to_string(),
    ];
    let args = |list: &[(&str, String)]| -> Vec<String> {
        list.iter()
            .flat_map(|(name, value)| [(*name).to_owned(), value.clone()])
            .collect()
    };
    let timed = |list: &[(&str, String)]| [args(list), timing.to_vec()].concat();
    let echo = |in_flight: u32, size: u32| {
        timed(&[
            ("-c", scale.echo.to_string()),
            ("--in-flight", in_flight.to_string()),
            ("--size", size.to_string()),
        ])
    };
    let fan_out = |in_flight: u32| {
        timed(&[
            ("-c", scale.fan_out.to_string()),
            ("--in-flight", in_flight.to_string()),
        ])
    };
    let idle = args(&[
        ("-c", scale.idle.to_string()),
        ("--messages", scale.idle_messages.to_string()),
        ("--settle", scale.settle.to_string()),
    ]);
    let connect = args(&[("--count", scale.connect.to_string())]);
    let case = |name, scenario, args, entries| Case {
        name,
        scenario,
        args,
        spin: matches!(scenario, "echo" | "fan-out"),
        entries,
    };
    let mut cases = vec![
        case(
            "echo, 1 in flight",
            "echo",
            echo(1, 125),
            entries(false, peers),
        ),
        case(
            "echo, 16 in flight",
            "echo",
            echo(16, 125),
            entries(false, peers),
        ),
        case(
            "echo, 16 KiB",
            "echo",
            echo(1, 16384),
            entries(false, peers),
        ),
        case(
            "fan-out, saturated",
            "fan-out",
            fan_out(64),
            entries(true, peers),
        ),
        case(
            "fan-out, one at a time",
            "fan-out",
            fan_out(1),
            entries(true, peers),
        ),
        case("idle", "idle", idle, idle_entries(peers)),
        case("connect", "connect", connect, idle_entries(peers)),
    ];
    // It says nothing before the first message: there is no moment at which it is connected.
    for case in cases.iter_mut().filter(|case| case.scenario == "connect") {
        case.entries.retain(|entry| entry.kind != "nchan-poll");
    }
    for how in ["connect", "refused", "resume"] {
        let args = args(&[
            ("--delay", scale.trip.to_string()),
            ("--how", how.to_owned()),
        ]);
        let mut entry = ours("switchback", "session-ws", "/rt");
        entry.name = format!("switchback {how}");
        cases.push(case("round trips", "round-trips", args, vec![entry]));
    }
    cases
}

pub(super) fn ours(name: &str, kind: &'static str, path: &str) -> Entry {
    Entry {
        name: format!("switchback {name}"),
        server: How::Ours,
        path: path.into(),
        kind,
        publish: Some("/ws/publish".into()),
        post: false,
        listens: false,
        generator: None,
    }
}

/// The entries of an echo or of a fan-out. The first is what the others are compared with.
fn entries(room: bool, peers: Option<&Peers>) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut theirs = peers
        .map(|peers| peer_entries(room, peers))
        .unwrap_or_default();
    if theirs
        .first()
        .is_some_and(|first| first.name.starts_with("floor"))
    {
        entries.push(theirs.remove(0));
    }
    for (name, kind, echo, members) in OURS {
        entries.push(ours(name, kind, if room { members } else { echo }));
    }
    entries.extend(theirs);
    entries
}

fn peer_entries(room: bool, peers: &Peers) -> Vec<Entry> {
    let entry = |(name, kind, echo, members, publish): (&str, _, &str, &str, &str)| {
        let path = if room { members } else { echo };
        let server = peers.get(name).filter(|_| !path.is_empty())?;
        let post = publish.strip_prefix("POST ");
        Some(Entry {
            name: format!("{name} {kind}"),
            server,
            path: path.into(),
            kind,
            publish: Some(post.unwrap_or(publish).into()),
            post: post.is_some(),
            listens: room,
            generator: None,
        })
    };
    PEERS.into_iter().filter_map(entry).collect()
}

/// The entries of an idle or a connect: who can echo does, who cannot listens; and an event stream
/// without sessions, which a room has.
fn idle_entries(peers: Option<&Peers>) -> Vec<Entry> {
    let mut all = entries(false, peers);
    let mut stream = ours("sse stream", "sse", "/sse/room");
    stream.listens = true;
    let after = all.iter().position(|entry| entry.name == "switchback sse");
    all.insert(after.map_or(all.len(), |at| at + 1), stream);
    for entry in peers
        .map(|peers| peer_entries(true, peers))
        .unwrap_or_default()
    {
        if !all.iter().any(|other| other.name == entry.name) {
            all.push(entry);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_peers_everything_is_ours_and_bare_websocket_comes_first() {
        for case in cases(&Scale::new(true, None), None) {
            assert!(case.entries.iter().all(|entry| entry.server == How::Ours));
            if case.scenario != "round-trips" {
                assert_eq!(case.entries[0].name, "switchback ws", "{}", case.name);
                assert!(case.entries.len() >= OURS.len());
            }
        }
    }
}
