use std::fmt;
use std::pin::Pin;

use crate::cases::{backpressure, cancel, close, cut, exact, idle, order, prepared};
use crate::pair::Pair;

/// One thing that every transport must do.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// How many fresh connections it needs.
    pub(crate) pairs: usize,
    /// Whether it moves messages of up to 1 MiB.
    pub(crate) large: bool,
    pub(crate) run: for<'a> fn(Vec<Pair<'a>>) -> Running<'a>,
}

pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;
pub(crate) type Outcome = Result<(), Failure>;

/// What differed from what the contract promises.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Case {
    const fn new(name: &'static str, run: for<'a> fn(Vec<Pair<'a>>) -> Running<'a>) -> Self {
        Self {
            name,
            pairs: 1,
            large: false,
            run,
        }
    }

    const fn pairs(mut self, pairs: usize) -> Self {
        self.pairs = pairs;
        self
    }

    const fn large(mut self) -> Self {
        self.large = true;
        self
    }
}

/// All cases, the simplest first: where several fail, the first one is where to begin.
pub(crate) static CASES: &[Case] = &[
    Case::new("info", |p| Box::pin(idle::info(p))),
    Case::new("kinds", |p| Box::pin(exact::kinds(p))),
    Case::new("bit_exact", |p| Box::pin(exact::bit_exact(p))),
    Case::new("large", |p| Box::pin(exact::large(p))).large(),
    Case::new("debug_hides_payloads", |p| Box::pin(exact::debug(p))),
    Case::new("ping_pong", |p| Box::pin(order::ping_pong(p))),
    Case::new("one_flush", |p| Box::pin(order::one_flush(p))),
    Case::new("order", |p| Box::pin(order::order(p))),
    Case::new("batches", |p| Box::pin(order::batches(p))),
    Case::new("prepared", |p| Box::pin(prepared::prepared(p))).pairs(2),
    Case::new("runs", |p| Box::pin(prepared::runs(p))).pairs(2),
    Case::new("cancel_recv", |p| Box::pin(cancel::recv(p))),
    Case::new("cancel_send", |p| Box::pin(cancel::send(p))),
    Case::new("backpressure", |p| Box::pin(backpressure::backpressure(p))),
    Case::new("idle", |p| Box::pin(idle::idle(p))),
    Case::new("close_after_messages", |p| {
        Box::pin(close::after_messages(p))
    }),
    Case::new("close_reason", |p| Box::pin(close::reason(p))).pairs(close::REASONS),
    Case::new("close_twice", |p| Box::pin(close::twice(p))).pairs(2),
    Case::new("close_both", |p| Box::pin(close::both(p))),
    Case::new("close_while_peer_sends", |p| {
        Box::pin(close::while_peer_sends(p))
    }),
    Case::new("close_then_peer_drops", |p| {
        Box::pin(close::then_peer_drops(p))
    }),
    Case::new("send_after_close", |p| Box::pin(close::send_after(p))),
    Case::new("drop_is_not_close", |p| Box::pin(cut::idle(p))),
    Case::new("drop_after_messages", |p| Box::pin(cut::after_messages(p))),
    Case::new("drop_while_peer_sends", |p| {
        Box::pin(cut::while_peer_sends(p))
    }),
];
