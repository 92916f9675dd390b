//! The headers of the protocol (`docs/protocol.md`, 2.3, 2.4, 3.2).

use http::HeaderName;

/// Which connection a request belongs to: `Switchback-Connection`.
pub const CONNECTION: HeaderName = HeaderName::from_static("switchback-connection");

/// The hello of a session, on the request that opens a transport: `Switchback-Session`.
pub const SESSION: HeaderName = HeaderName::from_static("switchback-session");

/// The newest version of the session protocol that the server speaks: `Switchback-Version`.
pub const VERSION: HeaderName = HeaderName::from_static("switchback-version");
