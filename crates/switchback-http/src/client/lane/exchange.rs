use std::error::Error as _;
use std::fmt;
use std::io;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use switchback_core::{Error, ErrorKind};

use super::link::Answer;
use crate::Url;

/// Where an exchange stands.
#[derive(Default)]
pub(super) enum Exchange {
    #[default]
    Idle,
    /// Asked for in a way that cannot be sent.
    Impossible(Error),
    /// Waits for a connection.
    Asked(Ask),
    /// Waits for the head of the response.
    Sent(Ask, Answer),
    /// The head was given out.
    Body(Incoming),
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Impossible(_) => "impossible",
            Self::Asked(_) => "asked",
            Self::Sent(..) => "sent",
            Self::Body(_) => "body",
        })
    }
}

/// A request, kept until its response begins, so that it can be sent again.
#[derive(Clone)]
pub(super) struct Ask {
    method: Method,
    target: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Ask {
    pub(super) fn new(
        url: &Url,
        method: Method,
        target: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Self, Error> {
        let invalid = |what| Error::with_message(ErrorKind::Invalid, what);
        // Origin form (RFC 9112, 3.2.1) is all that is sent here.
        let target = Some(target)
            .filter(|target| target.starts_with('/'))
            .and_then(|target| target.parse().ok())
            .ok_or_else(|| invalid("the request's target is not a path and query"))?;
        let host = HeaderValue::from_str(url.authority())
            .map_err(|error| invalid("the host cannot be sent").with_source(error))?;
        headers.insert(header::HOST, host);
        Ok(Self {
            method,
            target,
            headers,
            body,
        })
    }

    /// Makes the request.
    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Tells what an engine's error means.
pub(super) fn failure(error: hyper::Error) -> Error {
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    let malformed = "the server's response is not HTTP/1.1";
    match io.map(io::Error::kind) {
        // How the engine says that the framing of a body is malformed.
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            Error::with_message(ErrorKind::Protocol, malformed).with_source(error)
        }
        Some(kind) => Error::new(Error::from(io::Error::from(kind)).kind()).with_source(error),
        None if error.is_parse() => {
            Error::with_message(ErrorKind::Protocol, malformed).with_source(error)
        }
        None if error.is_user() => Error::new(ErrorKind::Invalid).with_source(error),
        // The rest are ways of saying that the connection ended early.
        None => Error::new(ErrorKind::Reset).with_source(error),
    }
}
