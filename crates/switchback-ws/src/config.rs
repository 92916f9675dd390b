use std::time::Duration;

use switchback_core::Limits;

/// The behaviour of a WebSocket, and what the peer may make it store or wait for.
///
/// ```
/// use std::time::Duration;
/// use switchback_ws::{Config, Limits};
///
/// let config = Config::new()
///     .limits(Limits::new().max_message_size(1 << 20))
///     .protocols(["chat.v2", "chat.v1"])
///     .ping_interval(Duration::from_secs(10));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) tuning: Tuning,
    pub(crate) protocols: Vec<String>,
}

/// What one connection keeps of its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Tuning {
    pub(crate) limits: Limits,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) ping_timeout: Duration,
}

impl Config {
    /// The defaults of `docs/defaults.md`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the limits. Default: [`Limits::new`].
    ///
    /// Of these, a WebSocket uses the message size (of a whole message, and so of each frame), the
    /// send buffer and the two timeouts.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.tuning.limits = limits;
        self
    }

    /// Sets after how long without anything from the peer a ping is sent (RFC 6455, 5.5.2). Default
    /// 25 s. `None`: never; a peer that vanished without a trace is then not noticed, and buffers that
    /// grew are kept.
    ///
    /// Any byte counts, and so does that the peer takes what had to wait to be written to it: a slow
    /// reader is not silent.
    #[must_use]
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.tuning.ping_interval = interval.into();
        self
    }

    /// Sets after how long without anything from the peer after a ping it counts as dead. Default
    /// 10 s.
    #[must_use]
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.tuning.ping_timeout = timeout;
        self
    }

    /// Sets the subprotocols that the server speaks (RFC 6455, 1.9), the best one first. Default:
    /// none.
    ///
    /// The first of them that the client offers is agreed upon; none, when it offers none of them.
    #[must_use]
    pub fn protocols<I>(mut self, protocols: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.protocols = protocols.into_iter().map(Into::into).collect();
        self
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            limits: Limits::new(),
            ping_interval: Some(Duration::from_secs(25)),
            ping_timeout: Duration::from_secs(10),
        }
    }
}
