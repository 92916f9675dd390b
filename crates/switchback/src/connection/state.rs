use std::time::Instant;

use switchback_core::{CloseReason, TransportKind};
use tokio::sync::watch;

/// What a [`Connection`](crate::Connection) is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// The first transport is not open yet.
    Connecting,
    /// Messages flow.
    Open {
        /// The transport that carries them.
        transport: TransportKind,
    },
    /// No transport is open. A client tries to reconnect; a server waits for the client. Messages
    /// that are sent meanwhile are kept, up to the limits, and delivered afterwards.
    Reconnecting {
        /// When the last transport was lost.
        since: Instant,
    },
    /// The connection ended for good.
    Closed(CloseReason),
}

/// Watches the [`State`] of a connection, from any task.
#[derive(Clone, Debug)]
pub struct Watch(pub(super) watch::Receiver<State>);

impl Watch {
    /// Returns the state as it is now, and counts it as seen.
    pub fn current(&mut self) -> State {
        self.0.borrow_and_update().clone()
    }

    /// Waits for a state that was not seen yet; `None` when the connection is closed or dropped
    /// and its last state was seen.
    ///
    /// States that came and went between two calls are skipped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn changed(&mut self) -> Option<State> {
        let seen = !self.0.has_changed().unwrap_or(false);
        if seen && matches!(*self.0.borrow(), State::Closed(_)) {
            return None;
        }
        self.0.changed().await.ok()?;
        Some(self.current())
    }
}
