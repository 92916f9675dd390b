//! The benches of Switchback.
