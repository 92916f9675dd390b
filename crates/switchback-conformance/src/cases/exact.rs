//! Every message arrives bit for bit, as the kind that it was sent as.

use std::task::Poll;

use switchback_core::Message;

use super::once;
use crate::case::{Failure, Outcome};
use crate::pair::Pair;
use crate::payloads;

/// The same bytes as text and as binary stay what they are.
pub(crate) async fn kinds(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages: Vec<_> = ["a", "", "hello", "\n", "\u{0}", "YQ=="]
        .into_iter()
        .flat_map(|text| {
            [
                Message::text(text),
                Message::binary(text.as_bytes()),
                Message::text(text),
            ]
        })
        .collect();
    for mut pair in pairs {
        pair.exchange(messages.clone(), messages.clone()).await?;
    }
    Ok(())
}

pub(crate) async fn bit_exact(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages = payloads::exact();
    for mut pair in pairs {
        // One direction after the other, so that a report is about one of them.
        pair.exchange(messages.clone(), Vec::new()).await?;
        pair.exchange(Vec::new(), messages.clone()).await?;
    }
    Ok(())
}

pub(crate) async fn large(pairs: Vec<Pair<'_>>) -> Outcome {
    let messages = payloads::large();
    for mut pair in pairs {
        pair.exchange(messages.clone(), Vec::new()).await?;
        pair.exchange(Vec::new(), messages.clone()).await?;
    }
    Ok(())
}

/// `Debug` is what ends in logs: it must not print what an application sends.
pub(crate) async fn debug(pairs: Vec<Pair<'_>>) -> Outcome {
    const SECRET: &str = "do-not-print-this-payload";
    let secret = Message::text(SECRET);
    for mut pair in pairs {
        let taken = once(&mut pair.near, |transport, cx| {
            transport.poll_send(cx, &secret)
        });
        if !matches!(taken.await?, Poll::Ready(Ok(()))) {
            return Err(Failure::new("a fresh transport did not take a message"));
        }
        pair.near.taken.push(secret.clone());
        let shown = format!("{:?}", pair.near.transport());
        if shown.contains(SECRET) {
            return Err(Failure::new("Debug prints a payload in the send buffer"));
        }
        pair.finish().await?;
    }
    Ok(())
}
