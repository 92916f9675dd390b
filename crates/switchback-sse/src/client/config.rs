use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use switchback_core::Limits;
use switchback_http::Connector;

use crate::EventLimits;

/// How an [`EventSource`](crate::EventSource) behaves.
#[derive(Clone)]
pub struct EventSourceConfig {
    pub(super) connector: Connector,
    pub(super) headers: HeaderMap,
    pub(super) limits: EventLimits,
    pub(super) last_event_id: String,
    pub(super) reconnection_time: Duration,
    pub(super) max_reconnection_time: Duration,
    pub(super) response_timeout: Duration,
    pub(super) silence_timeout: Option<Duration>,
    pub(super) max_redirects: usize,
}

impl EventSourceConfig {
    /// The defaults of browsers, as far as they have any.
    pub fn new() -> Self {
        Self {
            connector: Connector::new(),
            headers: HeaderMap::new(),
            limits: EventLimits::new(),
            last_event_id: String::new(),
            reconnection_time: Duration::from_secs(3),
            max_reconnection_time: Duration::from_secs(300),
            response_timeout: Duration::from_secs(15),
            silence_timeout: None,
            max_redirects: 10,
        }
    }

    /// Sets what opens connections: trusted certificates, the connect timeout.
    #[must_use]
    pub fn connector(mut self, connector: Connector) -> Self {
        self.connector = connector;
        self
    }

    /// Sets headers to send with every request. On a redirect to another origin, `Authorization`
    /// and `Cookie` are left out.
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

    /// Sets the limits of an event.
    #[must_use]
    pub fn limits(mut self, limits: EventLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Begins behind an event that was received earlier, by its last event ID.
    #[must_use]
    pub fn last_event_id(mut self, id: impl Into<String>) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// Sets how long to wait before a reconnection, until the server sets another time. Default 3 s.
    #[must_use]
    pub fn reconnection_time(mut self, time: Duration) -> Self {
        self.reconnection_time = time;
        self
    }

    /// Sets the longest reconnection time that a server can set. Default 5 min.
    #[must_use]
    pub fn max_reconnection_time(mut self, time: Duration) -> Self {
        self.max_reconnection_time = time;
        self
    }

    /// Sets how long a response may take to begin before the source reconnects. Default 15 s.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets after how long without a byte the source reconnects: a little more than the server's
    /// keep-alive interval, or `None` for a server that sends no keep-alives. Default `None`.
    #[must_use]
    pub fn silence_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.silence_timeout = timeout.into();
        self
    }

    /// Sets how many redirects in a row are followed. Default 10.
    #[must_use]
    pub fn max_redirects(mut self, redirects: usize) -> Self {
        self.max_redirects = redirects;
        self
    }
}

impl Default for EventSourceConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Headers are counted, not shown: they carry credentials.
impl fmt::Debug for EventSourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSourceConfig")
            .field("headers", &self.headers.len())
            .field("limits", &self.limits)
            .field("last_event_id", &self.last_event_id)
            .field("reconnection_time", &self.reconnection_time)
            .field("max_reconnection_time", &self.max_reconnection_time)
            .field("response_timeout", &self.response_timeout)
            .field("silence_timeout", &self.silence_timeout)
            .field("max_redirects", &self.max_redirects)
            .finish_non_exhaustive()
    }
}

/// How an [`SseClient`](crate::SseClient) behaves.
#[derive(Clone)]
pub struct ClientConfig {
    pub(super) connector: Connector,
    pub(super) headers: HeaderMap,
    pub(super) limits: Limits,
    pub(super) silence_timeout: Option<Duration>,
}

impl ClientConfig {
    /// The default limits, and 35 s of silence.
    pub fn new() -> Self {
        Self {
            connector: Connector::new(),
            headers: HeaderMap::new(),
            limits: Limits::new(),
            silence_timeout: Some(Duration::from_secs(35)),
        }
    }

    /// Sets what opens connections: trusted certificates, the connect timeout.
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

    /// Sets the limits. The handshake timeout is for the time until the first event.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets after how long without a byte from the server the connection counts as cut: more than
    /// the server's keep-alive interval. `None`: never. Default 35 s.
    #[must_use]
    pub fn silence_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.silence_timeout = timeout.into();
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
            .field("headers", &self.headers.len())
            .field("limits", &self.limits)
            .field("silence_timeout", &self.silence_timeout)
            .finish_non_exhaustive()
    }
}
