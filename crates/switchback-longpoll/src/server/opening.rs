use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::Full;
use switchback_http::headers;

use super::connection::Connection;
use super::respond;

/// The response to an opening request that was accepted, not sent yet.
///
/// Between [`open`](super::LongPollServer::open) and [`into_response`](Self::into_response) the
/// transport can be given messages that the response carries, so that they need no round trip.
#[must_use = "the client waits for the response"]
pub struct Opening {
    connection: Arc<Connection>,
}

impl Opening {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    /// Makes the response, with the messages that were sent on the transport until now.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = respond::batch(self.connection.opening());
        // An id is base64url, which every header can carry.
        if let Ok(id) = HeaderValue::try_from(self.connection.id.to_string()) {
            response.headers_mut().insert(headers::CONNECTION, id);
        }
        response
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("connection", &self.connection.id)
            .finish()
    }
}
