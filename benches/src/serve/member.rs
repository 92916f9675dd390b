//! A bare WebSocket or long-poll in the list, written by a task of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use switchback::{Error, Run, Subscription};
use switchback_core::Transport;

use super::room::Room;

/// Writes what is published until the transport ends: all that came meanwhile in one flush.
pub(super) async fn run<T: Transport>(mut transport: T, room: Arc<Room>) {
    let mut subscription = room.subscribe();
    let mut held = None;
    let work = poll_fn(|cx| poll(&mut transport, &room, &mut subscription, &mut held, cx));
    let _ = work.await;
}

fn poll<T: Transport>(
    transport: &mut T,
    room: &Room,
    subscription: &mut Subscription,
    held: &mut Option<Run>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    // Also what answers pings and notices the end.
    while let Poll::Ready(received) = transport.poll_recv(cx)? {
        if received.is_none() {
            return Poll::Ready(Ok(()));
        }
    }
    loop {
        if let Some(run) = held {
            ready!(transport.poll_send_run(cx, run))?;
            *held = None;
        }
        match subscription.poll_next(cx) {
            Poll::Ready(Ok(run)) => *held = Some(run),
            Poll::Ready(Err(lagged)) => room.note_dropped(lagged.missed()),
            Poll::Pending => break,
        }
    }
    ready!(transport.poll_flush(cx))?;
    Poll::Pending
}
