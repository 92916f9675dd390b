//! A future that is dropped after `Pending` loses nothing and repeats nothing.

use switchback_core::Message;

use crate::case::Outcome;
use crate::pair::Pair;
use crate::payloads;

/// Every receive is begun and dropped before it is done in earnest.
pub(crate) async fn recv(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages = mixed();
    for mut pair in pairs {
        pair.far.cancel_recv = true;
        pair.exchange(messages.clone(), Vec::new()).await?;
        // One at a time, so that the receiver waits before each.
        for message in payloads::numbered(50) {
            pair.exchange(vec![message], Vec::new()).await?;
        }
    }
    Ok(())
}

/// Every send is begun and dropped; it is repeated where the message was not taken.
pub(crate) async fn send(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages = mixed();
    for mut pair in pairs {
        pair.near.cancel_send = true;
        pair.exchange(messages.clone(), Vec::new()).await?;
        pair.near.flush_each = true;
        pair.exchange(payloads::numbered(200), Vec::new()).await?;
    }
    Ok(())
}

/// Small messages between some that no buffer holds at once, so that reads and writes stop in the
/// middle of a message.
fn mixed() -> Vec<Message> {
    let large = payloads::slices(16, 200_000);
    let small = payloads::numbered(16 * 20);
    small
        .chunks(20)
        .zip(large)
        .flat_map(|(small, large)| small.iter().cloned().chain([large]))
        .collect()
}
