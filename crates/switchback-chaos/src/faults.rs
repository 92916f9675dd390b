use std::ops::RangeInclusive;
use std::time::Duration;

use crate::rule::Rule;

/// What goes wrong, until it is [set](crate::Proxy::set) anew. The default is nothing.
///
/// Faults of a direction apply to open connections too, from the next byte on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub(crate) refuse: bool,
    pub(crate) black_hole: bool,
    pub(crate) up: Flow,
    pub(crate) down: Flow,
    pub(crate) kill_after: Option<Duration>,
    pub(crate) cut_with: Cut,
    pub(crate) cut_every: Option<(RangeInclusive<Duration>, u64)>,
    pub(crate) rules: Vec<Rule>,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Both ends see a reset: their next read fails. What was under way is lost.
    #[default]
    Reset,
    /// Both ends see an orderly end: their next read gives end of file. What had been read before
    /// still arrives; what they send afterwards does not.
    Fin,
}

impl Faults {
    /// Makes a plan in which nothing goes wrong.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses new connections: nobody listens. Open ones go on.
    #[must_use]
    pub fn refuse(mut self, refuse: bool) -> Self {
        self.refuse = refuse;
        self
    }

    /// Accepts connections and swallows all that comes, in both directions: nobody ever answers.
    /// New connections do not reach the server at all.
    #[must_use]
    pub fn black_hole(mut self, black_hole: bool) -> Self {
        self.black_hole = black_hole;
        self
    }

    /// Sets what happens to what clients send.
    #[must_use]
    pub fn up(mut self, flow: Flow) -> Self {
        self.up = flow;
        self
    }

    /// Sets what happens to what the server sends.
    #[must_use]
    pub fn down(mut self, flow: Flow) -> Self {
        self.down = flow;
        self
    }

    /// Cuts each connection this long after it was accepted; open ones that are older, at once.
    #[must_use]
    pub fn kill_after(mut self, age: Duration) -> Self {
        self.kill_after = Some(age);
        self
    }

    /// Sets how [`kill_after`](Self::kill_after) and [`Flow::truncate`] cut. Default
    /// [`Cut::Reset`].
    #[must_use]
    pub fn cut_with(mut self, cut: Cut) -> Self {
        self.cut_with = cut;
        self
    }

    /// Cuts all connections again and again, after waits that are drawn from `every`, half of the
    /// time by a reset. The same seed draws the same waits and cuts.
    ///
    /// Waits shorter than a millisecond are a millisecond.
    #[must_use]
    pub fn cut_every(mut self, every: RangeInclusive<Duration>, seed: u64) -> Self {
        self.cut_every = Some((every, seed));
        self
    }

    /// Adds a rule for HTTP requests. The first rule that matches counts.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }
}

/// What happens to the bytes of one direction, for each connection by itself. The default is that
/// they are passed on at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub(crate) delay: Duration,
    pub(crate) hold: Option<Duration>,
    pub(crate) throttle: Option<u32>,
    pub(crate) truncate: Option<u64>,
    pub(crate) black_hole: bool,
}

impl Flow {
    /// Makes a direction in which nothing goes wrong.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes every byte on this much later, the end of the stream included. Does not limit the
    /// throughput as long as no more than 1 MiB is under way.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Holds back what comes until `hold` after its first byte, until the stream ends, or until
    /// 1 MiB has come, whichever is first, and then passes all of it on: like a proxy that buffers
    /// responses. With [`Duration::MAX`] only the end of the stream, or the MiB, releases it.
    #[must_use]
    pub fn buffer(mut self, hold: Duration) -> Self {
        self.hold = Some(hold);
        self
    }

    /// Passes on at most this many bytes per second, at least 1.
    #[must_use]
    pub fn throttle(mut self, bytes_per_second: u32) -> Self {
        self.throttle = Some(bytes_per_second.max(1));
        self
    }

    /// Passes on this many bytes of each connection, counted from its beginning, and cuts it when
    /// there is one more.
    #[must_use]
    pub fn truncate(mut self, bytes: u64) -> Self {
        self.truncate = Some(bytes);
        self
    }

    /// Swallows everything, the end of the stream included.
    #[must_use]
    pub fn black_hole(mut self, black_hole: bool) -> Self {
        self.black_hole = black_hole;
        self
    }
}
