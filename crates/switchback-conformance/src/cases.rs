//! The cases, by what they are about. Each is run from the near end.

pub(crate) mod backpressure;
pub(crate) mod cancel;
pub(crate) mod close;
pub(crate) mod cut;
pub(crate) mod exact;
pub(crate) mod idle;
pub(crate) mod order;
pub(crate) mod prepared;

use std::future::poll_fn;
use std::task::{Context, Poll};

use switchback_core::Transport;

use crate::case::Failure;
use crate::peer::Peer;

/// Calls a method of a peer's transport once, in the context of the case's task.
async fn once<T>(
    peer: &mut Peer<'_>,
    mut call: impl FnMut(&mut (dyn Transport + '_), &mut Context<'_>) -> Poll<T>,
) -> Result<Poll<T>, Failure> {
    poll_fn(|cx| {
        Poll::Ready(match peer.transport() {
            Some(transport) => Ok(call(transport, cx)),
            None => Err(Failure::new("the case has dropped the transport already")),
        })
    })
    .await
}
