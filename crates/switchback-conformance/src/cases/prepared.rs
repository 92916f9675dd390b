//! A prepared message is encoded once and sent on many connections.

use switchback_core::{Broadcast, Message};

use crate::case::Outcome;
use crate::pair::Pair;
use crate::payloads;

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

/// What is published arrives on all connections, from both ends: few messages at a time, and more than a
/// send buffer takes.
pub(crate) async fn runs(mut pairs: Vec<Pair<'_>>) -> Outcome {
    let broadcast = Broadcast::with_capacity(usize::MAX, usize::MAX);
    for pair in &mut pairs {
        pair.near.subscription = Some(broadcast.subscribe());
        pair.far.subscription = Some(broadcast.subscribe());
    }
    let sizes = [0, 125, 126, 2047, 2048, 5000, 40_000, 1];
    let sized = sizes.map(|size| Message::binary(vec![7; size]));
    let rounds = [
        payloads::numbered(1),
        payloads::numbered(100),
        sized.into(),
        payloads::numbered(5000),
    ];
    for messages in rounds {
        for message in messages {
            broadcast.publish(message);
        }
        for pair in &mut pairs {
            pair.exchange(Vec::new(), vec![Message::text("behind it")])
                .await?;
        }
    }
    Ok(())
}
