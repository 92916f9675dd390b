use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use switchback_core::Limits;
use switchback_http::Connector;

/// How a [`LongPollClient`](super::LongPollClient) behaves.
///
/// ```
/// use switchback_longpoll::{ClientConfig, Limits};
///
/// let config = ClientConfig::new()
///     .header(http::header::AUTHORIZATION, http::HeaderValue::from_static("Bearer abc"))
///     .limits(Limits::new().max_message_size(1 << 20));
/// ```
#[derive(Clone)]
pub struct ClientConfig {
    pub(super) limits: Limits,
    pub(super) window: Duration,
    pub(super) grace: Duration,
    pub(super) retry_for: Duration,
    pub(super) connector: Connector,
    pub(super) headers: HeaderMap,
}

impl ClientConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            limits: Limits::new(),
            window: Duration::from_secs(25),
            grace: Duration::from_secs(10),
            retry_for: Duration::from_secs(10),
            connector: Connector::new(),
            headers: HeaderMap::new(),
        }
    }

    /// Sets the limits. The handshake timeout bounds the opening request, connecting included.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the window of the server: how long it lets a poll wait. Default 25 s.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets how long after the window a poll without an answer is taken for lost and sent again.
    /// Default 10 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how long failing requests are repeated before the transport fails. Default 10 s.
    #[must_use]
    pub fn retry_for(mut self, retry_for: Duration) -> Self {
        self.retry_for = retry_for;
        self
    }

    /// Sets what opens the sockets: whom TLS trusts.
    #[must_use]
    pub fn connector(mut self, connector: Connector) -> Self {
        self.connector = connector;
        self
    }

    /// Sets headers to send with every request. `Switchback-Session` only goes with the one that
    /// opens the connection.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// Adds a header to send with every request.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Headers are counted, not shown: they carry credentials.
impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("limits", &self.limits)
            .field("window", &self.window)
            .field("grace", &self.grace)
            .field("retry_for", &self.retry_for)
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}
