//! What the choice of the transport wants, done.

use std::time::Instant;

use crate::{Hello, SessionId};

use super::choice::Command;
use super::{Action, ClientEvent, ClientSession, FailureWhy};

impl ClientSession {
    /// Runs the choice machine, and does what it wants.
    pub(super) fn advance(&mut self, now: Instant) {
        let (config, entropy) = (&self.config, &mut *self.entropy);
        self.choice.advance(now, config, entropy);
        self.obey(now);
    }

    /// Does what the choice machine wants.
    pub(super) fn obey(&mut self, now: Instant) {
        while let Some(command) = self.choice.poll_command() {
            match command {
                Command::Start {
                    attachment,
                    kind,
                    fence,
                } => {
                    let hello = self.hello(attachment, fence);
                    self.actions.push_back(Action::Start {
                        attachment,
                        kind,
                        hello,
                    });
                }
                Command::Cancel { attachment } => {
                    self.drop_attempt(attachment);
                    self.actions.push_back(Action::Cancel { attachment });
                }
                Command::RoundFailed { failures, next } => {
                    if self.token.is_none() && failures.iter().any(|f| f.why == FailureWhy::Unknown)
                    {
                        // Somebody has this id already. Nothing was sent under it.
                        self.id = SessionId::random(&mut *self.entropy);
                    }
                    self.events.push_back(ClientEvent::Reconnecting {
                        failures,
                        delay: next.saturating_duration_since(now),
                    });
                }
                Command::GiveUp { failures } => {
                    self.closed = true;
                    self.events.push_back(ClientEvent::GaveUp { failures });
                }
            }
        }
    }

    fn hello(&self, attachment: u64, fence: u64) -> Hello {
        let session = self.id;
        match &self.token {
            None => Hello::New {
                session,
                attachment,
                fence,
            },
            Some(token) => Hello::Resume {
                session,
                token: token.clone(),
                attachment,
                fence,
                received: self.delivery.received(),
            },
        }
    }
}
