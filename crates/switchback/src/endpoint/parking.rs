use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, Weak};

use switchback_core::{CloseCode, CloseReason};

use crate::connection::Shared;

/// The sessions without a transport, in the order in which they were parked, within limits of
/// number and bytes.
#[derive(Debug)]
pub(super) struct Parking {
    max_sessions: usize,
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    parked: VecDeque<(Weak<Shared>, usize)>,
    bytes: usize,
}

impl Parking {
    pub(super) fn new(max_sessions: usize, max_bytes: usize) -> Self {
        Self {
            max_sessions,
            max_bytes,
            state: Mutex::default(),
        }
    }

    pub(super) fn park(&self, connection: &Weak<Shared>, bytes: usize) {
        let mut evicted = Vec::new();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.parked.push_back((connection.clone(), bytes));
        state.bytes += bytes;
        while state.parked.len() > self.max_sessions || state.bytes > self.max_bytes {
            let Some((oldest, bytes)) = state.parked.pop_front() else {
                break;
            };
            state.bytes -= bytes;
            evicted.extend(oldest.upgrade());
        }
        drop(state);
        if !evicted.is_empty() {
            // The caller holds the lock of one connection, perhaps of one that has to go.
            tokio::spawn(async move {
                for connection in evicted {
                    let why =
                        CloseReason::new(CloseCode::TRY_AGAIN_LATER, "too many parked sessions");
                    connection.evict(why);
                }
            });
        }
    }

    pub(super) fn unpark(&self, connection: &Weak<Shared>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that come back are mostly the latest.
        let index = state
            .parked
            .iter()
            .rposition(|(parked, _)| parked.ptr_eq(connection));
        if let Some((_, bytes)) = index.and_then(|index| state.parked.remove(index)) {
            state.bytes -= bytes;
        }
    }
}
