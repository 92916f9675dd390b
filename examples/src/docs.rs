//! The samples of the documentation, as doctests. Nothing of this is compiled otherwise.

#[doc = include_str!("../../README.md")]
mod readme {}

#[doc = include_str!("../../docs/how-to/axum.md")]
mod axum {}

#[doc = include_str!("../../docs/how-to/hyper.md")]
mod hyper {}

#[doc = include_str!("../../docs/how-to/tls.md")]
mod tls {}

#[doc = include_str!("../../docs/topics/memory.md")]
mod memory {}

#[doc = include_str!("../../docs/topics/security.md")]
mod security {}
