//! Attachments that open: which of them the session goes on with.

use std::time::{Duration, Instant};

use switchback_core::CloseReason;

use crate::config::bounded;
use crate::delivery::AckPolicy;
use crate::{Opened, ProtocolError, Why};

use super::{Action, ClientEvent, ClientSession, Failure, FailureWhy, Role};

/// The shortest silence that a server can ask its client to take for death.
const MIN_SILENCE: Duration = Duration::from_secs(1);

/// How long a `select` that decides nothing waits for a first message. Applications send that when
/// they learn that they are connected; whoever has nothing to say then will not notice.
const SELECT_DELAY: Duration = Duration::from_millis(50);

impl ClientSession {
    /// The server has accepted an attachment: decides for it, unless it leads to another session
    /// than the one that goes on elsewhere.
    pub(super) fn accepted(
        &mut self,
        now: Instant,
        index: usize,
        opened: Opened,
    ) -> Result<(), ProtocolError> {
        let attachment = self.links[index].link.number();
        let goes_on = opened.session == self.id && (self.token.is_none() || opened.resumed);
        if !goes_on && self.token.is_none() {
            return Err(ProtocolError::BadControl("opened"));
        }
        if !goes_on && self.current.is_some() {
            // Another server, perhaps, that knows nothing of the session.
            let text = "the session is not known there";
            self.reject(now, attachment, FailureWhy::Unknown, text.to_owned());
            return Ok(());
        }
        if !goes_on && self.is_closing() {
            // The server has ended it already. Nobody wants the new one.
            let complete = self.hear_of_the_end(&opened);
            self.choice.forget(attachment);
            self.turn_away(attachment);
            self.finish(now, None, complete);
            return Ok(());
        }
        if goes_on {
            let expected = self.delivery.received() + 1;
            if opened.next == 0 || opened.next > expected {
                let number = opened.next;
                return Err(ProtocolError::Gap { expected, number });
            }
            self.delivery.acknowledged(opened.received)?;
        } else {
            if opened.next != 1 || opened.received != 0 {
                return Err(ProtocolError::BadControl("opened"));
            }
            self.hear_of_the_end(&opened);
            self.start_anew(opened.session, opened.why.unwrap_or(Why::Unknown));
        }
        let resumed = goes_on && self.token.is_some();
        self.token = Some(opened.token);
        self.silence = bounded(opened.timeout.max(MIN_SILENCE));
        self.delivery.set_ack_policy(AckPolicy::of_client(
            opened.ack_messages.max(1),
            opened.ack_bytes.max(1),
            bounded(opened.ack_delay),
        ));
        // Where the server may know of another attachment, now or later, `select` decides something.
        let is_alone = self.links.len() == 1 && self.choice.is_alone(attachment);
        let link = &mut self.links[index].link;
        link.set_positions(opened.next, opened.received + 1);
        link.owe_select(is_alone.then(|| now + SELECT_DELAY));
        if self.current.is_some() {
            self.links[index].role = Role::Trial;
            self.choice.try_out(now, &self.config, attachment);
        } else {
            self.take_over(now, attachment, resumed);
        }
        Ok(())
    }

    /// Learns how far the session had come that does not go on, where the server tells it. Returns
    /// whether it was closed, and each side has everything that the other sent.
    fn hear_of_the_end(&mut self, opened: &Opened) -> bool {
        let everything = opened.ended.map(|ended| self.delivery.ended(ended));
        everything == Some(true) && opened.why == Some(Why::Closed)
    }

    /// Goes on with an attachment; the one in use so far delivers what is under way on it.
    pub(super) fn take_over(&mut self, now: Instant, attachment: u64, resumed: bool) {
        let until = now + self.config.session().close_timeout();
        let mut kind = None;
        for attached in &mut self.links {
            if attached.role == Role::Current {
                attached.role = Role::Retiring { until };
            } else if attached.link.number() == attachment {
                kind = Some(attached.kind);
                attached.role = Role::Current;
                attached.link.note_rx(now);
                // The first check of silence; it sets the next.
                attached.link.is_alive(now, self.silence);
            }
        }
        let Some(kind) = kind else {
            return;
        };
        let event = match self.current.replace(attachment) {
            Some(from) => {
                // The server takes nothing more from the other one: so it may have lost the last.
                self.delivery.owe_ack();
                ClientEvent::Moved {
                    from,
                    to: attachment,
                    kind,
                }
            }
            None => ClientEvent::Open {
                attachment,
                kind,
                resumed,
            },
        };
        self.events.push_back(event);
        let (config, entropy) = (&self.config, &mut *self.entropy);
        self.choice.settle(now, config, entropy, attachment);
        if self.delivery.closing.is_closing() {
            self.choice.stop_probing();
            self.extend_closing(now);
        }
        self.obey(now);
    }

    /// Gives up an attachment that has opened and is not what was wanted.
    pub(super) fn reject(&mut self, now: Instant, attachment: u64, why: FailureWhy, text: String) {
        let Some(index) = self.position(attachment) else {
            return;
        };
        let kind = self.links[index].kind;
        self.turn_away(attachment);
        self.failed(now, attachment, Failure::new(kind, why, text));
    }

    fn turn_away(&mut self, attachment: u64) {
        self.drop_attempt(attachment);
        // A clean close, so that the server does not keep a session for nobody.
        self.actions.push_back(Action::Close {
            attachment,
            why: CloseReason::normal(),
        });
    }
}
