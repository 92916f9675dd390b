//! A conformance suite for implementations of the Switchback [`Transport`] trait, for their tests.
//!
//! Give [`run`] a function that makes a fresh connected pair, the server's end first. Every case is
//! run twice, once from each end, because a server and a client rarely share their bugs:
//!
//! ```
//! # mod my_transport {
//! #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/mod.rs"));
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! switchback_conformance::run(async || my_transport::pair()).await;
//! # }
//! ```
//!
//! The suite panics with a list of the cases that failed and of what differed. [`Suite`] selects
//! cases, for a transport that is not finished yet. The crate's README says how the pair has to be
//! configured, and lists the cases.
//!
//! Both ends are driven by one task, each polled only when it was woken, so a transport that
//! forgets a waker hangs here as it would in production: after a case's
//! [timeout](Suite::timeout), the case fails and says how far each end got.
//!
//! [`Transport`]: switchback_core::Transport

mod case;
mod cases;
mod pair;
mod payloads;
mod peer;
mod suite;
mod wake;

pub use suite::{Suite, run};
