//! The waker of a connection, as it is, between models of what surrounds it. Loom runs each test in
//! every interleaving of its threads with few preemptions, with every value that a load may see.

#![cfg(test)]

mod connection;
mod janitor;
mod sync;
mod tests;
#[path = "../../crates/switchback/src/connection/wake.rs"]
mod wake;

use connection::Shared;
