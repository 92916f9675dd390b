use std::borrow::Cow;

use http::Uri;

use crate::percent;

/// The query string of a request. Parameters are looked for, and percent-decoded, when they are
/// asked for.
///
/// ```
/// use switchback_http::Query;
///
/// let uri = "/rt?transport=sse&first=7".parse()?;
/// let query = Query::of(&uri);
/// assert_eq!(query.get("transport").as_deref(), Some("sse"));
/// assert_eq!(query.number("first"), Some(7));
/// # Ok::<(), http::uri::InvalidUri>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a>(&'a str);

/// Numbers are below this (`docs/protocol.md`): what a JavaScript number holds exactly.
const NUMBERS_BELOW: u64 = 1 << 53;

impl<'a> Query<'a> {
    /// Takes the query of a URI. There is no malformed query: what has no `=` is a name with an
    /// empty value, what is not UTF-8 becomes U+FFFD.
    pub fn of(uri: &'a Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    /// Returns the value of a parameter; of the first, where there are several of that name.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        let pairs = self.0.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(candidate, _)| percent::decode(candidate) == name)
            .map(|(_, value)| percent::decode(value))
    }

    /// Returns the value of a parameter that is a number as the protocol writes it: decimal
    /// digits, no sign, no leading zeros, below 2^53. `None` when it is missing or anything else.
    pub fn number(&self, name: &str) -> Option<u64> {
        let text = self.get(name)?;
        let canonical = text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        text.parse()
            .ok()
            .filter(|&number| canonical && number < NUMBERS_BELOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(query: &str) -> Uri {
        format!("/rt?{query}").parse().unwrap()
    }

    #[test]
    fn finds_parameters() {
        let uri = uri("a=1&b&&c=x%26y&a=2&%64=e=f&g=+");
        let query = Query::of(&uri);
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some("")),
            ("c", Some("x&y")),
            ("d", Some("e=f")),
            ("g", Some(" ")),
            ("", None),
            ("h", None),
        ] {
            assert_eq!(query.get(name).as_deref(), value, "{name}");
        }
        assert_eq!(Query::of(&Uri::from_static("/rt")).get(""), None);
        assert!(matches!(query.get("a"), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn reads_numbers_strictly() {
        for (text, number) in [
            ("0", Some(0)),
            ("10", Some(10)),
            ("9007199254740991", Some((1 << 53) - 1)),
            ("9007199254740992", None),
            ("99999999999999999999999", None),
            ("", None),
            ("01", None),
            ("00", None),
            ("%2B1", None),
            ("-1", None),
            ("1.0", None),
            ("1e3", None),
            ("%D9%A1", None),
        ] {
            let uri = uri(&format!("n={text}"));
            assert_eq!(Query::of(&uri).number("n"), number, "{text}");
        }
        assert_eq!(Query::of(&uri("m=1")).number("n"), None);
    }
}
