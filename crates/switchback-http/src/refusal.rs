use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value};

use crate::json;

/// An HTTP "no": a status, a word for machines and a text for people (`docs/protocol.md`, 1).
///
/// ```
/// use http::StatusCode;
/// use switchback_http::Refusal;
///
/// let refusal = Refusal::new(StatusCode::CONFLICT, "gap", "messages before this are missing");
/// assert_eq!(refusal.error(), "gap");
/// assert_eq!(refusal.into_response().status(), 409);
/// ```
#[derive(Clone)]
pub struct Refusal(Box<Inner>);

#[derive(Clone)]
struct Inner {
    status: StatusCode,
    error: &'static str,
    message: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    members: Vec<(&'static str, Value)>,
}

impl Refusal {
    /// Makes a refusal. `error` is one of the words of the protocol.
    pub fn new(
        status: StatusCode,
        error: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Inner {
            status,
            error,
            message: message.into(),
            headers: Vec::new(),
            members: Vec::new(),
        }))
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Adds a member to the JSON object in the body.
    #[must_use]
    pub fn with_member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.members.push((name, value.into()));
        self
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Returns the word for machines.
    pub fn error(&self) -> &'static str {
        self.0.error
    }

    /// Makes the response: the JSON object, never to be cached.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let Inner {
            status,
            error,
            message,
            headers,
            members,
        } = *self.0;
        let mut object = Map::new();
        object.insert("error".into(), error.into());
        object.insert("message".into(), message.into());
        object.extend(
            members
                .into_iter()
                .map(|(name, value)| (name.into(), value)),
        );
        let mut response = json::response(status, &Value::Object(object));
        response.headers_mut().extend(headers);
        response
    }

    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn unknown_connection() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_connection",
            "this connection is not known here: it ended, timed out, or is another server's",
        )
    }

    pub(crate) fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.0.status.as_u16(),
            self.0.error,
            self.0.message
        )
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("status", &self.0.status)
            .field("error", &self.0.error)
            .field("message", &self.0.message)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn becomes_a_response() {
        let response = Refusal::new(StatusCode::GONE, "closed", "it \"ended\"")
            .with_member("code", 1001)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("3"))
            .into_response();
        assert_eq!(response.status(), 410);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"error": "closed", "message": "it \"ended\"", "code": 1001})
        );
    }

    #[test]
    fn shows_what_was_refused() {
        assert_eq!(
            Refusal::bad_request("no first").to_string(),
            "400 bad_request: no first"
        );
    }
}
