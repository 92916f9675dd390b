use std::fmt;
use std::sync::Arc;

use crate::faults::Cut;

/// What the proxy does to the HTTP requests that a predicate picks.
///
/// Only HTTP/1 without TLS can be told apart; all else passes unseen. So do requests on a
/// connection after one that asked for an upgrade and was passed on, and the rest of a request
/// whose beginning came before the rule was set.
#[derive(Clone)]
pub struct Rule {
    pub(crate) matches: Predicate,
    pub(crate) action: Action,
}

type Predicate = Arc<dyn Fn(&RequestHead) -> bool + Send + Sync>;

/// What a [`Rule`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Answers with this status and an empty body, and ends the connection. The server does not
    /// see the request.
    Answer(u16),
    /// Swallows the request and all that follows on the connection, and never answers.
    BlackHole,
    /// Cuts the connection.
    Cut(Cut),
    /// Passes the request on without `Upgrade`, `Connection` and the headers of the WebSocket
    /// handshake, like a proxy that does not know them.
    StripUpgrade,
}

impl Rule {
    /// Makes a rule for the requests that `matches` returns `true` for.
    pub fn new(
        matches: impl Fn(&RequestHead) -> bool + Send + Sync + 'static,
        action: Action,
    ) -> Self {
        Self {
            matches: Arc::new(matches),
            action,
        }
    }

    /// Makes a rule for the opening requests of WebSockets (RFC 6455, 4.1).
    pub fn websocket(action: Action) -> Self {
        Self::new(RequestHead::is_websocket, action)
    }

    /// Makes a rule for all requests.
    pub fn all(action: Action) -> Self {
        Self::new(|_| true, action)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

/// The request line and the headers of an HTTP/1 request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl RequestHead {
    /// Returns the method: `GET`, `POST`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the request target: path and query as they were sent.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the first value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Tells whether this opens a WebSocket: `Upgrade` lists `websocket`.
    pub fn is_websocket(&self) -> bool {
        self.lists("upgrade", "websocket")
    }

    /// Tells whether a header lists a token, in any case, across all its lines.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| value.split(','))
            .any(|listed| listed.trim().eq_ignore_ascii_case(token))
    }
}
