use std::time::Duration;

use switchback_core::{Limits, TransportKind};

/// How an [`Endpoint`](crate::Endpoint) behaves. The defaults are those of `docs/defaults.md`.
///
/// ```
/// use std::time::Duration;
/// use switchback::{Config, Limits};
///
/// let config = Config::new()
///     .limits(Limits::new().max_message_size(1 << 20))
///     .park(Duration::from_secs(300));
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) limits: Limits,
    pub(crate) transports: Vec<TransportKind>,
    pub(crate) session: switchback_session::Config,
    pub(crate) plain_clients: bool,
    pub(crate) queue_soft: usize,
    pub(crate) queue_hard: usize,
    pub(crate) backlog: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_parked: usize,
    pub(crate) max_parked_bytes: usize,
    pub(crate) max_departed: usize,
    pub(crate) poll_window: Duration,
    pub(crate) protocols: Vec<String>,
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            limits: Limits::new(),
            transports: TransportKind::ALL.to_vec(),
            session: switchback_session::Config::default(),
            plain_clients: true,
            queue_soft: 64 * 1024,
            queue_hard: 1024 * 1024,
            backlog: 1024,
            max_connections: 1_000_000,
            max_parked: 100_000,
            max_parked_bytes: 256 * 1024 * 1024,
            max_departed: 10_000,
            poll_window: Duration::from_secs(25),
            protocols: Vec::new(),
        }
    }

    /// Sets the limits of the transports, above all the size of a message.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets which transports are offered. Default: all.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportKind>) -> Self {
        self.transports = transports.into_iter().collect();
        self
    }

    /// Sets whether clients without the session protocol are served: a bare WebSocket, an
    /// `EventSource`, `curl`. Default: yes.
    #[must_use]
    pub fn plain_clients(mut self, served: bool) -> Self {
        self.plain_clients = served;
        self
    }

    /// Sets the WebSocket subprotocols that plain clients may ask for, best first. Default: none.
    #[must_use]
    pub fn protocols<S: Into<String>>(mut self, protocols: impl IntoIterator<Item = S>) -> Self {
        self.protocols = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how often the server sends something on an idle session, and how long it waits for a
    /// sign of life after that. Default 25 s and 10 s. Clients are told.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration, answer_within: Duration) -> Self {
        self.session = self
            .session
            .with_heartbeat(interval)
            .with_pong_timeout(answer_within)
            .with_silence(interval + answer_within);
        self
    }

    /// Sets how short the heartbeat of a session may become whose transports are cut again and again
    /// when they are idle. Default 10 s. With the interval of [`heartbeat`](Self::heartbeat), or
    /// anything longer, it does not adapt.
    #[must_use]
    pub fn min_heartbeat(mut self, interval: Duration) -> Self {
        self.session = self.session.with_min_heartbeat(interval);
        self
    }

    /// Sets how long a session is kept without a transport. Default 120 s.
    #[must_use]
    pub fn park(mut self, time: Duration) -> Self {
        self.session = self.session.with_park(time);
        self
    }

    /// Sets how many sessions may be parked, and how many unacknowledged bytes they may hold in
    /// all; over either the session parked longest is closed. Default 100,000 and 256 MiB.
    #[must_use]
    pub fn max_parked(mut self, sessions: usize, bytes: usize) -> Self {
        self.max_parked = sessions;
        self.max_parked_bytes = bytes;
        self
    }

    /// Sets of how many sessions that were given up, the last ones, the endpoint remembers why and how
    /// far they had come, so that a client that comes back for one is told; and of as many that were
    /// closed, so that a client that has missed the confirmation still gets it. Default 10,000 of each,
    /// of a few hundred bytes; with 0 every client is told [`Why::Unknown`](crate::Why::Unknown).
    #[must_use]
    pub fn max_departed(mut self, sessions: usize) -> Self {
        self.max_departed = sessions;
        self
    }

    /// Sets the replay buffer of a session in each direction: how much may be sent and not yet
    /// acknowledged. Default 4,096 messages, 512 KiB. Peers acknowledge by half of it.
    #[must_use]
    pub fn replay(mut self, messages: usize, bytes: usize) -> Self {
        self.session = self
            .session
            .with_replay_messages(messages)
            .with_replay_bytes(bytes)
            .with_ack_messages((messages as u64 / 2).max(1))
            .with_ack_bytes((bytes as u64 / 2).max(1));
        self
    }

    /// Sets the outbound queue of a connection, in bytes: above `soft` a `send` waits, above `hard`
    /// a `try_send` fails. Default 64 KiB and 1 MiB.
    #[must_use]
    pub fn queue(mut self, soft: usize, hard: usize) -> Self {
        self.queue_soft = soft;
        self.queue_hard = hard.max(soft);
        self
    }

    /// Sets how many connections may wait to be accepted; more are closed with 1013, try again
    /// later. Default 1,024.
    #[must_use]
    pub fn backlog(mut self, connections: usize) -> Self {
        self.backlog = connections.max(1);
        self
    }

    /// Sets how many connections the endpoint serves, parked sessions included; more are refused with
    /// 503. Default 1,000,000.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets how long a long-poll waits for a message. Default 25 s.
    #[must_use]
    pub fn poll_window(mut self, window: Duration) -> Self {
        self.poll_window = window;
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
