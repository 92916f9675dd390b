//! Carries out what the machine wants.

use std::time::Instant;

use switchback_core::{CloseCode, CloseReason, Error, ErrorKind};
use switchback_session::{Action, ClientEvent, ClosedBy, ServerEvent};

use super::{Driver, falling_short};
use crate::connection::machine::{Machine, PLAIN};
use crate::connection::outbox::Outbox;
use crate::connection::{Event, State};

impl Driver {
    /// Carries out what the machine wants.
    pub(super) fn decide(&mut self, now: Instant, outbox: &Outbox) -> bool {
        let progress = match &mut *self.machine {
            Machine::Server(_) => self.decide_server(now, outbox),
            Machine::Client(_) => self.decide_client(now),
            Machine::Plain(_) => self.decide_plain(now),
        };
        if let State::Closed(_) = self.state {
            outbox.close(true);
        }
        progress
    }

    pub(super) fn decide_server(&mut self, now: Instant, outbox: &Outbox) -> bool {
        let mut progress = false;
        while let Machine::Server(session) = &mut *self.machine
            && let Some(event) = session.poll_event()
        {
            progress = true;
            match event {
                ServerEvent::Drop { attachment, why } => self.begin_close(now, attachment, &why),
                ServerEvent::Parked => {
                    self.park_change = Some(true);
                    self.state = State::Reconnecting { since: now };
                    self.push(Event::Reconnecting);
                }
                ServerEvent::Resumed { attachment } => {
                    self.park_change = Some(false);
                    if let Some(transport) = self.kind_of(attachment) {
                        self.state = State::Open { transport };
                        self.push(Event::Resumed { transport });
                    }
                }
                ServerEvent::Carrier { attachment } => {
                    if let Some(transport) = self.kind_of(attachment) {
                        let moved = matches!(self.state, State::Open { transport: old } if old != transport);
                        self.state = State::Open { transport };
                        if moved {
                            self.push(Event::Moved { transport });
                        }
                    }
                }
                ServerEvent::Closed { reason, by } => {
                    self.park_change = Some(false);
                    self.finish(now, reason, error_kind(by));
                }
                ServerEvent::Closing { .. } => outbox.close(true),
                _ => {}
            }
        }
        progress
    }

    pub(super) fn decide_client(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Machine::Client(session) = &mut *self.machine
            && let Some(action) = session.poll_action()
        {
            progress = true;
            match action {
                Action::Start {
                    attachment,
                    kind,
                    hello,
                } => {
                    if let Some(dials) = &mut self.dials {
                        dials.start(attachment, kind, &hello);
                    }
                }
                Action::Cancel { attachment } => {
                    if let Some(dials) = &mut self.dials {
                        dials.cancel(attachment);
                    }
                    self.links.retain(|link| link.attachment != attachment);
                }
                Action::Close { attachment, why } => self.begin_close(now, attachment, &why),
                _ => {}
            }
        }
        while let Machine::Client(session) = &mut *self.machine
            && let Some(event) = session.poll_event()
        {
            progress = true;
            match event {
                ClientEvent::Open {
                    kind: transport,
                    resumed,
                    ..
                } => {
                    let again = matches!(self.state, State::Reconnecting { .. });
                    self.opened = true;
                    self.state = State::Open { transport };
                    if resumed {
                        self.push(Event::Resumed { transport });
                    } else if again {
                        self.push(Event::Opened { transport });
                    }
                }
                ClientEvent::StartedAnew {
                    why,
                    unacknowledged,
                } => {
                    session.hold_acks(self.full);
                    self.push(Event::StartedAnew {
                        why,
                        unacknowledged,
                    });
                }
                ClientEvent::Moved {
                    kind: transport, ..
                } => {
                    self.state = State::Open { transport };
                    self.push(Event::Moved { transport });
                }
                ClientEvent::Reconnecting { .. } => {
                    if let State::Open { .. } = self.state {
                        self.state = State::Reconnecting { since: now };
                        self.push(Event::Reconnecting);
                    }
                }
                ClientEvent::GaveUp { failures } => {
                    self.gave_up = Some(failures);
                    let why = CloseReason::new(CloseCode::ABNORMAL, "no transport works");
                    self.finish(now, why, Some(ErrorKind::Refused));
                }
                // The outbox stays open: what it holds goes on in a new session, if the server has
                // asked to come back.
                ClientEvent::Closing { .. } => {}
                ClientEvent::Closed { reason, by } => self.finish(now, reason, error_kind(by)),
                _ => {}
            }
            self.remember();
        }
        progress
    }

    /// Keeps what the client has learnt of the transports, for its next connection.
    pub(super) fn remember(&self) {
        if let Some(dials) = &self.dials
            && let Machine::Client(session) = &*self.machine
        {
            dials.remember(session.memory());
        }
    }

    /// A plain connection closes once everything the application sent is on its way.
    pub(super) fn decide_plain(&mut self, now: Instant) -> bool {
        let Machine::Plain(plain) = &mut *self.machine else {
            return false;
        };
        if plain.is_drained()
            && let Some(why) = plain.closing.clone()
        {
            plain.closed = true;
            self.fell_short |= plain.fell_short;
            let why = if plain.fell_short {
                falling_short(why)
            } else {
                why
            };
            self.begin_close(now, PLAIN, &why);
            self.finish(now, why, None);
            return true;
        }
        false
    }

    /// Ends the connection; what the application has not taken yet stays. The first end counts.
    pub(super) fn finish(&mut self, now: Instant, reason: CloseReason, kind: Option<ErrorKind>) {
        // However well it ended: the application is to know that messages were dropped.
        let kind = kind.or(self.fell_short.then_some(ErrorKind::TimedOut));
        let attachments: Vec<u64> = self.links.iter().map(|link| link.attachment).collect();
        for attachment in attachments {
            self.begin_close(now, attachment, &reason);
        }
        if let Some(dials) = &mut self.dials {
            dials.cancel_all();
        }
        if self.end.is_none() {
            self.end = Some(match kind {
                None => Ok(()),
                Some(kind) => Err(Error::with_message(
                    kind,
                    format!("the connection ended: {reason}"),
                )
                .with_close(reason.clone())),
            });
            self.state = State::Closed(reason);
        }
    }
}

/// Whether an end is an error to the application: a close that either side wanted is none.
fn error_kind(by: ClosedBy) -> Option<ErrorKind> {
    match by {
        ClosedBy::Local | ClosedBy::Peer => None,
        ClosedBy::Expired | ClosedBy::TimedOut => Some(ErrorKind::TimedOut),
        ClosedBy::Overflow => Some(ErrorKind::Full),
        ClosedBy::ProtocolError => Some(ErrorKind::Protocol),
        ClosedBy::Superseded | ClosedBy::Refused => Some(ErrorKind::Refused),
        _ => Some(ErrorKind::Reset),
    }
}
