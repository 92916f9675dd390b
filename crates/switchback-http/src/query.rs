use http::Uri;

use crate::percent;

/// The query string of a request, parsed and percent-decoded.
///
/// ```
/// use switchback_http::Query;
///
/// let query = Query::of(&"/rt?transport=sse&first=7".parse()?);
/// assert_eq!(query.get("transport"), Some("sse"));
/// assert_eq!(query.number("first"), Some(7));
/// # Ok::<(), http::uri::InvalidUri>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// Numbers are below this (`docs/protocol.md`): what a JavaScript number holds exactly.
const NUMBERS_BELOW: u64 = 1 << 53;

impl Query {
    /// Parses the query of a URI. There is no malformed query: what has no `=` is a name with an
    /// empty value, what is not UTF-8 becomes U+FFFD.
    pub fn of(uri: &Uri) -> Self {
        let pairs = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (percent::decode(name), percent::decode(value))
            })
            .collect();
        Self { pairs }
    }

    /// Returns the value of a parameter; of the first, where there are several of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value.as_str())
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

    fn of(query: &str) -> Query {
        Query::of(&format!("/rt?{query}").parse().unwrap())
    }

    #[test]
    fn finds_parameters() {
        let query = of("a=1&b&&c=x%26y&a=2&%64=e=f&g=+");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.get("b"), Some(""));
        assert_eq!(query.get("c"), Some("x&y"));
        assert_eq!(query.get("d"), Some("e=f"));
        assert_eq!(query.get("g"), Some(" "));
        assert_eq!(query.get(""), None);
        assert_eq!(Query::of(&"/rt".parse().unwrap()), Query::default());
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
            assert_eq!(of(&format!("n={text}")).number("n"), number, "{text}");
        }
        assert_eq!(of("m=1").number("n"), None);
    }
}
