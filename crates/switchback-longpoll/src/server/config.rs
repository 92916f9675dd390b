use std::time::Duration;

use switchback_core::Limits;

/// How a [`LongPollServer`](super::LongPollServer) behaves.
///
/// ```
/// use std::time::Duration;
/// use switchback_longpoll::{Limits, ServerConfig};
///
/// let config = ServerConfig::new()
///     .window(Duration::from_secs(50))
///     .limits(Limits::new().max_message_size(1 << 20));
/// ```
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub(super) limits: Limits,
    pub(super) window: Duration,
    pub(super) grace: Duration,
    pub(super) max_connections: usize,
}

impl ServerConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            limits: Limits::new(),
            window: Duration::from_secs(25),
            grace: Duration::from_secs(10),
            max_connections: 65_536,
        }
    }

    /// Sets the limits of every connection.
    ///
    /// A connection holds at most the receive buffer, the send buffer of messages that no poll has
    /// carried yet, and one batch, of at most the send buffer too, that was not acknowledged.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how long a poll waits for a message before it is answered with none. Default 25 s,
    /// because many proxies cut a request that is silent for 30 s or 60 s.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets how much longer than the window a client may be silent before it is given up: when its
    /// last poll ended longer ago than window and grace together, it is gone. Default 10 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how many connections there may be; further ones are refused with `503 unavailable`.
    /// Default 65,536.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self::new()
    }
}
