use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde_json::{Map, Value};
use switchback_core::{CloseCode, CloseReason, Error, ErrorKind};

/// Makes an error of a response that is not what was hoped for (`docs/protocol.md`, 1): of its
/// status, and of the JSON object in its body where there is one.
///
/// 404 is [`ErrorKind::Unknown`]; 410 is [`ErrorKind::Closed`] with the close that the server
/// gave; 413 is [`ErrorKind::TooLarge`]; 401, 403, 3xx and 5xx are [`ErrorKind::Refused`]; what the
/// server does not offer is [`ErrorKind::Unsupported`]; everything else is
/// [`ErrorKind::Protocol`].
pub fn refusal_error(response: &Response<Bytes>) -> Error {
    let status = response.status();
    let object: Map<String, Value> = serde_json::from_slice(response.body()).unwrap_or_default();
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let word = text("error").unwrap_or_default();
    let kind = match (status.as_u16(), word) {
        (400, "unknown_transport") | (405 | 426, _) => ErrorKind::Unsupported,
        (400, "bad_session") => ErrorKind::Refused,
        (404, _) => ErrorKind::Unknown,
        (408, _) => ErrorKind::TimedOut,
        (409, "superseded") | (410, _) => ErrorKind::Closed,
        (413, _) => ErrorKind::TooLarge,
        (300..400 | 401 | 403 | 407 | 429 | 500.., _) => ErrorKind::Refused,
        _ => ErrorKind::Protocol,
    };
    let said = match text("message") {
        Some(message) => printable(message),
        None => hint(response),
    };
    let separator = if said.is_empty() { "" } else { ": " };
    let error = Error::with_message(
        kind,
        format!("the server answered {status}{separator}{said}"),
    );
    match close_of(status, &object) {
        Some(close) => error.with_close(close),
        None => error,
    }
}

fn close_of(status: StatusCode, object: &Map<String, Value>) -> Option<CloseReason> {
    if status != StatusCode::GONE {
        return None;
    }
    let code = object.get("code")?.as_u64()?;
    let code = CloseCode::new(u16::try_from(code).ok()?)?;
    let reason = object.get("reason").and_then(Value::as_str);
    Some(CloseReason::new(
        code,
        reason.unwrap_or_default().to_owned(),
    ))
}

/// What may help when the response is not one of the protocol's: it came from something else.
fn hint(response: &Response<Bytes>) -> String {
    let status = response.status();
    if status.is_redirection() {
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        return format!(
            "redirects are not followed, give the final URL ({})",
            printable(location.unwrap_or("none was given"))
        );
    }
    match status {
        StatusCode::NOT_FOUND => "is this the path of the endpoint?".to_owned(),
        _ => String::new(),
    }
}

/// The beginning of a text of the peer, without what could upset a log or a terminal.
fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    text.chars()
        .take(MAX_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn response(status: u16, body: &str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }

    #[test]
    fn maps_the_protocol_s_refusals() {
        for (status, word, kind) in [
            (400, "unknown_transport", ErrorKind::Unsupported),
            (400, "bad_request", ErrorKind::Protocol),
            (400, "bad_session", ErrorKind::Refused),
            (400, "bad_cursor", ErrorKind::Protocol),
            (404, "unknown_connection", ErrorKind::Unknown),
            (405, "method_not_allowed", ErrorKind::Unsupported),
            (409, "superseded", ErrorKind::Closed),
            (409, "gap", ErrorKind::Protocol),
            (410, "closed", ErrorKind::Closed),
            (413, "too_large", ErrorKind::TooLarge),
            (426, "unsupported_version", ErrorKind::Unsupported),
            (503, "unavailable", ErrorKind::Refused),
        ] {
            let body = format!(r#"{{"error":"{word}","message":"because"}}"#);
            let error = refusal_error(&response(status, &body));
            assert_eq!(error.kind(), kind, "{status} {word}");
            assert!(error.to_string().ends_with(": because"), "{error}");
        }
    }

    #[test]
    fn maps_what_others_answer() {
        for (status, body, kind) in [
            (404, "<html>", ErrorKind::Unknown),
            (403, "", ErrorKind::Refused),
            (401, "[]", ErrorKind::Refused),
            (502, "null", ErrorKind::Refused),
            (201, "{}", ErrorKind::Protocol),
            (418, "{\"message\":1,\"error\":2}", ErrorKind::Protocol),
        ] {
            let error = refusal_error(&response(status, body));
            assert_eq!(error.kind(), kind, "{status}");
            assert!(error.to_string().contains(&status.to_string()), "{error}");
        }
        let mut moved = response(301, "");
        let location = HeaderValue::from_static("https://b/rt");
        moved.headers_mut().insert(header::LOCATION, location);
        let error = refusal_error(&moved);
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("https://b/rt"), "{error}");
    }

    #[test]
    fn reads_the_close() {
        let close = |body| {
            let error = refusal_error(&response(410, body));
            assert_eq!(error.kind(), ErrorKind::Closed);
            error.close_reason().map(ToString::to_string)
        };
        assert_eq!(
            close(r#"{"error":"closed","code":4100,"reason":"bye"}"#),
            Some("4100 bye".to_owned())
        );
        assert_eq!(close(r#"{"code":1000}"#), Some("1000".to_owned()));
        for body in [
            "",
            r#"{"code":1006}"#,
            r#"{"code":66536}"#,
            r#"{"code":-1}"#,
            r#"{"code":"1000"}"#,
        ] {
            assert_eq!(close(body), None, "{body}");
        }
        let elsewhere = refusal_error(&response(404, r#"{"code":1000}"#));
        assert_eq!(elsewhere.close_reason(), None);
    }

    #[test]
    fn the_peer_s_text_is_tamed() {
        let body = format!(r#"{{"message":"\u001b[31m{}"}}"#, "x".repeat(1000));
        let text = refusal_error(&response(400, &body)).to_string();
        assert!(text.len() < 300);
        assert!(!text.contains('\u{1b}'));
    }
}
