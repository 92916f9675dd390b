//! A connection on which nothing happens.

use std::time::Duration;

use switchback_core::TransportKind;

use crate::case::{Failure, Outcome};
use crate::pair::Pair;
use crate::payloads;
use crate::peer::Peer;

const IDLE: Duration = Duration::from_millis(300);
/// Keep-alives and timers are welcome; a transport that wakes itself without end is polled tens of
/// thousands of times.
const MAX_POLLS: u64 = 200;

/// Both ends say that they are the same kind of transport.
pub(crate) async fn info(pairs: Vec<Pair<'_>>) -> Outcome {
    for mut pair in pairs {
        let (near, far) = (kind(&mut pair.near), kind(&mut pair.far));
        if near != far || near.is_none() {
            return Err(Failure::new(format!(
                "info() differs: {near:?} on the {}, {far:?} on the {}",
                pair.near.role, pair.far.role
            )));
        }
        if pair.near.close_reason().is_some() || pair.far.close_reason().is_some() {
            return Err(Failure::new(
                "close_reason() of an open connection is not None",
            ));
        }
    }
    Ok(())
}

fn kind(peer: &mut Peer<'_>) -> Option<TransportKind> {
    peer.transport().map(|transport| transport.info().kind())
}

/// Both ends only receive for a while: they stay connected and do not spin.
pub(crate) async fn idle(pairs: Vec<Pair<'_>>) -> Outcome {
    for mut pair in pairs {
        for _ in 0..2 {
            let before = (pair.near.polls, pair.far.polls);
            pair.rest(IDLE).await?;
            for (peer, before) in [(&pair.near, before.0), (&pair.far, before.1)] {
                let polls = peer.polls - before;
                if polls > MAX_POLLS {
                    return Err(Failure::new(format!(
                        "the {} was woken {polls} times in {IDLE:?} though nothing happened",
                        peer.role
                    )));
                }
            }
            pair.exchange(payloads::numbered(10), payloads::numbered(10))
                .await?;
        }
    }
    Ok(())
}
