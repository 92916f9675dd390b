use switchback_core::Error;
use switchback_http::Url;

/// Finds out where a redirect leads to (RFC 9110, 10.2.2; RFC 3986, 5.2).
pub(super) fn resolve(base: &Url, location: &str) -> Result<Url, Error> {
    let location = location.split('#').next().unwrap_or_default();
    if has_scheme(location) {
        return location.parse();
    }
    let scheme = if base.is_secure() { "https" } else { "http" };
    if location.starts_with("//") {
        return format!("{scheme}:{location}").parse();
    }
    let base_path = base.path_and_query().split('?').next().unwrap_or("/");
    let target = match location.as_bytes().first() {
        None => base.path_and_query().to_owned(),
        Some(b'?') => format!("{base_path}{location}"),
        Some(b'/') => without_dots(location),
        Some(_) => {
            let directory = base_path.rfind('/').map_or("/", |end| &base_path[..=end]);
            without_dots(&format!("{directory}{location}"))
        }
    };
    format!("{scheme}://{}{target}", base.authority()).parse()
}

/// Tells whether two URLs are of the same origin (RFC 6454).
pub(super) fn same_origin(one: &Url, two: &Url) -> bool {
    (one.is_secure(), one.port()) == (two.is_secure(), two.port())
        && one.host().eq_ignore_ascii_case(two.host())
}

/// RFC 3986, 3.1.
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// Removes the dot segments of a path that begins with a slash (RFC 3986, 5.2.4).
fn without_dots(target: &str) -> String {
    let (path, query) = match target.find('?') {
        Some(query) => target.split_at(query),
        None => (target, ""),
    };
    let mut segments = Vec::new();
    let mut rest = path[1..].split('/').peekable();
    while let Some(segment) = rest.next() {
        let last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                // What is left is a directory.
                if last {
                    segments.push("");
                }
            }
            segment => segments.push(segment),
        }
    }
    format!("/{}{query}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let base: Url = "http://a.example:81/b/c/d?e".parse().unwrap();
        for (location, expected) in [
            ("https://other.example/x", "https://other.example/x"),
            ("HTTP://other.example/x", "http://other.example/x"),
            ("//other.example/x?y", "http://other.example/x?y"),
            ("/x?y#z", "http://a.example:81/x?y"),
            ("x", "http://a.example:81/b/c/x"),
            ("x:y/z", "error"),
            ("./x:y", "http://a.example:81/b/c/x:y"),
            ("?x", "http://a.example:81/b/c/d?x"),
            ("", "http://a.example:81/b/c/d?e"),
            ("..", "http://a.example:81/b/"),
            ("../x", "http://a.example:81/b/x"),
            ("../../../x", "http://a.example:81/x"),
            ("./", "http://a.example:81/b/c/"),
            ("/x/../y/./z?a/../b", "http://a.example:81/y/z?a/../b"),
            ("ftp://other.example/", "error"),
            ("http://", "error"),
        ] {
            let resolved = resolve(&base, location).map(|url| {
                let scheme = if url.is_secure() { "https" } else { "http" };
                format!("{scheme}://{}{}", url.authority(), url.path_and_query())
            });
            let resolved = resolved.unwrap_or_else(|_| "error".to_owned());
            assert_eq!(resolved, expected, "{location}");
        }
    }

    #[test]
    fn origins_are_told_apart() {
        let base: Url = "http://a.example/x".parse().unwrap();
        let same = |text: &str| same_origin(&base, &text.parse().unwrap());
        assert!(same("http://A.example:80/y?z"));
        assert!(!same("https://a.example/x"));
        assert!(!same("http://a.example:81/x"));
        assert!(!same("http://b.example/x"));
    }
}
