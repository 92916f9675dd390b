//! What POSTs and DELETEs are told that find the inbox ended, or are malformed.

use http::{StatusCode, Uri};
use switchback_core::{CloseCode, CloseReason, Error, ErrorKind};

use crate::{Query, Refusal};

/// Refuses a POST after the end of the connection.
pub(super) fn ended(error: &Error) -> Refusal {
    match error.close_reason() {
        Some(close) => Refusal::new(StatusCode::GONE, "closed", "the connection was closed")
            .with_member("code", close.code().as_u16())
            .with_member("reason", close.reason()),
        None => Refusal::unknown_connection(),
    }
}

/// Refuses a body that is not a batch.
pub(super) fn bad_batch(error: &Error) -> Refusal {
    match error.kind() {
        ErrorKind::TooLarge => Refusal::too_large(error.to_string()),
        _ => Refusal::new(StatusCode::BAD_REQUEST, "bad_batch", error.to_string()),
    }
}

/// Reads the close out of a DELETE (`docs/protocol.md`, 2.5).
pub(super) fn close_of(uri: &Uri) -> Result<CloseReason, Refusal> {
    let query = Query::of(uri);
    let code = match query.get("code") {
        None => Some(CloseCode::NORMAL),
        Some(_) => query
            .number("code")
            .and_then(|code| CloseCode::new(u16::try_from(code).ok()?)),
    };
    let code = code.ok_or_else(|| {
        Refusal::bad_request("the parameter code is not a close code that may be sent")
    })?;
    let reason = query.get("reason").unwrap_or_default().into_owned();
    Ok(CloseReason::new(code, reason))
}
