use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use switchback_core::Message;
use tokio::time::{Instant, sleep_until};

use crate::case::{Failure, Outcome};
use crate::payloads::{compare, end_marker};
use crate::peer::{End, Peer};

/// A connection under test: the end that a case is run from, and the other one.
pub(crate) struct Pair<'a> {
    pub(crate) near: Peer<'a>,
    pub(crate) far: Peer<'a>,
    deadline: Instant,
}

impl<'a> Pair<'a> {
    pub(crate) fn new(near: Peer<'a>, far: Peer<'a>, deadline: Instant) -> Self {
        Self {
            near,
            far,
            deadline,
        }
    }

    /// Drives both ends until `done`, which is asked after each step. Fails when the case's time is
    /// over, or when an end stopped working before.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut done: impl FnMut(&Peer<'a>, &Peer<'a>) -> bool,
    ) -> Outcome {
        self.drive(what, |near, far| {
            if done(near, far) {
                return Some(Ok(()));
            }
            (stopped(near) || stopped(far))
                .then(|| Err(Failure::new(format!("the connection ended {what}"))))
        })
        .await
    }

    /// Like [`until`](Self::until), where the connection is meant to end.
    pub(crate) async fn until_ended(
        &mut self,
        what: &str,
        mut done: impl FnMut(&Peer<'a>, &Peer<'a>) -> bool,
    ) -> Outcome {
        self.drive(what, |near, far| done(near, far).then_some(Ok(())))
            .await
    }

    /// Drives both ends for a while. Fails when one stops working.
    pub(crate) async fn rest(&mut self, time: Duration) -> Outcome {
        let end = Instant::now() + time;
        let mut sleep = pin!(sleep_until(end));
        let (near, far) = (&mut self.near, &mut self.far);
        let mut begun = false;
        poll_fn(|cx| {
            if !std::mem::replace(&mut begun, true) {
                near.begin(cx.waker());
                far.begin(cx.waker());
            }
            near.drive(cx.waker());
            far.drive(cx.waker());
            if stopped(near) || stopped(far) {
                return Poll::Ready(Err(Failure::new(format!(
                    "the connection ended by itself: {near}; {far}"
                ))));
            }
            sleep.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Sends messages both ways at the same time and compares what arrives.
    pub(crate) async fn exchange(&mut self, near: Vec<Message>, far: Vec<Message>) -> Outcome {
        self.near.outbox.extend(near);
        self.far.outbox.extend(far);
        self.finish().await
    }

    /// Sends a last message each way behind whatever is under way, waits for both, and compares
    /// what arrived with what was taken, since the last time.
    pub(crate) async fn finish(&mut self) -> Outcome {
        let marker = end_marker();
        self.near.outbox.push_back(marker.clone());
        self.far.outbox.push_back(marker.clone());
        let ended = self
            .until("before all messages had arrived", |near, far| {
                far.inbox.last() == Some(&marker) && near.inbox.last() == Some(&marker)
            })
            .await;
        for (from, to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            let complete = to.inbox.last() == Some(&marker);
            compare(&from.taken, &to.inbox, complete).map_err(|difference| {
                Failure::new(format!("{} to {}: {difference}", from.role, to.role))
            })?;
        }
        ended?;
        for peer in [&mut self.near, &mut self.far] {
            peer.taken.clear();
            peer.inbox.clear();
        }
        Ok(())
    }

    async fn drive(
        &mut self,
        what: &str,
        mut verdict: impl FnMut(&Peer<'a>, &Peer<'a>) -> Option<Outcome>,
    ) -> Outcome {
        let (near, far) = (&mut self.near, &mut self.far);
        let mut timeout = pin!(sleep_until(self.deadline));
        let mut begun = false;
        poll_fn(|cx| {
            if !std::mem::replace(&mut begun, true) {
                near.begin(cx.waker());
                far.begin(cx.waker());
            }
            near.drive(cx.waker());
            far.drive(cx.waker());
            let outcome = match verdict(near, far) {
                Some(Ok(())) => return Poll::Ready(Ok(())),
                Some(Err(failure)) => failure.to_string(),
                None if timeout.as_mut().poll(cx).is_ready() => format!("time ran out {what}"),
                None => return Poll::Pending,
            };
            Poll::Ready(Err(Failure::new(format!("{outcome}: {near}; {far}"))))
        })
        .await
    }
}

/// Tells whether the end can do no more, though nobody closed the connection.
fn stopped(peer: &Peer<'_>) -> bool {
    peer.send_error.is_some() || matches!(peer.end, Some(End::Closed | End::Failed(_)))
}
