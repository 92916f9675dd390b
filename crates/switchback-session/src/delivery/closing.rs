use std::time::{Duration, Instant};

use switchback_core::CloseReason;

use crate::{Close, ClosedBy};

/// How far the closing handshake has come (`docs/protocol.md`, 3.7). One pointer while neither side has
/// begun, since every message looks here.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    begun: Option<Box<Begun>>,
}

#[derive(Debug, Default)]
struct Begun {
    by_peer: bool,
    local: Option<(CloseReason, Option<Duration>)>,
    peer: Option<Close>,
    /// When to give up, unless there is progress; and whatever happens.
    until: Option<Instant>,
    at_last: Option<Instant>,
}

impl Closing {
    /// This side closes. `false`: it was closing already.
    pub(crate) fn begin(&mut self, reason: CloseReason, reconnect: Option<Duration>) -> bool {
        if self.is_closing() {
            return false;
        }
        self.begun.get_or_insert_default().local = Some((reason, reconnect));
        true
    }

    /// The peer closes. `false`: it did so before, on another attachment.
    pub(crate) fn peer_closes(&mut self, close: Close) -> bool {
        let begun = self.begun.get_or_insert_default();
        if begun.peer.is_some() {
            return false;
        }
        begun.by_peer = begun.local.is_none();
        begun.peer = Some(close);
        true
    }

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.begun.is_some()
    }

    /// Tells whether the peer closed first.
    pub(crate) fn by_peer(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.by_peer)
    }

    /// Returns why this side closes, if it does of its own accord.
    pub(crate) fn local(&self) -> Option<&CloseReason> {
        let (reason, _) = self.begun.as_ref()?.local.as_ref()?;
        Some(reason)
    }

    pub(crate) fn peer(&self) -> Option<&Close> {
        self.begun.as_ref()?.peer.as_ref()
    }

    /// Returns the `close` that this side sends: its own, or the peer's in return.
    pub(crate) fn outgoing(&self, sent: u64) -> Option<Close> {
        let begun = self.begun.as_ref()?;
        let (reason, reconnect) = match (&begun.local, &begun.peer) {
            (Some((reason, reconnect)), _) => (reason.clone(), *reconnect),
            (None, Some(peer)) => (peer.reason.clone(), None),
            (None, None) => return None,
        };
        Some(Close {
            reason,
            sent,
            reconnect,
        })
    }

    /// Returns why the session ends and who ended it.
    pub(crate) fn outcome(&self, complete: bool) -> Option<(CloseReason, ClosedBy)> {
        let begun = self.begun.as_ref()?;
        match (&begun.local, &begun.peer) {
            (_, Some(peer)) if begun.by_peer => Some((peer.reason.clone(), ClosedBy::Peer)),
            (Some((reason, _)), _) if complete => Some((reason.clone(), ClosedBy::Local)),
            (Some((reason, _)), _) => Some((reason.clone(), ClosedBy::TimedOut)),
            _ => None,
        }
    }

    /// There was progress, or an attachment to make it on: waits on for `timeout`, but in all no
    /// longer than `max`, so that a peer that trickles cannot hold the session.
    pub(crate) fn extend(&mut self, now: Instant, timeout: Duration, max: Duration) {
        if let Some(begun) = &mut self.begun {
            let at_last = *begun.at_last.get_or_insert(now + max.max(timeout));
            begun.until = Some(at_last.min(now + timeout));
        }
    }

    /// No attachment is left: somebody else keeps the time.
    pub(crate) fn suspend(&mut self) {
        if let Some(begun) = &mut self.begun {
            begun.until = None;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.begun.as_ref()?.until
    }
}
