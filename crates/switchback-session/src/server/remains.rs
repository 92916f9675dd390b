use std::fmt;

use super::tokens::Tokens;
use crate::{SessionId, Token, Why};

/// What is worth keeping of a session that the server gave up, for its client to learn why.
///
/// The owner of the sessions keeps as many of these as it likes, and asks them when a resume names
/// a session that it does not have.
#[derive(Clone)]
pub struct Remains {
    pub(super) session: SessionId,
    pub(super) tokens: Tokens,
    pub(super) why: Why,
}

impl Remains {
    /// Returns the id of the session.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// Tells why the session has ended, to whoever has a token that would have resumed it; everybody
    /// else gets the answer for a session that never was, [`Why::Unknown`]. Tokens are compared in
    /// constant time.
    pub fn why(&self, token: &Token) -> Why {
        if self.tokens.accept(token) {
            self.why
        } else {
            Why::Unknown
        }
    }
}

impl fmt::Debug for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remains")
            .field("session", &self.session)
            .field("why", &self.why)
            .finish_non_exhaustive()
    }
}
