//! Messages arrive in order, each once.

use switchback_core::{CloseReason, Message};

use crate::case::{Failure, Outcome};
use crate::pair::Pair;
use crate::payloads;
use crate::peer::End;

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

/// Messages that are received many at a time are the same, and so is the end behind them.
pub(crate) async fn batches(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages = payloads::numbered(100);
    for mut pair in pairs {
        for limit in [1, 2, 7, 1000] {
            pair.near.recv_batch = Some(limit);
            pair.far.recv_batch = Some(limit);
            pair.exchange(messages.clone(), messages.clone()).await?;
        }
        pair.near.outbox.extend(messages.iter().cloned());
        pair.near.closing = Some(CloseReason::normal());
        pair.until_ended("before the end behind messages", |near, far| {
            near.closed.is_some() && far.end.is_some()
        })
        .await?;
        payloads::compare(&messages, &pair.far.inbox, true).map_err(Failure::new)?;
        for peer in [&pair.near, &pair.far] {
            if let Some(fault) = peer.bad_batch {
                return Err(Failure::new(format!("the {}: {fault}", peer.role)));
            }
        }
        if !matches!(pair.far.end, Some(End::Closed)) {
            return Err(Failure::new("no clean end behind the messages"));
        }
    }
    Ok(())
}
