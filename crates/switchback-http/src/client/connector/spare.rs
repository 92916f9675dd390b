use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Stream, Url};

/// Connections on which an HTTP exchange is over, for the next one to the same server.
///
/// So a client whose WebSocket is refused asks for an event stream on the same connection, a
/// round trip earlier (two with TLS).
#[derive(Clone, Default)]
pub(super) struct Spares(Arc<Mutex<Vec<Spare>>>);

struct Spare {
    secure: bool,
    authority: String,
    stream: Stream,
    since: Instant,
}

/// Few: one refusal is followed by one other try.
const MAX_SPARES: usize = 2;
/// Servers close idle connections, the strictest after a few seconds.
const MAX_AGE: Duration = Duration::from_secs(3);

impl Spares {
    pub(super) fn put(&self, url: &Url, stream: Stream) {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() >= MAX_SPARES {
            spares.remove(0);
        }
        spares.push(Spare {
            secure: url.is_secure(),
            authority: url.authority().to_owned(),
            stream: stream.reused(),
            since: Instant::now(),
        });
    }

    pub(super) fn take(&self, url: &Url) -> Option<Stream> {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares.retain(|spare| spare.since.elapsed() < MAX_AGE);
        let index = spares.iter().position(|spare| {
            spare.secure == url.is_secure() && spare.authority == url.authority()
        })?;
        Some(spares.swap_remove(index).stream)
    }
}

impl fmt::Debug for Spares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("Spares").field(&spares.len()).finish()
    }
}
