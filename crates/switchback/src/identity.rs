use std::net::SocketAddr;

/// Who a request comes from, as the server's authentication found out: a request extension.
///
/// Put it into the extensions of a request in front of the [`Endpoint`](crate::Endpoint), in a
/// middleware that checks a cookie or an `Authorization` header. A session is then only resumed
/// by requests of the same principal.
///
/// ```
/// # let mut request = http::Request::new(());
/// request.extensions_mut().insert(switchback::Principal::new("alice"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(pub(crate) String);

impl Principal {
    /// Names a principal.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// The address of the peer's socket: a request extension, which [`serve`](crate::serve()) adds.
///
/// Other servers add it themselves, each in its own way; see `docs/` for hyper and axum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);
