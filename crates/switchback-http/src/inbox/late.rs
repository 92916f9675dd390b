use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use switchback_core::Error;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::fatal::Fatal;

/// The time for POSTs that the end of the connection has overtaken.
pub(super) struct Late {
    until: Instant,
    /// The receiver's, from its first look on: who ends the connection may be outside of a runtime.
    timer: Option<Pin<Box<Sleep>>>,
    /// What is said then.
    fatal: Fatal,
}

impl Late {
    /// Begins so long a time; then `error` is said.
    pub(super) fn new(time: Duration, error: Error) -> Self {
        Self {
            until: Instant::now() + time,
            timer: None,
            fatal: Fatal::new(error),
        }
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Tells whether it is over, though the receiver may not have looked.
    pub(super) fn is_over(&self) -> bool {
        self.until <= Instant::now()
    }

    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.until;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        timer.as_mut().poll(cx)
    }

    pub(super) fn error(&self) -> &Error {
        self.fatal.error()
    }

    pub(super) fn into_fatal(self) -> Fatal {
        self.fatal
    }
}
