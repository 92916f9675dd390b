//! Headers that are lists (RFC 9110, 5.6.1).

use http::{HeaderMap, HeaderName};

/// Tells whether a list in the headers has an item, parameters such as `;q=1` aside.
pub(crate) fn contains(headers: &HeaderMap, name: &HeaderName, item: &str) -> bool {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|found| {
        found
            .split(';')
            .next()
            .is_some_and(|found| found.trim().eq_ignore_ascii_case(item))
    })
}
