//! The request of the opening handshake, as a server sees it (RFC 6455, 4.2.1).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use switchback_http::Refusal;

use super::list;

/// The only version there is (RFC 6455, 4.1).
pub(crate) const VERSION: HeaderValue = HeaderValue::from_static("13");

/// What a valid request asks for.
#[derive(Debug)]
pub(crate) struct Offer<'a> {
    /// `Sec-WebSocket-Key`.
    pub(crate) key: &'a [u8],
    /// The subprotocols, in the client's order of preference.
    pub(crate) protocols: Vec<&'a str>,
}

/// Tells whether a request means to open a WebSocket (`docs/protocol.md`, 1).
pub(crate) fn is_upgrade(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET && list::has(headers, &header::UPGRADE, "websocket")
}

/// Checks a request against RFC 6455, 4.2.1.
///
/// # Errors
///
/// The response to give instead.
pub(crate) fn check<'a>(
    method: &Method,
    version: Version,
    headers: &'a HeaderMap,
) -> Result<Offer<'a>, Refusal> {
    if method != Method::GET {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "a WebSocket is opened by GET",
        )
        .with_header(header::ALLOW, HeaderValue::from_static("GET")));
    }
    if version != Version::HTTP_11 {
        return Err(bad_upgrade("a WebSocket is opened over HTTP/1.1"));
    }
    if !list::has(headers, &header::UPGRADE, "websocket") {
        return Err(bad_upgrade("the header Upgrade does not say websocket"));
    }
    if !list::has(headers, &header::CONNECTION, "upgrade") {
        return Err(bad_upgrade("the header Connection does not say Upgrade"));
    }
    if one(headers, &header::HOST).is_none() {
        return Err(bad_upgrade("the header Host is missing or repeated"));
    }
    // Whatever follows the head is read as frames: a body would be taken for some.
    let has_length = headers
        .get_all(header::CONTENT_LENGTH)
        .into_iter()
        .any(|length| length != "0");
    if has_length || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(bad_upgrade("the request has a body"));
    }
    check_version(headers)?;
    let key = one(headers, &header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| bad_upgrade("the header Sec-WebSocket-Key is missing or repeated"))?;
    if !is_key(key.as_bytes()) {
        return Err(bad_upgrade(
            "the header Sec-WebSocket-Key is not 16 bytes in base64",
        ));
    }
    let protocols = list::protocols(headers)
        .ok_or_else(|| bad_upgrade("the header Sec-WebSocket-Protocol is malformed"))?;
    Ok(Offer {
        key: key.as_bytes(),
        protocols,
    })
}

fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    if !headers.contains_key(header::SEC_WEBSOCKET_VERSION) {
        return Err(bad_upgrade("the header Sec-WebSocket-Version is missing")
            .with_header(header::SEC_WEBSOCKET_VERSION, VERSION));
    }
    if one(headers, &header::SEC_WEBSOCKET_VERSION) == Some(&VERSION) {
        return Ok(());
    }
    // RFC 6455, 4.4 asks for the version; RFC 9110, 15.5.22 for `Upgrade` with this status.
    Err(Refusal::new(
        StatusCode::UPGRADE_REQUIRED,
        "unsupported_version",
        "the only version of WebSocket supported is 13",
    )
    .with_header(header::SEC_WEBSOCKET_VERSION, VERSION)
    .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
    .with_header(header::CONNECTION, HeaderValue::from_static("Upgrade")))
}

pub(crate) fn bad_upgrade(message: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_upgrade", message)
}

