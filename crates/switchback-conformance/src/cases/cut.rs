//! An end that is dropped without a close: the other one learns it, as an error.

use std::task::Poll;

use switchback_core::{CloseReason, Message};

use super::once;
use crate::case::{Failure, Outcome};
use crate::pair::Pair;
use crate::payloads;
use crate::peer::{End, Peer};

/// Waits until the far end knows that the near one is gone, and checks all it says then.
async fn lost(pair: &mut Pair<'_>) -> Outcome {
    pair.until_ended("before the other end knew of the cut", |_, far| {
        far.end.is_some()
    })
    .await?;
    check_cut(&mut pair.far).await
}

async fn check_cut(peer: &mut Peer<'_>) -> Outcome {
    if !matches!(peer.end, Some(End::Failed(_))) {
        return Err(Failure::new(format!(
            "a cut must end receiving with an error, but {peer}"
        )));
    }
    if let Some(reason) = peer.close_reason() {
        return Err(Failure::new(format!(
            "close_reason() after a cut is {reason:?}, expected None"
        )));
    }
    for _ in 0..3 {
        let again = once(peer, |transport, cx| transport.poll_recv(cx)).await?;
        if !matches!(again, Poll::Ready(Err(_))) {
            return Err(Failure::new(format!(
                "receiving again after an error gave {again:?}"
            )));
        }
    }
    let message = Message::text("too late");
    let sent = once(peer, |transport, cx| transport.poll_send(cx, &message)).await?;
    if !matches!(sent, Poll::Ready(Err(_))) {
        return Err(Failure::new(format!("sending after a cut gave {sent:?}")));
    }
    let flushed = once(peer, |transport, cx| transport.poll_flush(cx)).await?;
    let closed = once(peer, |transport, cx| {
        transport.poll_close(cx, &CloseReason::normal())
    })
    .await?;
    if flushed.is_pending() || closed.is_pending() {
        return Err(Failure::new(format!(
            "after a cut flushing gave {flushed:?} and closing gave {closed:?}: \
             they wait for something that cannot come"
        )));
    }
    Ok(())
}

pub(crate) async fn idle(pairs: Vec<Pair<'_>>) -> Outcome {
    for mut pair in pairs {
        // Both have been at work, so that the cut does not meet a handshake.
        pair.exchange(payloads::numbered(1), payloads::numbered(1))
            .await?;
        pair.near.cut();
        lost(&mut pair).await?;
    }
    Ok(())
}

/// What was sent before the cut may be lost; what arrives is the beginning of it.
pub(crate) async fn after_messages(pairs: Vec<Pair<'_>>) -> Outcome {
    let mut messages = payloads::numbered(300);
    messages.extend(payloads::slices(8, 100_000));
    for mut pair in pairs {
        pair.near.outbox.extend(messages.iter().cloned());
        pair.until("before half of the messages were sent", |near, _| {
            near.taken.len() >= messages.len() / 2
        })
        .await?;
        pair.near.cut();
        lost(&mut pair).await?;
        payloads::compare(&messages, &pair.far.inbox, false).map_err(Failure::new)?;
    }
    Ok(())
}

/// The far end has more to send than any buffer takes: it must not wait for ever.
pub(crate) async fn while_peer_sends(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages = payloads::slices(1024, 32 * 1024);
    for mut pair in pairs {
        pair.far.outbox.extend(messages.iter().cloned());
        pair.until("before the first message arrived", |near, _| {
            !near.inbox.is_empty()
        })
        .await?;
        pair.near.cut();
        lost(&mut pair).await?;
        payloads::compare(&messages, &pair.near.inbox, false).map_err(Failure::new)?;
    }
    Ok(())
}
