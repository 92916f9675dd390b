use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use switchback_core::{CloseReason, Error, ErrorKind, Limits, Message};
use switchback_http::{batch, headers, refusal_error};

/// What the server's answer to a poll means to the client.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The messages that follow the cursor, none when the window ended.
    Messages(Vec<Message>),
    /// The server has closed; everything before was delivered.
    Closed(CloseReason),
    /// Another poll of this connection overtook this one. Only a proxy that delays or repeats
    /// requests can bring that about, so the poll is worth repeating.
    Superseded,
    /// The transport has failed.
    Failed(Error),
}

impl Reply {
    pub(crate) fn read(response: &Response<Bytes>, limits: &Limits) -> Self {
        match response.status() {
            StatusCode::OK => match messages(response, limits) {
                Ok(messages) => Self::Messages(messages),
                Err(error) => Self::Failed(error),
            },
            StatusCode::CONFLICT => Self::Superseded,
            _ => {
                let error = refusal_error(response);
                match error.close_reason() {
                    Some(why) if error.is_closed() => Self::Closed(why.clone()),
                    _ => Self::Failed(error),
                }
            }
        }
    }
}

/// Reads the response to the opening request: the connection id, and the messages that came along.
pub(crate) fn opened(
    response: &Response<Bytes>,
    limits: &Limits,
) -> Result<(String, Vec<Message>), Error> {
    if response.status() != StatusCode::OK {
        return Err(refusal_error(response));
    }
    let connection = response
        .headers()
        .get(headers::CONNECTION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| {
            Error::with_message(
                ErrorKind::Protocol,
                "the response has no Switchback-Connection: the URL is not a Switchback endpoint, \
                 or a proxy answered in its place",
            )
        })?;
    Ok((connection.to_owned(), messages(response, limits)?))
}

fn messages(response: &Response<Bytes>, limits: &Limits) -> Result<Vec<Message>, Error> {
    // An empty page of a captive portal would pass for an empty batch.
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let essence = content_type.split(|&byte| byte == b';').next();
    if !essence.is_some_and(|essence| {
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(batch::CONTENT_TYPE.as_bytes())
    }) {
        return Err(Error::with_message(
            ErrorKind::Protocol,
            "the response is not a batch: a proxy answered in the server's place",
        ));
    }
    batch::decode(response.body(), limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, content_type: &str, body: &'static str) -> Response<Bytes> {
        Response::builder()
            .status(status)
            .header(CONTENT_TYPE, content_type)
            .header(headers::CONNECTION, "abc")
            .body(Bytes::from_static(body.as_bytes()))
            .unwrap()
    }

    fn failure(status: u16, content_type: &str, body: &'static str) -> ErrorKind {
        let response = response(status, content_type, body);
        match Reply::read(&response, &Limits::new().max_message_size(4)) {
            Reply::Failed(error) => error.kind(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_batches() {
        for content_type in [
            "application/x-switchback-batch",
            "Application/X-Switchback-Batch ; v=1",
        ] {
            match Reply::read(&response(200, content_type, "t2:hit0:"), &Limits::new()) {
                Reply::Messages(messages) => {
                    assert_eq!(messages, [Message::text("hi"), Message::text("")]);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_described_is_a_failure() {
        let batch = batch::CONTENT_TYPE;
        assert_eq!(failure(200, "text/html", ""), ErrorKind::Protocol);
        assert_eq!(failure(200, batch, "x1:a"), ErrorKind::Protocol);
        assert_eq!(failure(200, batch, "t5:abcde"), ErrorKind::TooLarge);
        assert_eq!(
            failure(
                404,
                "application/json",
                r#"{"error":"unknown_connection","message":"m"}"#
            ),
            ErrorKind::Unknown
        );
        for status in [204, 302, 500, 502] {
            failure(status, batch, "");
        }
    }

    #[test]
    fn reads_closes() {
        let json = r#"{"error":"closed","message":"m","code":4100,"reason":"enough"}"#;
        match Reply::read(&response(410, "application/json", json), &Limits::new()) {
            Reply::Closed(why) => {
                assert_eq!(why.code().as_u16(), 4100);
                assert_eq!(why.reason(), "enough");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            Reply::read(
                &response(409, "application/json", r#"{"error":"superseded"}"#),
                &Limits::new()
            ),
            Reply::Superseded
        ));
    }

    #[test]
    fn an_opening_response_needs_an_id() {
        let mut good = response(200, batch::CONTENT_TYPE, "t1:a");
        let (id, messages) = opened(&good, &Limits::new()).unwrap();
        assert_eq!((id.as_str(), messages.len()), ("abc", 1));
        good.headers_mut().remove(headers::CONNECTION);
        let error = opened(&good, &Limits::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }
}
