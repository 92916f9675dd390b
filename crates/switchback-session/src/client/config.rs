use std::time::Duration;

use switchback_core::TransportKind;

use crate::Config;
use crate::config::bounded;

/// The configuration of a client's session: which transports to use, when to try which, and how
/// hard.
///
/// | what | default |
/// |---|---|
/// | transports | WebSocket, SSE, long-poll |
/// | head start of each before the next | 300 ms |
/// | a try may take | 10 s |
/// | canary: from open to the first frame | 2 s |
/// | probation | 2 unclean deaths within 5 s of opening: demoted 5 min, growing to 1 h |
/// | upgrade probes | every 60 s, growing to 10 min |
/// | winner remembered | 30 min |
/// | reconnect | full jitter, 500 ms to 20 s |
/// | starts of transports | at most 12 in 10 s |
/// | give up before the first success | after 1 round |
#[derive(Clone, Debug)]
pub struct ClientConfig {
    session: Config,
    transports: Vec<TransportKind>,
    head_start: Duration,
    try_timeout: Duration,
    canary: Duration,
    probation_deaths: u32,
    probation_window: Duration,
    demotion: Duration,
    demotion_max: Duration,
    probe: Duration,
    probe_max: Duration,
    remember: Duration,
    backoff: Duration,
    backoff_max: Duration,
    starts: usize,
    starts_window: Duration,
    give_up_after: Option<u32>,
}

impl ClientConfig {
    /// Makes the default configuration.
    pub fn new() -> Self {
        Self {
            session: Config::new(),
            transports: TransportKind::ALL.to_vec(),
            head_start: Duration::from_millis(300),
            try_timeout: Duration::from_secs(10),
            canary: Duration::from_secs(2),
            probation_deaths: 2,
            probation_window: Duration::from_secs(5),
            demotion: Duration::from_secs(5 * 60),
            demotion_max: Duration::from_secs(60 * 60),
            probe: Duration::from_secs(60),
            probe_max: Duration::from_secs(10 * 60),
            remember: Duration::from_secs(30 * 60),
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(20),
            starts: 12,
            starts_window: Duration::from_secs(10),
            give_up_after: Some(1),
        }
    }

    /// Sets limits and timers of the session.
    #[must_use]
    pub fn with_session(mut self, session: Config) -> Self {
        self.session = session;
        self
    }

    /// Sets the transports that may be used, in order of preference. An empty list is all of them;
    /// a kind that comes twice counts once. One kind alone is a forced transport.
    #[must_use]
    pub fn with_transports(mut self, transports: impl Into<Vec<TransportKind>>) -> Self {
        self.transports = transports.into();
        if self.transports.is_empty() {
            self.transports = TransportKind::ALL.to_vec();
        }
        let mut seen = Vec::new();
        self.transports.retain(|kind| {
            let first = !seen.contains(kind);
            seen.push(*kind);
            first
        });
        self
    }

    /// Sets how long a transport is tried before the next one starts beside it. A refusal starts
    /// the next one at once.
    #[must_use]
    pub fn with_head_start(mut self, head_start: Duration) -> Self {
        self.head_start = bounded(head_start);
        self
    }

    /// Sets how long opening a transport may take, up to the first frame of the session.
    #[must_use]
    pub fn with_try_timeout(mut self, timeout: Duration) -> Self {
        self.try_timeout = bounded(timeout);
        self
    }

    /// Sets how long a transport that has opened may take to deliver the first frame of the session
    /// before it counts as buffered. (Long-polling cannot be buffered: only the try's timeout
    /// counts there.)
    #[must_use]
    pub fn with_canary(mut self, canary: Duration) -> Self {
        self.canary = bounded(canary);
        self
    }

    /// Sets after how many unclean deaths (at least 1) within which time of opening a kind of
    /// transport is demoted: tried last, and not probed.
    #[must_use]
    pub fn with_probation(mut self, deaths: u32, window: Duration) -> Self {
        self.probation_deaths = deaths.max(1);
        self.probation_window = bounded(window);
        self
    }

    /// Sets how long a kind of transport is demoted at first, and at most: the time doubles with
    /// every further death.
    #[must_use]
    pub fn with_demotion(mut self, first: Duration, max: Duration) -> Self {
        self.demotion = bounded(first);
        self.demotion_max = bounded(max.max(first));
        self
    }

    /// Sets how often a better transport is tried than the one in use: at first, and at least; the
    /// interval doubles with every failure.
    #[must_use]
    pub fn with_probe(mut self, first: Duration, max: Duration) -> Self {
        self.probe = bounded(first);
        self.probe_max = bounded(max.max(first));
        self
    }

    /// Sets how long the winner is remembered, so that the next race begins with it.
    #[must_use]
    pub fn with_remember(mut self, time: Duration) -> Self {
        self.remember = bounded(time);
        self
    }

    /// Sets the delay between rounds of tries: random between zero and a bound that begins at
    /// `first` and doubles up to `max`.
    #[must_use]
    pub fn with_backoff(mut self, first: Duration, max: Duration) -> Self {
        self.backoff = bounded(first);
        self.backoff_max = bounded(max.max(first));
        self
    }

    /// Sets how many transports (at least 1) are started in any window of this length at most,
    /// whatever happens.
    #[must_use]
    pub fn with_starts(mut self, starts: usize, window: Duration) -> Self {
        self.starts = starts.max(1);
        self.starts_window = bounded(window);
        self
    }

    /// Sets after how many rounds without any success to give up; `None`: never. Once the session
    /// was open, it never gives up.
    #[must_use]
    pub fn with_give_up_after(mut self, rounds: impl Into<Option<u32>>) -> Self {
        self.give_up_after = rounds.into();
        self
    }

    /// Returns limits and timers of the session.
    pub fn session(&self) -> &Config {
        &self.session
    }

    /// Returns the transports that may be used, in order of preference.
    pub fn transports(&self) -> &[TransportKind] {
        &self.transports
    }

    /// Returns the head start.
    pub fn head_start(&self) -> Duration {
        self.head_start
    }

    /// Returns how long opening a transport may take.
    pub fn try_timeout(&self) -> Duration {
        self.try_timeout
    }

    /// Returns how long the first frame may take after the transport has opened.
    pub fn canary(&self) -> Duration {
        self.canary
    }

    /// Returns how many unclean deaths within which time of opening demote.
    pub fn probation(&self) -> (u32, Duration) {
        (self.probation_deaths, self.probation_window)
    }

    /// Returns how long a kind is demoted: at first, and at most.
    pub fn demotion(&self) -> (Duration, Duration) {
        (self.demotion, self.demotion_max)
    }

    /// Returns how often a better transport is tried: at first, and at least.
    pub fn probe(&self) -> (Duration, Duration) {
        (self.probe, self.probe_max)
    }

    /// Returns how long the winner is remembered.
    pub fn remember(&self) -> Duration {
        self.remember
    }

    /// Returns the bound of the random delay between rounds: at first, and at most.
    pub fn backoff(&self) -> (Duration, Duration) {
        (self.backoff, self.backoff_max)
    }

    /// Returns how many transports are started in a window of which length at most.
    pub fn starts(&self) -> (usize, Duration) {
        (self.starts, self.starts_window)
    }

    /// Returns after how many rounds without any success to give up.
    pub fn give_up_after(&self) -> Option<u32> {
        self.give_up_after
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self::new()
    }
}
