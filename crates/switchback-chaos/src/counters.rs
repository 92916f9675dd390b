/// What a [`Proxy`](crate::Proxy) has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections that the proxy has cut.
    pub cut: u64,
    /// HTTP requests seen, those that a rule caught included.
    pub requests: u64,
    /// HTTP requests that a [`Rule`](crate::Rule) caught.
    pub caught: u64,
    /// Bytes passed on to the server.
    pub bytes_up: u64,
    /// Bytes passed on to clients.
    pub bytes_down: u64,
    /// Bytes that went into a black hole.
    pub swallowed: u64,
}
