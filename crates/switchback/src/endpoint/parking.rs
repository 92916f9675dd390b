use std::collections::BTreeMap;
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
    /// By place: places rise, so the first is the oldest.
    parked: BTreeMap<u64, (Weak<Shared>, usize)>,
    bytes: usize,
    next_place: u64,
}

impl Parking {
    pub(super) fn new(max_sessions: usize, max_bytes: usize) -> Self {
        Self {
            max_sessions,
            max_bytes,
            state: Mutex::default(),
        }
    }

    /// Parks a connection that holds so many bytes, and returns its place.
    pub(super) fn park(&self, connection: &Weak<Shared>, bytes: usize) -> u64 {
        let mut evicted = Vec::new();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let place = state.next_place;
        state.next_place += 1;
        state.parked.insert(place, (connection.clone(), bytes));
        state.bytes += bytes;
        while state.parked.len() > self.max_sessions || state.bytes > self.max_bytes {
            let Some((_, (oldest, bytes))) = state.parked.pop_first() else {
                break;
            };
            state.bytes -= bytes;
            evicted.push(oldest);
        }
        drop(state);
        if !evicted.is_empty() {
            // The caller holds the lock of one connection, perhaps of one that has to go.
            tokio::spawn(async move {
                for connection in evicted.iter().filter_map(Weak::upgrade) {
                    let why =
                        CloseReason::new(CloseCode::TRY_AGAIN_LATER, "too many parked sessions");
                    connection.evict_parked(why);
                }
            });
        }
        place
    }

    /// Frees a place, if it was not taken away before.
    pub(super) fn unpark(&self, place: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = state.parked.remove(&place) {
            state.bytes -= bytes;
        }
    }
}
