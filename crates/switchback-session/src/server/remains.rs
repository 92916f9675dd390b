use std::fmt;

use super::tokens::Tokens;
use crate::{Ended, SessionId, Token, Why};

/// What is worth keeping of a session that has ended, for its client to learn why and how far it
/// had come.
///
/// The owner of the sessions keeps as many of these as it likes, and asks them when a resume names
/// a session that it does not have.
#[derive(Clone)]
pub struct Remains {
    pub(super) session: SessionId,
    pub(super) tokens: Tokens,
    pub(super) gone: Gone,
}

/// Why a session is gone: what its client is told in the `opened` of another one.
///
/// Made of a [`Why`] where nothing else is known, or by [`Remains::gone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    pub(super) why: Why,
    pub(super) ended: Option<Ended>,
}

impl Remains {
    /// Returns the id of the session.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// Tells whether the client has closed the session: then it needs this for a moment only, should
    /// the confirmation be lost.
    pub fn is_closed(&self) -> bool {
        self.gone.why == Why::Closed
    }

    /// Tells why the session has ended, to whoever has a token that would have resumed it; everybody
    /// else gets the answer for a session that never was, [`Why::Unknown`]. Tokens are compared in
    /// constant time.
    pub fn gone(&self, token: &Token) -> Gone {
        if self.tokens.accept(token) {
            self.gone
        } else {
            Why::Unknown.into()
        }
    }
}

impl Gone {
    /// Returns why.
    pub fn why(&self) -> Why {
        self.why
    }
}

impl From<Why> for Gone {
    fn from(why: Why) -> Self {
        Self { why, ended: None }
    }
}

impl fmt::Debug for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remains")
            .field("session", &self.session)
            .field("gone", &self.gone)
            .finish_non_exhaustive()
    }
}
