use std::fmt;
use std::net::SocketAddr;
use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// The request that opened a connection. There is one for each, so it takes few bytes.
#[derive(Debug, Default)]
pub(crate) struct RequestInfo {
    pub(crate) uri: Uri,
    pub(crate) headers: KeptHeaders,
    pub(crate) peer_addr: Option<SocketAddr>,
    pub(crate) principal: Option<String>,
}

/// A copy of headers, one behind the other until somebody asks for them: as a map, a browser's take 2 to 3 KB.
/// (hyper's own are slices of its read buffer, and would keep all of that alive.)
#[derive(Default)]
pub(crate) struct KeptHeaders {
    packed: Box<[u8]>,
    map: OnceLock<Box<HeaderMap>>,
}

impl KeptHeaders {
    pub(crate) fn new<'a>(
        headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Self {
        let mut packed = Vec::with_capacity(1024);
        for (name, value) in headers {
            let len = u32::try_from(value.len());
            if let (Ok(name_len), Ok(len)) = (u16::try_from(name.as_str().len()), len) {
                packed.extend(name_len.to_ne_bytes());
                packed.extend(len.to_ne_bytes());
                packed.push(u8::from(value.is_sensitive()));
                packed.extend_from_slice(name.as_str().as_bytes());
                packed.extend_from_slice(value.as_bytes());
            }
        }
        Self {
            packed: packed.into(),
            map: OnceLock::new(),
        }
    }

    pub(crate) fn map(&self) -> &HeaderMap {
        self.map.get_or_init(|| Box::new(unpack(&self.packed)))
    }
}

/// Neither what they say, which may be secret, nor a map of them, which would be kept.
impl fmt::Debug for KeptHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptHeaders")
            .field("len", &self.packed.len())
            .finish_non_exhaustive()
    }
}

fn unpack(mut packed: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    while let Some((name, value, rest)) = split_first(packed) {
        packed = rest;
        map.append(name, value);
    }
    map
}

/// Takes the first header off. `None`: there is none, because a copy of something valid is valid.
fn split_first(packed: &[u8]) -> Option<(HeaderName, HeaderValue, &[u8])> {
    let (name_len, rest) = packed.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (sensitive, rest) = rest.split_first()?;
    let (name, rest) = rest.split_at_checked(u16::from_ne_bytes(*name_len).into())?;
    let (value, rest) = rest.split_at_checked(u32::from_ne_bytes(*len).try_into().ok()?)?;
    let mut value = HeaderValue::from_bytes(value).ok()?;
    value.set_sensitive(*sensitive != 0);
    Some((HeaderName::from_bytes(name).ok()?, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_kept_as_they_came() {
        let mut headers = HeaderMap::new();
        let long = "x".repeat(70_000);
        for (name, value) in [
            ("cookie", "a=1"),
            ("host", "example.org"),
            ("cookie", "b=2"),
            ("x-empty", ""),
            ("x-long", &long),
        ] {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers.append("x-bytes", HeaderValue::from_bytes(b"\xff\x80").unwrap());
        let mut secret = HeaderValue::from_static("secret");
        secret.set_sensitive(true);
        headers.append("authorization", secret);
        let kept = KeptHeaders::new(headers.iter());
        assert!(!format!("{kept:?}").contains("example.org"));
        assert!(kept.map.get().is_none(), "nobody has asked for a map");
        // Also the order of different names, which `==` does not look at.
        assert!(kept.map().iter().eq(headers.iter()));
        assert_eq!(kept.map().len(), headers.len());
        assert!(kept.map()["authorization"].is_sensitive());
        assert!(!kept.map()["host"].is_sensitive());
        assert_eq!(*KeptHeaders::default().map(), HeaderMap::new());
    }
}
