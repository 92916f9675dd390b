//! A peer that does not read makes the sender wait, and loses nothing.

use std::time::Duration;

use crate::case::{Failure, Outcome};
use crate::pair::Pair;
use crate::payloads;

const MESSAGE: usize = 64 * 1024;
/// What the buffers of both ends and of two kernels may hold. A TCP connection over loopback holds
/// up to about 10 MiB.
const BOUND: usize = 64 * 1024 * 1024;
/// How long a sender must not have got on to count as waiting.
const QUIET: Duration = Duration::from_millis(250);

pub(crate) async fn backpressure(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages = payloads::slices(BOUND / MESSAGE, MESSAGE);
    for mut pair in pairs {
        pair.far.reading = false;
        pair.near.outbox.extend(messages.iter().cloned());
        loop {
            let taken = pair.near.taken.len();
            pair.rest(QUIET).await?;
            if pair.near.outbox.is_empty() {
                return Err(Failure::new(format!(
                    "the {} took {} MiB though the {} read nothing: its send buffer has no bound",
                    pair.near.role,
                    BOUND / (1024 * 1024),
                    pair.far.role
                )));
            }
            if pair.near.taken.len() == taken {
                break;
            }
        }
        // What was not taken must not arrive.
        pair.near.outbox.clear();
        pair.far.reading = true;
        pair.finish().await?;
        // And the connection is as good as new.
        pair.exchange(payloads::numbered(100), payloads::numbered(100))
            .await?;
    }
    Ok(())
}
