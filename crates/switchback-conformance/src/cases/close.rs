//! A clean close: everything sent before it arrives, then its reason, then nothing.

use std::task::Poll;

use switchback_core::{CloseCode, CloseReason, Error, Message};

use super::once;
use crate::case::{Failure, Outcome};
use crate::pair::Pair;
use crate::payloads;
use crate::peer::{End, Peer};

/// How many reasons [`reason`] tries, each on a fresh connection.
pub(crate) const REASONS: usize = 5;

/// A close that is not the default one, so that a default is noticed.
fn why() -> CloseReason {
    let code = CloseCode::new(4321).unwrap_or(CloseCode::GOING_AWAY);
    CloseReason::new(code, "the show is over")
}

/// Closes from the near end and waits until both ends know.
async fn close(pair: &mut Pair<'_>, why: CloseReason) -> Outcome {
    pair.near.closing = Some(why.clone());
    closed(pair).await?;
    check_told(&pair.far, &why)
}

/// Waits until the close of the near end is complete and the far end knows of it.
async fn closed(pair: &mut Pair<'_>) -> Outcome {
    pair.until_ended("before the close was complete", |near, far| {
        let failed = matches!(near.closed, Some(Err(_)));
        failed || near.closed.is_some() && far.end.is_some()
    })
    .await?;
    check_closer(&pair.near)
}

fn check_closer(peer: &Peer<'_>) -> Outcome {
    if let Some(error) = &peer.send_error {
        return Err(Failure::new(format!(
            "sending before the close failed: {error:?}"
        )));
    }
    match &peer.closed {
        Some(Ok(())) => Ok(()),
        other => Err(Failure::new(format!(
            "closing the {} gave {other:?}",
            peer.role
        ))),
    }
}

fn check_told(peer: &Peer<'_>, why: &CloseReason) -> Outcome {
    if !matches!(peer.end, Some(End::Closed)) {
        return Err(Failure::new(format!(
            "a clean close must end receiving with Ok(None), but {peer}"
        )));
    }
    if peer.close_reason() == Some(why) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "close_reason() of the {} is {:?}, expected {why:?}",
        peer.role,
        peer.close_reason()
    )))
}

/// `Ok(None)` is for ever.
async fn check_stays_closed(peer: &mut Peer<'_>) -> Outcome {
    for _ in 0..3 {
        let again = once(peer, |transport, cx| transport.poll_recv(cx)).await?;
        if !matches!(again, Poll::Ready(Ok(None))) {
            return Err(Failure::new(format!(
                "receiving after Ok(None) gave {again:?} on the {}",
                peer.role
            )));
        }
    }
    Ok(())
}

/// No message is taken any more.
async fn check_refuses(peer: &mut Peer<'_>) -> Outcome {
    let message = Message::text("too late");
    let sent = once(peer, |transport, cx| transport.poll_send(cx, &message)).await?;
    if matches!(&sent, Poll::Ready(Err(error)) if error.is_closed()) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "sending on the {} after a close gave {sent:?}, expected an error of kind Closed",
        peer.role
    )))
}

pub(crate) async fn after_messages(pairs: Vec<Pair<'_>>) -> Outcome {
    let mut messages = payloads::numbered(500);
    messages.extend(payloads::slices(4, 100_000));
    for mut pair in pairs {
        pair.near.outbox.extend(messages.iter().cloned());
        close(&mut pair, why()).await?;
        payloads::compare(&messages, &pair.far.inbox, true).map_err(Failure::new)?;
        check_stays_closed(&mut pair.far).await?;
    }
    Ok(())
}

/// Codes and texts that a URL, JSON or a WebSocket frame might change.
pub(crate) async fn reason(pairs: Vec<Pair<'_>>) -> Outcome {
    let reasons: [CloseReason; REASONS] = [
        CloseReason::normal(),
        CloseReason::from(CloseCode::GOING_AWAY),
        CloseReason::new(CloseCode::SERVICE_RESTART, "a b&c=d%20+e;\"f\"\\/#?"),
        CloseReason::new(CloseCode::POLICY_VIOLATION, " é€\u{1f600}\r\n\0 "),
        CloseReason::new(why().code(), "x".repeat(CloseReason::MAX_REASON)),
    ];
    for (mut pair, reason) in pairs.into_iter().zip(reasons) {
        close(&mut pair, reason).await?;
        check_stays_closed(&mut pair.far).await?;
    }
    Ok(())
}