/// Returns the value of a field that must be there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Tells whether a key is the base64 of 16 bytes: 22 digits and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    matches!(key.split_at_checked(22), Some((digits, b"==")) if digits.iter().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 6455, 1.2.
    fn request() -> http::Request<()> {
        http::Request::get("/chat")
            .header("Host", "server.example.com")
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Origin", "http://example.com")
            .header("Sec-WebSocket-Protocol", "chat, superchat")
            .header("Sec-WebSocket-Version", "13")
            .body(())
            .unwrap()
    }

    fn run(request: &http::Request<()>) -> Result<Offer<'_>, Refusal> {
        check(request.method(), request.version(), request.headers())
    }

    #[test]
    fn accepts_the_request_of_the_rfc() {
        let request = request();
        let offer = run(&request).unwrap();
        assert_eq!(offer.key, b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(offer.protocols, ["chat", "superchat"]);
    }

    /// One header changed at a time: removed (`None`), or set to these lines.
    #[test]
    fn every_header_is_checked() {
        type Lines = Option<&'static [&'static str]>;
        const OK: u16 = 0;
        let table: &[(&'static str, Lines, u16)] = &[
            ("host", None, 400),
            ("host", Some(&["a", "b"]), 400),
            ("upgrade", None, 400),
            ("upgrade", Some(&["h2c"]), 400),
            ("upgrade", Some(&["websockets"]), 400),
            ("upgrade", Some(&["h2c, WebSocket"]), OK),
            ("upgrade", Some(&["h2c", "websocket"]), OK),
            ("connection", None, 400),
            ("connection", Some(&["keep-alive"]), 400),
            ("connection", Some(&["keep-alive, upgrade"]), OK),
            ("connection", Some(&["keep-alive", "UPGRADE"]), OK),
            ("sec-websocket-version", None, 400),
            ("sec-websocket-version", Some(&[""]), 426),
            ("sec-websocket-version", Some(&["8"]), 426),
            ("sec-websocket-version", Some(&["013"]), 426),
            ("sec-websocket-version", Some(&["13, 8"]), 426),
            ("sec-websocket-version", Some(&["13", "13"]), 426),
            ("sec-websocket-key", None, 400),
            ("sec-websocket-key", Some(&[""]), 400),
            ("sec-websocket-key", Some(&["dGhlIHNhbXBsZSBub25jZQ"]), 400),
            ("sec-websocket-key", Some(&["dGhlIHNhbXBsZSBub25jZQ="]), 400),
            (
                "sec-websocket-key",
                Some(&["dGhlIHNhbXBsZSBub25jZQ==="]),
                400,
            ),
            (
                "sec-websocket-key",
                Some(&["dGhlIHNhbXBsZSBub25jZQ=A"]),
                400,
            ),
            (
                "sec-websocket-key",
                Some(&["dGhlIHNhbXBsZSBub25j-Q=="]),
                400,
            ),
            (
                "sec-websocket-key",
                Some(&["dGhlIHNhbXBsZSBub25jZWE="]),
                400,
            ),
            ("sec-websocket-key", Some(&["SGVsbG8sIHdvcmxkIQ=="]), 400),
            (
                "sec-websocket-key",
                Some(&["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="]),
                400,
            ),
            ("sec-websocket-key", Some(&["++//////////////////+w=="]), OK),
            ("sec-websocket-protocol", None, OK),
            ("sec-websocket-protocol", Some(&["a,b", "c"]), OK),
            ("sec-websocket-protocol", Some(&["a,a"]), 400),
            ("sec-websocket-protocol", Some(&["a b"]), 400),
            ("sec-websocket-protocol", Some(&["\"a\""]), 400),
            (
                "sec-websocket-extensions",
                Some(&["permessage-deflate"]),
                OK,
            ),
            ("content-length", Some(&["0"]), OK),
            ("content-length", Some(&["1"]), 400),
            ("transfer-encoding", Some(&["chunked"]), 400),
            ("origin", None, OK),
        ];
        for (name, lines, expected) in table {
            let mut request = request();
            let headers = request.headers_mut();
            headers.remove(*name);
            for line in lines.unwrap_or_default() {
                headers.append(*name, HeaderValue::from_static(line));
            }
            let status = run(&request).map_or_else(|refusal| refusal.status().as_u16(), |_| OK);
            assert_eq!(status, *expected, "{name}: {lines:?}");
            if let Err(refusal) = run(&request) {
                let word = match expected {
                    426 => "unsupported_version",
                    _ => "bad_upgrade",
                };
                assert_eq!(refusal.error(), word, "{name}: {lines:?}");
            }
        }
    }

    #[test]
    fn refusals_say_what_is_supported() {
        let mut wrong = request();
        *wrong.method_mut() = Method::POST;
        let response = run(&wrong).unwrap_err().into_response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET");

        let mut old = request();
        old.headers_mut()
            .insert("sec-websocket-version", HeaderValue::from_static("8"));
        let response = run(&old).unwrap_err().into_response();
        assert_eq!(response.status(), 426);
        assert_eq!(response.headers()["sec-websocket-version"], "13");
        assert_eq!(response.headers()["upgrade"], "websocket");

        for version in [Version::HTTP_10, Version::HTTP_2] {
            let mut request = request();
            *request.version_mut() = version;
            let refusal = run(&request).unwrap_err();
            assert_eq!(
                (refusal.status().as_u16(), refusal.error()),
                (400, "bad_upgrade")
            );
        }
    }

    #[test]
    fn an_upgrade_is_told_from_other_requests() {
        let get = request();
        assert!(is_upgrade(get.method(), get.headers()));
        assert!(!is_upgrade(&Method::POST, get.headers()));
        assert!(!is_upgrade(&Method::GET, &HeaderMap::new()));
    }
}
