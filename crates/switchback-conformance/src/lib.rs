//! A conformance suite for implementations of the Switchback Transport trait.
