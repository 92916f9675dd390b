use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::{InvalidUri, PathAndQuery};
use switchback_core::{Error, ErrorKind};

use crate::percent;

/// Where a server is: `http`, `https`, `ws` or `wss`.
///
/// The schemes name the same port and path in pairs: which transport runs over it is not in the
/// URL. A fragment is ignored.
///
/// ```
/// use switchback_http::Url;
///
/// let url: Url = "https://example.org/rt".parse()?;
/// assert_eq!(url.port(), 443);
/// assert_eq!(url.with_query(&[("reason", "a b")]), "/rt?reason=a%20b");
/// # Ok::<(), switchback_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    secure: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    authority: String,
    path_and_query: String,
}

impl Url {
    /// Tells whether TLS is spoken: `https` and `wss`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns the name or address of the host. An IPv6 address has no brackets here.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port: 80 or 443 where the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns what the header `Host` says: the host, and the port unless it is the scheme's own
    /// (RFC 9110, 7.2).
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns path and query, `/` at least: the target of a request (RFC 9112, 3.2.1).
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// Returns path and query with parameters appended, which are percent-encoded on the way.
    pub fn with_query(&self, extra: &[(&str, &str)]) -> String {
        let mut target = self.path_and_query().to_owned();
        let mut separator = match self.path_and_query.split_once('?') {
            None => Some('?'),
            Some((_, "")) => None,
            Some(_) => Some('&'),
        };
        for (name, value) in extra {
            target.extend(separator);
            separator = Some('&');
            percent::encode_into(&mut target, name);
            target.push('=');
            percent::encode_into(&mut target, value);
        }
        target
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        const SCHEMES: &str = "use http://, https://, ws:// or wss://";
        let invalid = |what: &str| Error::with_message(ErrorKind::Invalid, what);
        if !text.is_ascii() {
            return Err(invalid(
                "the URL has characters beyond ASCII: percent-encode the path, write the host in punycode",
            ));
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return Err(invalid(&format!("the URL has no scheme: {SCHEMES}")));
        };
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => {
                return Err(invalid(&format!(
                    "the URL has an unknown scheme: {SCHEMES}"
                )));
            }
        };
        let uri: Uri = text
            .parse()
            .map_err(|error: InvalidUri| invalid("the URL is malformed").with_source(error))?;
        let Some(authority) = uri
            .authority()
            .filter(|authority| !authority.host().is_empty())
        else {
            return Err(invalid("the URL has no host"));
        };
        if authority.as_str().contains('@') {
            return Err(invalid(
                "the URL has a user name or password: send credentials in a header",
            ));
        }
        let default_port = if secure { 443 } else { 80 };
        let port = match authority.as_str().strip_prefix(authority.host()) {
            None | Some("" | ":") => default_port,
            // `Uri` accepts ports that do not exist.
            Some(_) => authority
                .port_u16()
                .filter(|&port| port > 0)
                .ok_or_else(|| invalid("the port of the URL is not a number from 1 to 65535"))?,
        };
        let name = authority.host();
        Ok(Self {
            secure,
            host: name
                .strip_prefix('[')
                .and_then(|name| name.strip_suffix(']'))
                .unwrap_or(name)
                .to_owned(),
            port,
            authority: if port == default_port {
                name.to_owned()
            } else {
                format!("{name}:{port}")
            },
            path_and_query: match uri.path_and_query().map(PathAndQuery::as_str) {
                None => "/".to_owned(),
                // RFC 9112, 3.2.1: an empty path is sent as a slash.
                Some(query) if query.starts_with('?') => format!("/{query}"),
                Some(path_and_query) => path_and_query.to_owned(),
            },
        })
    }
}

/// The query is left out: applications put secrets there.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        for (text, secure, host, port, authority, target) in [
            ("http://a", false, "a", 80, "a", "/"),
            ("ws://a/rt", false, "a", 80, "a", "/rt"),
            ("https://a/", true, "a", 443, "a", "/"),
            (
                "WSS://A.example/x?y=z",
                true,
                "A.example",
                443,
                "A.example",
                "/x?y=z",
            ),
            ("http://a:80/", false, "a", 80, "a", "/"),
            ("http://a:/", false, "a", 80, "a", "/"),
            ("https://a:80/", true, "a", 80, "a:80", "/"),
            ("http://a:65535?q", false, "a", 65535, "a:65535", "/?q"),
            ("http://[::1]/", false, "::1", 80, "[::1]", "/"),
            ("https://[::1]:8443/", true, "::1", 8443, "[::1]:8443", "/"),
            (
                "http://127.0.0.1:1/a%20b#c",
                false,
                "127.0.0.1",
                1,
                "127.0.0.1:1",
                "/a%20b",
            ),
        ] {
            let url: Url = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.is_secure(), secure, "{text}");
            assert_eq!(url.host(), host, "{text}");
            assert_eq!(url.port(), port, "{text}");
            assert_eq!(url.authority(), authority, "{text}");
            assert_eq!(url.path_and_query(), target, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("", "no scheme"),
            ("example.org/rt", "no scheme"),
            ("/rt", "no scheme"),
            ("ftp://a/", "http://, https://, ws:// or wss://"),
            ("://a/", "unknown scheme"),
            ("http://", "malformed"),
            ("http:///rt", "malformed"),
            ("http://:80/", "no host"),
            ("http://a b/", "malformed"),
            ("http://a/b c", "malformed"),
            ("http://a\r\n/", "malformed"),
            ("http://user@a/", "header"),
            ("http://user:secret@a/", "header"),
            ("http://a:0/", "port"),
            ("http://a:65536/", "port"),
            ("http://a:x/", "port"),
            ("http://[::1/", "malformed"),
            ("http://é/", "punycode"),
            ("http://a/é", "percent-encode"),
        ] {
            let error = text.parse::<Url>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn appends_parameters() {
        for (text, target) in [
            ("http://a", "/?x=1&y=a%26b%20%C3%A9"),
            ("http://a/rt", "/rt?x=1&y=a%26b%20%C3%A9"),
            ("http://a/rt?", "/rt?x=1&y=a%26b%20%C3%A9"),
            ("http://a/rt?k=v", "/rt?k=v&x=1&y=a%26b%20%C3%A9"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(url.with_query(&[("x", "1"), ("y", "a&b é")]), target);
            assert_eq!(url.with_query(&[]), url.path_and_query());
        }
    }

    #[test]
    fn debug_shows_no_query() {
        let url: Url = "wss://a:1/rt?key=secret".parse().unwrap();
        assert_eq!(format!("{url:?}"), "https://a:1/rt");
    }
}
