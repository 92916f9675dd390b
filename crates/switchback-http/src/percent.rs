//! Percent-encoding of query components (RFC 3986, 2.1).

use std::borrow::Cow;
use std::fmt::Write;

/// Appends `text` with everything but the unreserved characters (RFC 3986, 2.3) encoded.
pub(crate) fn encode_into(target: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                target.push(char::from(byte));
            }
            // Writing into a string cannot fail.
            _ => drop(write!(target, "%{byte:02X}")),
        }
    }
}

/// Decodes a component. A `+` is a space, as browsers' `URLSearchParams` write it; a `%` that no two
/// hexadecimal digits follow stays as it is (WHATWG URL, 5.1).
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = match byte {
            b'%' => digit(bytes.get(at + 1)).zip(digit(bytes.get(at + 2))),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            decoded.push(high << 4 | low);
            at += 3;
        } else {
            decoded.push(if byte == b'+' { b' ' } else { byte });
            at += 1;
        }
    }
    Cow::Owned(match String::from_utf8(decoded) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn digit(byte: Option<&u8>) -> Option<u8> {
    match *byte? {
        byte @ b'0'..=b'9' => Some(byte - b'0'),
        byte @ b'a'..=b'f' => Some(byte - b'a' + 10),
        byte @ b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decodes() {
        for (text, decoded) in [
            ("", ""),
            ("a%20b+c", "a b c"),
            ("%41%zz%4", "A%zz%4"),
            ("%", "%"),
            ("%c3%A9", "é"),
            ("%ff", "\u{fffd}"),
            ("%+1", "% 1"),
        ] {
            assert_eq!(decode(text), decoded, "{text}");
        }
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(text in ".*") {
            let mut encoded = String::new();
            encode_into(&mut encoded, &text);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(&encoded), text);
        }
    }
}
