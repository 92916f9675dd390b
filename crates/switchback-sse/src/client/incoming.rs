use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header, response};
use switchback_core::{Error, ErrorKind};
use switchback_http::Lane;

use crate::quiet::Quiet;
use crate::{MessageEvent, Parser};

/// A response that is an event stream, as it arrives.
#[derive(Debug)]
pub(super) struct Incoming {
    lane: Lane,
    parser: Parser,
    silence: Option<Quiet>,
}

impl Incoming {
    /// Goes on where the head of the response was read.
    pub(super) fn new(lane: Lane, parser: Parser, silence_timeout: Option<Duration>) -> Self {
        Self {
            lane,
            parser,
            silence: silence_timeout.map(Quiet::new),
        }
    }

    pub(super) const fn parser(&self) -> &Parser {
        &self.parser
    }

    pub(super) const fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Stops reading and closes the connection.
    pub(super) fn abort(&mut self) {
        self.lane.abort();
    }

    /// Receives the next event; `None` at the end of the stream.
    pub(super) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<MessageEvent>, Error>> {
        loop {
            if let Some(event) = self.parser.next_event()? {
                return Poll::Ready(Ok(Some(event)));
            }
            match self.lane.poll_chunk(cx)? {
                Poll::Ready(Some(chunk)) => {
                    if let Some(silence) = &mut self.silence {
                        silence.put_off();
                    }
                    self.parser.push(chunk);
                }
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => {
                    let silence = self.silence.as_mut();
                    if silence.is_some_and(|silence| silence.poll_due(cx).is_ready()) {
                        return Poll::Ready(Err(Error::with_message(
                            ErrorKind::TimedOut,
                            "nothing came from the server for the silence timeout",
                        )));
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

/// The headers of a request for an event stream, beside those of the application.
pub(super) fn request_headers(own: &HeaderMap) -> HeaderMap {
    let mut headers = own.clone();
    headers.insert(
        header::ACCEPT,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers
}

/// Tells whether a response is an event stream, by its content type without the parameters
/// (WHATWG HTML, 9.2.3).
pub(super) fn is_event_stream(head: &response::Parts) -> bool {
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let essence = content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
}
