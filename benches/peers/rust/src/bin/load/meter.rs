//! Counts messages, and prints how many a second.

use std::convert::Infallible;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Failure;

#[derive(Clone, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Prints a line, again and again: the messages a second since the last one.
    pub async fn report(&self, every: Duration) -> Result<Infallible, Failure> {
        let mut begin = Instant::now();
        self.0.store(0, Ordering::Relaxed);
        loop {
            tokio::time::sleep_until((begin + every).into()).await;
            let now = Instant::now();
            let count = self.0.swap(0, Ordering::Relaxed) as f64;
            let mut out = stdout().lock();
            writeln!(
                out,
                "messages/s: {:.0}",
                count / (now - begin).as_secs_f64()
            )?;
            out.flush()?;
            begin = now;
        }
    }
}
