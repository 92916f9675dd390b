//! A TCP proxy that injects faults, for tests of clients and servers that have to live with bad
//! networks and worse proxies.
//!
//! Put a [`Proxy`] in front of a server, connect the client to it, and say with [`Faults`] what
//! goes wrong: connections are cut, refused, black-holed, delayed, throttled, truncated, buffered
//! or killed after a while, in one direction or both, and single HTTP requests are answered by the
//! proxy itself, as one that dislikes WebSockets would. Everything happens on real sockets.
//!
//! ```
//! use std::time::Duration;
//! use switchback_chaos::{Action, Cut, Faults, Flow, Proxy, Rule};
//!
//! # async fn example(server: std::net::SocketAddr) -> std::io::Result<()> {
//! let proxy = Proxy::start(server).await?;
//! // … connect the client to proxy.local_addr(), then:
//!
//! // What the server sends arrives half a second late; what the client sends, at once.
//! let slow = Flow::new().delay(Duration::from_millis(500));
//! proxy.set(Faults::new().down(slow)).await;
//!
//! // A proxy that refuses WebSockets and nothing else.
//! let refuse = Rule::websocket(Action::Answer(502));
//! proxy.set(Faults::new().rule(refuse)).await;
//!
//! // The plug is pulled.
//! proxy.cut(Cut::Reset);
//! proxy.until(|counters| counters.open == 0).await;
//! # Ok(())
//! # }
//! ```
//!
//! Everything is bounded: connections, buffered bytes, the head of a request. A proxy that is
//! dropped stops listening and drops all connections.

mod counters;
mod faults;
mod http;
mod link;
mod port;
mod proxy;
mod pump;
mod random;
mod rule;
mod schedule;

pub use counters::Counters;
pub use faults::{Cut, Faults, Flow};
pub use proxy::Proxy;
pub use rule::{Action, RequestHead, Rule};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