/// A second close is harmless, and its reason does not count.
pub(crate) async fn twice(pairs: Vec<Pair<'_>>) -> Outcome {
    let other = CloseReason::new(CloseCode::INTERNAL_ERROR, "another one");
    for (number, mut pair) in pairs.into_iter().enumerate() {
        if number == 0 {
            // The second one while the first is under way.
            let first = once(&mut pair.near, |transport, cx| {
                transport.poll_close(cx, &why())
            })
            .await?;
            if let Poll::Ready(Err(error)) = first {
                return Err(Failure::new(format!("the first close gave {error:?}")));
            }
            pair.near.closing = Some(other.clone());
            closed(&mut pair).await?;
            check_told(&pair.far, &why())?;
        } else {
            close(&mut pair, why()).await?;
        }
        for peer in [&mut pair.near, &mut pair.far] {
            for _ in 0..2 {
                let again = once(peer, |transport, cx| transport.poll_close(cx, &other)).await?;
                if !matches!(again, Poll::Ready(Ok(()))) {
                    return Err(Failure::new(format!(
                        "closing the {} after the end gave {again:?}, expected Ready(Ok)",
                        peer.role
                    )));
                }
            }
        }
        check_told(&pair.far, &why())?;
    }
    Ok(())
}

/// Both ends close at the same time.
pub(crate) async fn both(pairs: Vec<Pair<'_>>) -> Outcome {
    for mut pair in pairs {
        pair.near.closing = Some(why());
        pair.far.closing = Some(CloseReason::new(CloseCode::GOING_AWAY, "me too"));
        pair.until_ended("before both closes were complete", |near, far| {
            near.closed.is_some() && far.closed.is_some()
        })
        .await?;
        check_closer(&pair.near)?;
        check_closer(&pair.far)?;
    }
    Ok(())
}

/// What is on its way to the closing end is dropped, and neither blocks nor breaks the close.
pub(crate) async fn while_peer_sends(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages = payloads::slices(64, 32 * 1024);
    for mut pair in pairs {
        pair.far.outbox.extend(messages.iter().cloned());
        pair.until("before the first message arrived", |near, _| {
            !near.inbox.is_empty()
        })
        .await?;
        close(&mut pair, why()).await?;
        payloads::compare(&messages, &pair.near.inbox, false).map_err(Failure::new)?;
    }
    Ok(())
}

/// An application drops its end as soon as it was told of the close: the other end's close is
/// complete all the same.
pub(crate) async fn then_peer_drops(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages = payloads::numbered(10);
    for mut pair in pairs {
        pair.near.outbox.extend(messages.iter().cloned());
        pair.near.closing = Some(why());
        pair.until_ended("before the other end was told of the close", |_, far| {
            far.end.is_some()
        })
        .await?;
        check_told(&pair.far, &why())?;
        pair.far.cut();
        pair.until_ended("before the close was complete", |near, _| {
            near.closed.is_some()
        })
        .await?;
        check_closer(&pair.near)?;
        payloads::compare(&messages, &pair.far.inbox, true).map_err(Failure::new)?;
    }
    Ok(())
}

/// After a close, and from its first call on, neither end sends, and no method hangs or panics.
pub(crate) async fn send_after(pairs: Vec<Pair<'_>>) -> Outcome {
    for mut pair in pairs {
        let begun = once(&mut pair.near, |transport, cx| {
            transport.poll_close(cx, &why())
        })
        .await?;
        if let Poll::Ready(Err(error)) = begun {
            return Err(Failure::new(format!("the close gave {error:?}")));
        }
        check_refuses(&mut pair.near).await?;
        close(&mut pair, why()).await?;
        check_refuses(&mut pair.near).await?;
        check_refuses(&mut pair.far).await?;
        check_stays_closed(&mut pair.far).await?;
        if let Some(message) = pair.far.inbox.first() {
            return Err(Failure::new(format!(
                "a refused message arrived: {message:?}"
            )));
        }
        for peer in [&mut pair.near, &mut pair.far] {
            let recv = once(peer, |transport, cx| transport.poll_recv(cx)).await?;
            check_over(peer, "receiving", &recv.map_ok(|message| message.is_some()))?;
            let flush = once(peer, |transport, cx| transport.poll_flush(cx)).await?;
            check_over(peer, "flushing", &flush.map_ok(|()| false))?;
        }
    }
    Ok(())
}

/// Whether a call after the end gives `Ok` or an error is the transport's choice. That it gives
/// something is not.
fn check_over(peer: &Peer<'_>, what: &str, result: &Poll<Result<bool, Error>>) -> Outcome {
    match result {
        Poll::Ready(Ok(true)) => Err(Failure::new(format!(
            "{what} on the {} after a close gave a message",
            peer.role
        ))),
        Poll::Ready(_) => Ok(()),
        Poll::Pending => Err(Failure::new(format!(
            "{what} on the {} after a close waits for something that cannot come",
            peer.role
        ))),
    }
}
