use std::time::{Duration, Instant};

use crate::Config;
use crate::delivery::Link;

/// So many attachments in a row that silence has killed are no chance.
const DEATHS: u32 = 2;

/// So many silences that an attachment has survived are no chance either. (One may be, where the
/// network's limit is about the interval.)
const SURVIVED: u32 = 4;

/// After so long a new attachment is given a longer interval again: networks change.
const RELAX: Duration = Duration::from_secs(60 * 60);

/// How often a session says something, which adapts to networks that cut idle connections.
///
/// An attachment that dies after a silence proves nothing: the network may have changed meanwhile.
/// Two in a row do, where none of them has survived silences before. Then the interval is halved.
/// Attachments keep the interval that `opened` has told their client.
#[derive(Debug)]
pub(super) struct Heartbeat {
    longest: Duration,
    shortest: Duration,
    interval: Duration,
    /// Attachments in a row that silence has killed.
    deaths: u32,
    shortened: Option<Instant>,
}

impl Heartbeat {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            longest: config.heartbeat(),
            shortest: config.min_heartbeat().min(config.heartbeat()),
            interval: config.heartbeat(),
            deaths: 0,
            shortened: None,
        }
    }

    /// Returns the interval of a new attachment.
    pub(super) fn begin(&mut self, now: Instant) -> Duration {
        if self.shortened.is_some_and(|at| now >= at + RELAX) {
            self.interval = (self.interval * 2).min(self.longest);
            self.shortened = (self.interval < self.longest).then_some(now);
            self.deaths = 0;
        }
        self.interval
    }

    /// An attachment has died, and nobody has closed it.
    pub(super) fn died(&mut self, now: Instant, link: &Link) {
        if link.survived() >= SURVIVED {
            self.deaths = 0;
        }
        if link.silence(now) < self.shortest || self.interval == self.shortest {
            // Too busy to have died of silence, or no heartbeat would have helped.
            return;
        }
        self.deaths += 1;
        if self.deaths == DEATHS {
            self.deaths = 0;
            self.interval = (self.interval / 2).max(self.shortest);
            self.shortened = Some(now);
        }
    }
}
