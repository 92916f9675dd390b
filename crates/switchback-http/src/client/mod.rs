//! The client half. Nothing here spawns a task: what the caller polls does all the work.

mod connector;
mod lane;
mod poster;
mod refusal;
mod stream;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
mod url;

pub use connector::Connector;
pub use lane::Lane;
pub use poster::Poster;
pub use refusal::refusal_error;
pub use stream::Stream;
pub use url::Url;
