use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use switchback_core::{Error, ErrorKind, Transport, TransportKind};
use switchback_longpoll::LongPollClient;
use switchback_session::{Failure, FailureWhy, Hello, Memory};
use switchback_sse::SseClient;

use super::{Client, DEFAULT_TRY_TIMEOUT};

/// The transports of one connection that are being opened.
///
/// Nothing is spawned: the futures are polled by whoever drives the connection.
pub(crate) struct Dials {
    client: Client,
    pending: Vec<Dial>,
}

struct Dial {
    attachment: u64,
    kind: TransportKind,
    future: Opening,
}

type Opening = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, Error>> + Send>>;

/// A transport that has opened, or not.
pub(crate) struct Dialled {
    pub(crate) attachment: u64,
    pub(crate) result: Result<Box<dyn Transport>, Failure>,
}

impl Dials {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            pending: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, attachment: u64, kind: TransportKind, hello: &Hello) {
        let opening = open(&self.client, kind, &hello.to_string());
        let timeout = self
            .client
            .timeouts
            .iter()
            .find(|(other, _)| *other == kind);
        let timeout = timeout.map_or(DEFAULT_TRY_TIMEOUT, |(_, timeout)| *timeout);
        let future = within(timeout, opening);
        self.pending.push(Dial {
            attachment,
            kind,
            future,
        });
    }

    pub(crate) fn cancel(&mut self, attachment: u64) {
        self.pending.retain(|dial| dial.attachment != attachment);
    }

    pub(crate) fn cancel_all(&mut self) {
        self.pending.clear();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Keeps for the client's next connection what this one has learnt.
    pub(crate) fn remember(&self, memory: Memory) {
        *self
            .client
            .memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(memory);
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Dialled> {
        for index in 0..self.pending.len() {
            if let Poll::Ready(result) = self.pending[index].future.as_mut().poll(cx) {
                let dial = self.pending.remove(index);
                let result = result.map_err(|error| failure(dial.kind, &error));
                return Poll::Ready(Dialled {
                    attachment: dial.attachment,
                    result,
                });
            }
        }
        Poll::Pending
    }
}

/// Begins to open a transport. The hello never goes into the URL, which proxies log.
fn open(client: &Client, kind: TransportKind, hello: &str) -> Opening {
    let url = client.url.clone();
    let limits = client.limits.clone();
    let connector = client.connector.clone();
    let mut headers = client.headers.clone();
    match kind {
        TransportKind::WebSocket => {
            let config = switchback_ws::ClientConfig::new()
                .limits(limits)
                .connector(connector)
                .headers(headers)
                .protocols(["switchback".to_owned(), format!("switchback.{hello}")])
                .ping_interval(None);
            Box::pin(async move {
                let transport = switchback_ws::connect_to(&url, &config).await?;
                if transport.info().protocol() != Some("switchback") {
                    return Err(Error::with_message(
                        ErrorKind::Unsupported,
                        "the server speaks WebSocket but no sessions: is it a Switchback endpoint?",
                    ));
                }
                Ok(Box::new(transport) as Box<dyn Transport>)
            })
        }
        TransportKind::Sse => {
            greet(&mut headers, hello);
            let config = switchback_sse::ClientConfig::new()
                .limits(limits)
                .connector(connector)
                .headers(headers);
            Box::pin(async move {
                Ok(Box::new(SseClient::connect(&url, &config).await?) as Box<dyn Transport>)
            })
        }
        TransportKind::LongPoll => {
            greet(&mut headers, hello);
            let config = switchback_longpoll::ClientConfig::new()
                .limits(limits)
                .connector(connector)
                .headers(headers);
            Box::pin(async move {
                Ok(Box::new(LongPollClient::connect(&url, &config).await?) as Box<dyn Transport>)
            })
        }
        other => Box::pin(async move {
            Err(Error::with_message(
                ErrorKind::Unsupported,
                format!("this build has no client for {other}"),
            ))
        }),
    }
}

/// Bounds the time of one try.
fn within(timeout: Duration, opening: Opening) -> Opening {
    Box::pin(async move {
        let opened = tokio::time::timeout(timeout, opening).await;
        opened.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
    })
}

fn greet(headers: &mut HeaderMap, hello: &str) {
    if let Ok(mut value) = HeaderValue::try_from(hello) {
        // It resumes the session, so no log shows it.
        value.set_sensitive(true);
        headers.insert(switchback_http::headers::SESSION, value);
    }
}

fn failure(kind: TransportKind, error: &Error) -> Failure {
    let why = match error.kind() {
        ErrorKind::TimedOut => FailureWhy::TimedOut,
        ErrorKind::Refused | ErrorKind::Unsupported | ErrorKind::Tls => FailureWhy::Refused,
        ErrorKind::Protocol | ErrorKind::InvalidUtf8 | ErrorKind::TooLarge => FailureWhy::Protocol,
        _ => FailureWhy::Cut,
    };
    Failure::new(kind, why, chain(error))
}

/// The error and its causes in one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl fmt::Debug for Dials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dials")
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}
