use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use switchback_http::{Refusal, batch};

use crate::proto::{Answer, BadCursor};

/// Makes the response to a poll.
pub(super) fn answer(answer: Answer) -> Response<Full<Bytes>> {
    let refusal = match answer {
        Answer::Batch(body) => return batch(body),
        Answer::BadCursor(BadCursor { acknowledged, sent }) => Refusal::new(
            StatusCode::BAD_REQUEST,
            "bad_cursor",
            format!("the cursor must be from {acknowledged} to {sent} now"),
        ),
        Answer::Superseded => Refusal::new(
            StatusCode::CONFLICT,
            "superseded",
            "a newer poll of this connection overtook this one",
        ),
        Answer::Closed(why) => {
            Refusal::new(StatusCode::GONE, "closed", "the connection was closed")
                .with_member("code", why.code().as_u16())
                .with_member("reason", why.reason())
        }
        Answer::Gone => Refusal::new(
            StatusCode::NOT_FOUND,
            "unknown_connection",
            "the connection has ended",
        ),
    };
    refusal.into_response()
}

/// Makes a response with a batch.
pub(super) fn batch(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(batch::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn no_content() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("the methods allowed here: {allowed}"),
    )
    .with_header(ALLOW, HeaderValue::from_static(allowed))
}
