//! The response of the opening handshake, as a client sees it (RFC 6455, 4.1).

use http::header::{self, HeaderMap};
use switchback_core::{Error, ErrorKind};

use super::list;

/// Checks the headers of a 101 against RFC 6455, 4.1. Returns the subprotocol that was agreed upon.
///
/// # Errors
///
/// [`ErrorKind::Protocol`]: this is not the response of a WebSocket server to our request.
pub(crate) fn check(
    headers: &HeaderMap,
    accept: &str,
    offered: &[String],
) -> Result<Option<String>, Error> {
    if !list::has(headers, &header::UPGRADE, "websocket") {
        return Err(wrong("the server switched to another protocol"));
    }
    if !list::has(headers, &header::CONNECTION, "upgrade") {
        return Err(wrong("the server's header Connection does not say Upgrade"));
    }
    let mut accepts = headers.get_all(header::SEC_WEBSOCKET_ACCEPT).into_iter();
    if accepts.next().is_none_or(|said| said != accept) || accepts.next().is_some() {
        return Err(wrong(
            "the server's Sec-WebSocket-Accept does not answer our key: \
             is a cache or something else than a WebSocket server there?",
        ));
    }
    // We offer none, so none can be agreed upon.
    if !list::is_empty(headers, &header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(wrong("the server uses an extension that was not offered"));
    }
    match list::protocols(headers).as_deref() {
        Some([]) => Ok(None),
        Some([one]) if offered.iter().any(|offer| offer == one) => Ok(Some((*one).to_owned())),
        _ => Err(wrong("the server chose a subprotocol that was not offered")),
    }
}

fn wrong(message: &str) -> Error {
    Error::with_message(ErrorKind::Protocol, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    /// One header changed at a time: removed (`None`), or set to these lines.
    #[test]
    fn every_header_is_checked() {
        type Row = (
            &'static str,
            Option<&'static [&'static str]>,
            Result<Option<&'static str>, ()>,
        );
        let table: &[Row] = &[
            ("x-none", None, Ok(None)),
            ("upgrade", None, Err(())),
            ("upgrade", Some(&["h2c"]), Err(())),
            ("upgrade", Some(&["WebSocket"]), Ok(None)),
            ("connection", None, Err(())),
            ("connection", Some(&["close"]), Err(())),
            ("connection", Some(&["upgrade"]), Ok(None)),
            ("sec-websocket-accept", None, Err(())),
            ("sec-websocket-accept", Some(&[""]), Err(())),
            (
                "sec-websocket-accept",
                Some(&["S3pPLMBiTxaQ9kYGzzhZRbK+xOo="]),
                Err(()),
            ),
            ("sec-websocket-accept", Some(&[ACCEPT, ACCEPT]), Err(())),
            (
                "sec-websocket-extensions",
                Some(&["permessage-deflate"]),
                Err(()),
            ),
            ("sec-websocket-extensions", Some(&[""]), Ok(None)),
            ("sec-websocket-protocol", Some(&["chat"]), Ok(Some("chat"))),
            ("sec-websocket-protocol", Some(&["Chat"]), Err(())),
            ("sec-websocket-protocol", Some(&["other"]), Err(())),
            ("sec-websocket-protocol", Some(&["chat, news"]), Err(())),
            ("sec-websocket-protocol", Some(&["chat", "news"]), Err(())),
        ];
        let offered = ["news".to_owned(), "chat".to_owned()];
        for (name, lines, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert("upgrade", HeaderValue::from_static("websocket"));
            headers.insert("connection", HeaderValue::from_static("Upgrade"));
            headers.insert("sec-websocket-accept", HeaderValue::from_static(ACCEPT));
            headers.remove(*name);
            for line in lines.unwrap_or_default() {
                headers.append(*name, HeaderValue::from_static(line));
            }
            let result = check(&headers, ACCEPT, &offered);
            assert_eq!(
                result.as_ref().map(Option::as_deref).map_err(|_| ()),
                *expected,
                "{name}: {lines:?}"
            );
            if let Err(error) = result {
                assert_eq!(error.kind(), ErrorKind::Protocol);
            }
        }
    }

    #[test]
    fn a_choice_without_an_offer_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("upgrade", HeaderValue::from_static("websocket"));
        headers.insert("connection", HeaderValue::from_static("Upgrade"));
        headers.insert("sec-websocket-accept", HeaderValue::from_static(ACCEPT));
        assert_eq!(check(&headers, ACCEPT, &[]).unwrap(), None);
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
        assert!(check(&headers, ACCEPT, &[]).is_err());
    }
}
