//! What server and load generator had used at a moment; two of them tell what each message cost.

use std::time::Instant;

use super::Outcome;
use super::lane::Traffic;
use crate::process::{self, Cpu};

#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    server: Option<Cpu>,
    load: Option<Cpu>,
    pub(super) traffic: Traffic,
}

impl Sample {
    /// Of the processes of the server, if it is known, and of the load generator.
    pub(crate) fn take(server: Option<u32>, load: u32) -> Self {
        Self {
            at: Instant::now(),
            server: server.and_then(process::cpu),
            load: process::cpu(load),
            traffic: Traffic::default(),
        }
    }

    /// Adds what was used until a later moment, in which `count` messages came, to what the scenario
    /// knows.
    pub(crate) fn until(&self, after: &Self, count: u64, outcome: Outcome) -> Outcome {
        let seconds = (after.at - self.at).as_secs_f64();
        let each = |sum: f64| (count > 0).then(|| sum / count as f64);
        let used = |after: Option<Cpu>, before: Option<Cpu>| Some(after? - before?);
        let server = used(after.server, self.server);
        let load = used(after.load, self.load);
        let nanos = seconds * 1e9;
        let waited = [server, load]
            .into_iter()
            .flatten()
            .map(|cpu| cpu.waited)
            .max();
        let received = after.traffic.received - self.traffic.received;
        let sent = after.traffic.sent - self.traffic.sent;
        Outcome {
            seconds,
            count,
            cpu: server.and_then(|cpu| each(cpu.total as f64 / 1000.0)),
            system: server.map(|cpu| (cpu.system as f64 / (cpu.total as f64).max(1.0)).min(1.0)),
            busy: server.map(|cpu| cpu.total as f64 / nanos),
            load_cpu: load.and_then(|cpu| each(cpu.total as f64 / 1000.0)),
            disturbed: waited.map(|waited| waited as f64 / nanos),
            wire: (received > 0)
                .then(|| each(received as f64).zip(each(sent as f64)))
                .flatten(),
            ..outcome
        }
    }
}
