//! The examples of Switchback.
