//! Many messages each way through real nginx and haproxy, which buffer, refuse WebSockets, cut what
//! is silent and reload, while all connections on both sides of them are cut every few hundred
//! milliseconds: none is lost, none doubled, none out of order.
//!
//! The tests are ignored, because nginx and haproxy may not be installed; the test command runs them
//! where they are. `SWITCHBACK_MESSAGES` sets the number each way and client, 1,000 by default; the
//! test command sends a million with optimisation.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what happened on the road"
)]

mod haproxy;
mod nginx;
mod process;
mod road;
#[path = "../support/mod.rs"]
mod support;
