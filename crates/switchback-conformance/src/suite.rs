use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::Duration;

use switchback_core::Transport;
use tokio::time::{Instant, timeout_at};

use crate::case::{CASES, Case, Failure, Outcome, Running};
use crate::pair::Pair;
use crate::peer::{Peer, Role};

/// Runs all cases on a transport, each from both ends.
///
/// `connect` makes a fresh connected pair: the server's end and the client's. It must be called
/// within a tokio runtime with timers. See the README for what the pair has to be configured for.
///
/// # Panics
///
/// Panics with a list of what differed from the contract of [`Transport`].
pub async fn run<F, Fut, S, C>(connect: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = (S, C)>,
    S: Transport,
    C: Transport,
{
    Suite::new(connect).run().await;
}

/// A run of the suite that leaves out cases or changes the time that a case may take.
///
/// ```
/// # mod my_transport {
/// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/mod.rs"));
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
/// use switchback_conformance::Suite;
///
/// Suite::new(async || my_transport::pair())
///     .large(false)
///     .skip("backpressure")
///     .timeout(Duration::from_secs(30))
///     .run()
///     .await;
/// # }
/// ```
#[must_use = "a suite does nothing unless it is run"]
pub struct Suite<F> {
    connect: F,
    large: bool,
    skipped: Vec<String>,
    only: Vec<String>,
    timeout: Duration,
}

impl<F> Suite<F> {
    /// Makes a suite of all cases.
    pub fn new(connect: F) -> Self {
        Self {
            connect,
            large: true,
            skipped: Vec::new(),
            only: Vec::new(),
            timeout: Duration::from_secs(10),
        }
    }

    /// Tells whether messages of 64 KiB and 1 MiB are part of it. Default `true`.
    pub fn large(mut self, large: bool) -> Self {
        self.large = large;
        self
    }

    /// Leaves out a case, by its [name](Self::cases).
    pub fn skip(mut self, name: impl Into<String>) -> Self {
        self.skipped.push(name.into());
        self
    }

    /// Runs only this case, and those of further calls.
    pub fn only(mut self, name: impl Into<String>) -> Self {
        self.only.push(name.into());
        self
    }

    /// Sets how long a case may take from one end, connecting included. Default 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the suite.
    ///
    /// # Panics
    ///
    /// Panics with a list of what differed from the contract, and when a name given to
    /// [`skip`](Self::skip) or [`only`](Self::only) is no case.
    pub async fn run<Fut, S, C>(self)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = (S, C)>,
        S: Transport,
        C: Transport,
    {
        for name in self.skipped.iter().chain(&self.only) {
            let known = CASES.iter().any(|case| case.name == name);
            assert!(known, "the suite has no case `{name}`");
        }
        let mut failures = Vec::new();
        for case in CASES.iter().filter(|case| self.includes(case)) {
            for role in [Role::Server, Role::Client] {
                if let Err(failure) = self.run_case(case, role).await {
                    failures.push(format!("case `{}` from the {role}: {failure}", case.name));
                }
            }
        }
        assert!(
            failures.is_empty(),
            "the transport does not conform:\n  {}",
            failures.join("\n  ")
        );
    }

    fn includes(&self, case: &Case) -> bool {
        (self.large || !case.large)
            && (self.only.is_empty() || self.only.iter().any(|name| name == case.name))
            && !self.skipped.iter().any(|name| name == case.name)
    }

    async fn run_case<Fut, S, C>(&self, case: &Case, near: Role) -> Outcome
    where
        F: Fn() -> Fut,
        Fut: Future<Output = (S, C)>,
        S: Transport,
        C: Transport,
    {
        let deadline = Instant::now() + self.timeout;
        let mut pairs = Vec::new();
        for _ in 0..case.pairs {
            let connecting = Box::pin((self.connect)());
            let Ok((server, client)) = timeout_at(deadline, connecting).await else {
                return Err(Failure::new("time ran out while connecting"));
            };
            let server = Peer::new(Role::Server, server);
            let client = Peer::new(Role::Client, client);
            pairs.push(match near {
                Role::Server => Pair::new(server, client, deadline),
                Role::Client => Pair::new(client, server, deadline),
            });
        }
        unpanicked((case.run)(pairs)).await
    }
}

impl Suite<()> {
    /// Returns the names of all cases.
    pub fn cases() -> impl Iterator<Item = &'static str> {
        CASES.iter().map(|case| case.name)
    }
}

impl<F> fmt::Debug for Suite<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("large", &self.large)
            .field("skipped", &self.skipped)
            .field("only", &self.only)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Turns a panic into a failure, so that the report names the case: no method of a transport may
/// panic.
async fn unpanicked(mut case: Running<'_>) -> Outcome {
    poll_fn(|cx| {
        // Nothing of the case is used after a panic.
        catch_unwind(AssertUnwindSafe(|| case.as_mut().poll(cx))).unwrap_or_else(|panic| {
            Poll::Ready(Err(Failure::new(format!("it panicked: {}", text(&*panic)))))
        })
    })
    .await
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}
