//! Header fields that are lists (RFC 9110, 5.6.1).

use http::header::{HeaderMap, HeaderName, SEC_WEBSOCKET_PROTOCOL};

/// Iterates over the elements of all lines of a field. Empty elements do not count.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Tells whether a list has an element, in whatever case.
pub(crate) fn has(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    elements(headers, name).any(|one| one.eq_ignore_ascii_case(element.as_bytes()))
}

/// Tells whether a list has no element at all.
pub(crate) fn is_empty(headers: &HeaderMap, name: &HeaderName) -> bool {
    elements(headers, name).next().is_none()
}

/// Returns the subprotocols of `Sec-WebSocket-Protocol`; `None` when one is not a token, or is
/// there twice (RFC 6455, 4.1).
pub(crate) fn protocols(headers: &HeaderMap) -> Option<Vec<&str>> {
    let mut protocols = Vec::new();
    for element in elements(headers, &SEC_WEBSOCKET_PROTOCOL) {
        let element = str::from_utf8(element).ok()?;
        if !is_token(element) || protocols.contains(&element) {
            return None;
        }
        protocols.push(element);
    }
    Some(protocols)
}

/// Tells whether a text is a token (RFC 9110, 5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header};

    fn headers(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| (name.clone(), HeaderValue::from_static(line)))
            .collect()
    }

    #[test]
    fn finds_an_element_in_any_line_and_case() {
        for (lines, found) in [
            (&["upgrade"][..], true),
            (&["keep-alive, Upgrade"], true),
            (&["keep-alive", ",,\tUPGRADE ,"], true),
            (&["upgrades"], false),
            (&["up grade"], false),
            (&[""], false),
            (&[], false),
        ] {
            let headers = headers(&header::CONNECTION, lines);
            assert_eq!(
                has(&headers, &header::CONNECTION, "upgrade"),
                found,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn reads_subprotocols_in_order() {
        for (lines, expected) in [
            (&[][..], Some(&[][..])),
            (&["chat"], Some(&["chat"])),
            (&["b, a", "c"], Some(&["b", "a", "c"])),
            (&["Chat, chat"], Some(&["Chat", "chat"])),
            (&["chat, chat"], None),
            (&["a b"], None),
            (&["a/b"], None),
            (&["a;q=1"], None),
        ] {
            let headers = headers(&SEC_WEBSOCKET_PROTOCOL, lines);
            assert_eq!(protocols(&headers).as_deref(), expected, "{lines:?}");
        }
    }
}
