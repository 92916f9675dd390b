//! The client: picks the best transport that works.

mod dial;
mod error;

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use switchback_core::{CloseReason, Error, ErrorKind, Limits, TransportKind};
use switchback_http::{Connector, Url};
use switchback_session::{ClientConfig, ClientSession};

pub(crate) use self::dial::{Dialled, Dials};
pub use self::error::{ConnectError, TransportFailure};
use crate::connection::{Connection, Driver, Machine, RequestInfo, Settings, Shared};
use crate::entropy::OsEntropy;
use crate::janitor::Janitor;

/// Connects to an endpoint with the defaults: the best transport that works, whatever it is.
///
/// `url` may begin with `http`, `https`, `ws` or `wss`; the scheme says only whether to use TLS.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut connection = switchback::connect("http://127.0.0.1:8080/rt").await?;
/// connection.send("hello").await?;
/// println!("{:?}", connection.recv().await?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`Client::connect`].
pub async fn connect(url: &str) -> Result<Connection, ConnectError> {
    Client::new(url)
        .map_err(ConnectError::invalid)?
        .connect()
        .await
}

/// Connects to one endpoint, with options, as often as needed.
///
/// A client remembers which transport worked last and which ones failed, so keep one for all
/// connections to an endpoint.
#[derive(Clone, Debug)]
pub struct Client {
    url: Url,
    connector: Connector,
    headers: HeaderMap,
    limits: Limits,
    config: ClientConfig,
    queue: (usize, usize),
    timeouts: Vec<(TransportKind, Duration)>,
    memory: Arc<Mutex<Option<switchback_session::Memory>>>,
}

impl Client {
    /// Makes a client for a URL with the defaults.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the URL is malformed.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self {
            url: url.parse()?,
            connector: Connector::new(),
            headers: HeaderMap::new(),
            limits: Limits::new(),
            config: ClientConfig::default(),
            queue: (64 * 1024, 1024 * 1024),
            timeouts: Vec::new(),
            memory: Arc::default(),
        })
    }

    /// Sets which transports may be used, best first. One alone forces it. Default: all.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportKind>) -> Self {
        self.config = self
            .config
            .with_transports(transports.into_iter().collect::<Vec<_>>());
        self
    }

    /// Sets the delay after which the next transport is started beside the better ones that have
    /// not succeeded by then. Default 300 ms.
    #[must_use]
    pub fn head_start(mut self, delay: Duration) -> Self {
        self.config = self.config.with_head_start(delay);
        self
    }

    /// Sets how long one try of a transport may take until the server has answered. Default 10 s.
    #[must_use]
    pub fn try_timeout(mut self, kind: TransportKind, timeout: Duration) -> Self {
        self.timeouts.retain(|(other, _)| *other != kind);
        self.timeouts.push((kind, timeout));
        // The session bounds all tries alike; the shorter bounds are kept by the dials.
        let longest = self.timeouts.iter().map(|(_, timeout)| *timeout).max();
        let longest = longest
            .unwrap_or(DEFAULT_TRY_TIMEOUT)
            .max(DEFAULT_TRY_TIMEOUT);
        self.config = self.config.with_try_timeout(longest);
        self
    }

    /// Sets the bounds of the reconnect delay, which is random below a bound that doubles.
    /// Default 500 ms to 20 s.
    #[must_use]
    pub fn reconnect_delay(mut self, least: Duration, most: Duration) -> Self {
        self.config = self.config.with_backoff(least, most);
        self
    }

    /// Sets how many transports may be started within a time, whatever happens: no sequence of
    /// failures makes a client a flood. Default 12 in 10 s.
    #[must_use]
    pub fn max_starts(mut self, starts: usize, window: Duration) -> Self {
        self.config = self.config.with_starts(starts, window);
        self
    }

    /// Sets how long it takes until the first try to move to a better transport, and the bound to
    /// which that interval grows. Default 60 s and 10 min.
    #[must_use]
    pub fn upgrade_probe(mut self, first: Duration, most: Duration) -> Self {
        self.config = self.config.with_probe(first, most);
        self
    }

    /// Adds a header to every request, for authentication above all.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when name or value are not those of a header.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        let invalid =
            || Error::with_message(ErrorKind::Invalid, format!("not a valid header: {name}"));
        let name = HeaderName::try_from(name).map_err(|_| invalid())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        self.headers.append(name, value);
        Ok(self)
    }

    /// Sets the limits, above all the size of a message.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how messages are buffered: the outbound queue as in
    /// [`Config::queue`](crate::Config::queue), in bytes.
    #[must_use]
    pub fn queue(mut self, soft: usize, hard: usize) -> Self {
        self.queue = (soft, hard);
        self
    }

    /// Sets the replay buffer: how much may be sent and not yet acknowledged. Default 4,096 messages,
    /// 512 KiB.
    #[must_use]
    pub fn replay(mut self, messages: usize, bytes: usize) -> Self {
        let session = self.config.session().clone();
        let session = session
            .with_replay_messages(messages)
            .with_replay_bytes(bytes);
        self.config = self.config.with_session(session);
        self
    }

    /// Trusts the certificate authorities in a PEM file, in place of the public ones.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when there is no certificate in it, [`ErrorKind::Unsupported`] without
    /// the feature `tls`.
    pub fn trust_pem(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.connector = self.connector.trust_pem(pem)?;
        Ok(self)
    }

    /// Connects: starts the best transport, then the next ones beside it or as soon as one fails,
    /// and takes the first that works.
    ///
    /// Once connected, the connection reconnects by itself until it is closed.
    ///
    /// # Errors
    ///
    /// No transport works; the error says why each failed.
    ///
    /// # Cancel safety
    ///
    /// A dropped future gives the attempt up.
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let memory = self
            .memory
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        let session = ClientSession::new(
            Instant::now(),
            self.config.clone(),
            memory,
            Box::new(OsEntropy),
        );
        let janitor = Janitor::new();
        let shared = Shared::new(
            Machine::Client(Box::new(session)),
            Some(Dials::new(self.clone())),
            &janitor,
            Settings {
                id: String::new(),
                plain: false,
                message_size: self.limits.message_size(),
                inbound: self.limits.recv_buffer(),
                queue_soft: self.queue.0,
                queue_hard: self.queue.1,
                observer: None,
            },
        );
        let connection = Connection::new(shared.clone(), Arc::new(RequestInfo::default()));
        std::future::poll_fn(|cx| shared.poll_connected(cx))
            .await
            .map_err(|(failures, why)| ConnectError::new(failures, why))?;
        Ok(connection)
    }
}

/// How long a try may take unless told otherwise.
const DEFAULT_TRY_TIMEOUT: Duration = Duration::from_secs(10);

impl Shared {
    /// Waits until the first transport is open or the machine gave up.
    fn poll_connected(
        &self,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Result<(), (Vec<switchback_session::Failure>, CloseReason)>> {
        self.poll_until(cx, Driver::connected)
    }
}
