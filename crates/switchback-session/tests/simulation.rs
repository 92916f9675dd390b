//! A client session, server sessions and the network between them in one process, with a fake
//! clock and a seed.
//!
//! `SWITCHBACK_RUNS=n` sets how many seeds are run; `SWITCHBACK_SEED=n` replays one with a trace.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test: it fails by panics and prints seeds and traces"
)]

#[path = "sim/mod.rs"]
mod sim;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use sim::{Stats, World};

const RUNS: u64 = 100_000;

#[test]
fn nothing_is_lost_or_doubled() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    if let Some(seed) = number("SWITCHBACK_SEED") {
        World::new(seed, true).run();
        return;
    }
    let runs = number("SWITCHBACK_RUNS").unwrap_or(RUNS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<(Vec<u64>, Stats)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&next, runs)))
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    let mut failed = Vec::new();
    let mut total = Stats::default();
    for (seeds, stats) in results {
        failed.extend(seeds);
        total += stats;
    }
    println!("{runs} runs: {total:?}");
    assert!(
        failed.is_empty(),
        "{} of {runs} runs failed; replay one with SWITCHBACK_SEED={}",
        failed.len(),
        failed[0]
    );
    // The simulation must not have become harmless.
    assert!(total.resumed > runs / 10 && total.anew > runs / 100 && total.moved > runs / 100);
    assert!(total.unheard > runs / 1000 && total.told > runs / 1000);
    assert!(total.idle > runs / 50);
    assert!(total.published > runs / 10);
    assert!(total.untold > runs / 10);
    assert!(total.at_once > runs / 10 && total.tallied > runs);
    assert!(total.confirmed > runs / 1000);
}

fn work(next: &AtomicU64, runs: u64) -> (Vec<u64>, Stats) {
    let mut failed = Vec::new();
    let mut total = Stats::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= runs || failed.len() >= 20 {
            return (failed, total);
        }
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(seed, false);
            world.run();
            world.stats
        }));
        match result {
            Ok(stats) => total += stats,
            Err(_) => {
                println!("SWITCHBACK_SEED={seed} fails");
                failed.push(seed);
            }
        }
    }
}
