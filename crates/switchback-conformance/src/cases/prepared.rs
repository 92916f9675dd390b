//! A prepared message is encoded once and sent on many connections.

use switchback_core::Message;

use crate::case::Outcome;
use crate::pair::Pair;

/// The same prepared messages go over all connections, in both directions, twice: what one
/// connection does to an encoding (a mask, a number) must not be seen on another.
pub(crate) async fn prepared(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages: Vec<_> = [
        Message::text(""),
        Message::text("prepared"),
        Message::text("carriage\rreturn"),
        Message::text("line\nfeed"),
        Message::binary(&b"\x00\xff"[..]),
        Message::binary(vec![7; 1000]),
    ]
    .into_iter()
    .map(Message::prepare)
    .collect();
    let mut pairs = pairs;
    for _ in 0..2 {
        for pair in &mut pairs {
            pair.exchange(messages.clone(), messages.clone()).await?;
        }
    }
    // And in turn with messages that are not.
    let mixed: Vec<_> = messages
        .iter()
        .flat_map(|message| [message.clone(), Message::text("not prepared")])
        .collect();
    for pair in &mut pairs {
        pair.exchange(mixed.clone(), mixed.clone()).await?;
    }
    Ok(())
}
