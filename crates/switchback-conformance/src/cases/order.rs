//! Messages arrive in order, each once.

use switchback_core::Message;

use crate::case::{Failure, Outcome};
use crate::pair::Pair;
use crate::payloads;

/// One message each way at a time, flushed each: a transport that forgets to wake somebody, or to
/// flush, stops here.
pub(crate) async fn ping_pong(pairs: Vec<Pair<'_>>) -> Outcome {
    for mut pair in pairs {
        pair.near.flush_each = true;
        pair.far.flush_each = true;
        for round in 0..100 {
            let message = Message::text(format!("round {round}"));
            pair.near.outbox.push_back(message.clone());
            pair.until("before a ping arrived", |_, far| !far.inbox.is_empty())
                .await?;
            pair.far.outbox.extend(pair.far.inbox.drain(..));
            pair.until("before its pong arrived", |near, _| !near.inbox.is_empty())
                .await?;
            let pong = std::mem::take(&mut pair.near.inbox);
            payloads::compare(&[message], &pong, true).map_err(Failure::new)?;
        }
    }
    Ok(())
}

/// Many messages are taken before one flush sends them all.
pub(crate) async fn one_flush(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages = payloads::numbered(500);
    for mut pair in pairs {
        pair.exchange(messages.clone(), Vec::new()).await?;
        // A flush of nothing is ready.
        pair.exchange(Vec::new(), Vec::new()).await?;
        pair.exchange(messages.clone(), messages.clone()).await?;
    }
    Ok(())
}

/// 10,000 messages each way at the same time.
pub(crate) async fn order(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages = payloads::numbered(10_000);
    for mut pair in pairs {
        pair.exchange(messages.clone(), messages.clone()).await?;
    }
    Ok(())
}
