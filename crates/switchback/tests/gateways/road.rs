//! The road from clients to a server: a proxy that cuts, a gateway, and another one that cuts.

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use switchback::{Client, Config, TransportKind};
use switchback_chaos::{Faults, Proxy};

use crate::process::{Gateway, Program};
use crate::support::flow::{Flow, messages};
use crate::support::{Server, refuse};

/// How often all connections on one side of the gateway are cut.
const EVERY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_millis(400);
/// How long they are cut there.
const SPELL: Duration = Duration::from_millis(700);

/// How often the cuts stop while messages flow.
const CALMS: u64 = 3;

/// What happens on the road, beside cuts on both sides of the gateway.
pub(crate) struct Scenario<'a> {
    name: &'a str,
    lines: &'a str,
    clients: &'a [&'a [TransportKind]],
    buffers: bool,
    cuts_silence: bool,
    reloads: bool,
}

impl<'a> Scenario<'a> {
    /// Makes one for clients that may each use the transports given.
    pub(crate) fn new(name: &'a str, clients: &'a [&'a [TransportKind]]) -> Self {
        Self {
            name,
            lines: "",
            clients,
            buffers: false,
            cuts_silence: false,
            reloads: false,
        }
    }

    /// Sets lines for the configuration of the gateway.
    pub(crate) fn lines(mut self, lines: &'a str) -> Self {
        self.lines = lines;
        self
    }

    /// The gateway buffers event streams, and refuses WebSockets: only long-polls work well.
    pub(crate) fn buffers(mut self) -> Self {
        self.buffers = true;
        self
    }

    /// The gateway cuts what is silent: all clients fall silent now and then until it has done so.
    pub(crate) fn cuts_silence(mut self) -> Self {
        self.cuts_silence = true;
        self
    }

    /// The gateway is made to replace its workers, again and again.
    pub(crate) fn reloads(mut self) -> Self {
        self.reloads = true;
        self
    }
}

/// Sends all messages over the road: `SWITCHBACK_MESSAGES` each way for each client.
pub(crate) async fn run(program: &'static Program, scenario: &Scenario<'_>) {
    let begin = Instant::now();
    let (server, mut incoming) = Server::start(Config::new()).await;
    let road = Road::open(program, scenario, &server).await;
    let client = Client::new(&format!("http://{}/rt", road.front.local_addr()))
        .unwrap()
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(20))
        .head_start(Duration::from_millis(20))
        .upgrade_probe(Duration::from_millis(100), Duration::from_millis(400))
        .max_starts(10_000, Duration::from_secs(10));
    let messages = messages(1_000);
    let mut flows = Vec::new();
    for kinds in scenario.clients {
        let name = format!("{kinds:?}");
        let client = client.clone().transports(kinds.iter().copied());
        // Those that may move up begin at the bottom.
        road.front.set(refuse(&kinds[..kinds.len() - 1])).await;
        flows.push(Flow::open(&name, &client, &mut incoming, messages).await);
    }
    road.front.set(Faults::new()).await;

    for leg in 1..=CALMS {
        let end = messages * leg / (CALMS + 1);
        allow(&flows, end);
        if leg == 1 && !scenario.buffers {
            for (flow, kinds) in flows.iter().zip(scenario.clients) {
                if kinds.len() > 1 {
                    flow.moved().await;
                }
            }
        }
        road.cut_while(received(&flows, end)).await;
        // These come through without cuts; and once they have, only the gateway can cut.
        allow(&flows, end + 1);
        received(&flows, end + 1).await;
        if scenario.cuts_silence {
            lost(&flows).await;
        }
    }
    allow(&flows, messages);
    let finished = async {
        let mut resumed = 0;
        for flow in flows {
            resumed += flow.finish().await;
        }
        resumed
    };
    let resumed = road.cut_while(finished).await;

    let (front, back) = (road.front.counters().cut, road.back.counters().cut);
    println!(
        "{}, {}: {messages} messages each way for each of {:?} in {:?}; {front} connections cut in \
         front of it and {back} behind it, {resumed} times resumed",
        program.name,
        scenario.name,
        scenario.clients,
        begin.elapsed(),
    );
    assert!(
        front > 0 && back > 0 && resumed > 0 || messages < 100_000,
        "no cut was noticed"
    );
}

/// Allows all clients and the server to send so many messages.
fn allow(flows: &[Flow], messages: u64) {
    for flow in flows {
        flow.allow(messages);
    }
}

/// Waits until so many messages have come on both sides of all clients.
async fn received(flows: &[Flow], messages: u64) {
    for flow in flows {
        flow.received(messages).await;
    }
}

/// Waits until all clients, while they are silent, have lost their transports.
async fn lost(flows: &[Flow]) {
    let before: Vec<_> = flows.iter().map(Flow::lost).collect();
    for (flow, before) in flows.iter().zip(before) {
        flow.lost_again(before).await;
    }
}

struct Road {
    front: Proxy,
    gateway: Gateway,
    back: Proxy,
    reloads: bool,
    /// How many spells of cuts there were.
    spells: Cell<u64>,
}

impl Road {
    async fn open(program: &'static Program, scenario: &Scenario<'_>, server: &Server) -> Self {
        let back = Proxy::start(server.addr).await.unwrap();
        let gateway = Gateway::start(program, scenario.name, back.local_addr(), scenario.lines);
        Self {
            front: Proxy::start(gateway.addr).await.unwrap(),
            gateway,
            back,
            reloads: scenario.reloads,
            spells: Cell::new(0),
        }
    }

    /// Cuts connections until something has happened, and no more after that.
    async fn cut_while<T>(&self, happens: impl Future<Output = T>) -> T {
        let cutting = async {
            loop {
                self.spell().await;
            }
        };
        let happened = tokio::select! {
            () = cutting => unreachable!(),
            happened = happens => happened,
        };
        self.front.set(Faults::new()).await;
        self.back.set(Faults::new()).await;
        happened
    }

    /// Cuts on one side of the gateway for a while, or on both.
    async fn spell(&self) {
        let spell = self.spells.replace(self.spells.get() + 1);
        let cuts = |seed| Faults::new().cut_every(EVERY, seed);
        let (front, back) = match spell % 4 {
            0 => (cuts(spell), Faults::new()),
            1 => (Faults::new(), cuts(spell)),
            2 => (cuts(spell), cuts(spell + 1)),
            _ => {
                let refused = refuse(&[TransportKind::WebSocket]);
                (refused.cut_every(EVERY, spell), Faults::new())
            }
        };
        self.front.set(front).await;
        self.back.set(back).await;
        if self.reloads {
            self.gateway.reload();
        }
        tokio::time::sleep(SPELL).await;
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in front of the gateway: {:?}", self.front.counters());
            eprintln!("behind the gateway: {:?}", self.back.counters());
        }
    }
}
