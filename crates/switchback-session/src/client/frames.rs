//! What comes from the server, frame by frame.

use std::time::Instant;

use switchback_core::Message;

use super::attachment::{Attachment, Role};
use super::{ClientEvent, ClientSession, FailureWhy};
use crate::delivery::Tally;
use crate::{ClosedBy, Control, Frame, ProtocolError};

impl ClientSession {
    /// Tells whether the messages that come on an attachment may be counted in a [`Tally`]; see
    /// [`ServerSession::may_tally`](crate::ServerSession::may_tally).
    #[inline]
    pub fn may_tally(&self, attachment: u64) -> bool {
        self.position(attachment).is_some_and(|index| {
            let Attachment { link, role, .. } = &self.links[index];
            *role != Role::Opening && self.delivery.may_tally(link)
        })
    }

    /// Messages came on an attachment where [they may be counted](Self::may_tally), and were passed on. Returns
    /// whether an [allowance](Self::allowance) from before holds on: else an acknowledgement should go first.
    #[inline]
    pub fn receive_tally(&mut self, now: Instant, attachment: u64, tally: Tally) -> bool {
        self.position(attachment).is_none_or(|index| {
            let link = &mut self.links[index].link;
            self.delivery.receive_tally(now, link, tally)
        })
    }

    /// A message came from the transport of an attachment. Returns it if it is for the application:
    /// each once and in order, whichever attachments they come on.
    ///
    /// # Errors
    ///
    /// The server broke the protocol. The session has ended (`Closed` says so); close this
    /// transport with the error's [`close_reason`](ProtocolError::close_reason).
    pub fn receive(
        &mut self,
        now: Instant,
        attachment: u64,
        message: Message,
    ) -> Result<Option<Message>, ProtocolError> {
        let Some(index) = self.position(attachment) else {
            return Ok(None);
        };
        let is_opening = self.links[index].role == Role::Opening;
        let result = if is_opening {
            self.take_first(now, index, message)
        } else {
            self.take_frame(now, index, message)
        };
        match result {
            // Whoever answers a try in a strange way: other transports may do better.
            Err(error) if self.is_attempt(attachment) => {
                self.reject(now, attachment, FailureWhy::Protocol, error.to_string());
                Ok(None)
            }
            Err(error) => {
                // The transport is the caller's to close: it has the error.
                self.links.retain(|a| a.link.number() != attachment);
                self.end(now, error.close_reason(), ClosedBy::ProtocolError);
                Err(error)
            }
            Ok(message) => Ok(message),
        }
    }

    /// Takes the first frame of an attachment, which must be `opened`.
    pub(super) fn take_first(
        &mut self,
        now: Instant,
        index: usize,
        message: Message,
    ) -> Result<Option<Message>, ProtocolError> {
        match Frame::decode(message)? {
            Frame::Control(Control::Opened(opened)) => self.accepted(now, index, opened)?,
            Frame::Unknown => {}
            _ => return Err(ProtocolError::NotOpened),
        }
        Ok(None)
    }

    /// Takes a frame of an attachment on which `opened` has come.
    pub(super) fn take_frame(
        &mut self,
        now: Instant,
        index: usize,
        message: Message,
    ) -> Result<Option<Message>, ProtocolError> {
        let link = &mut self.links[index].link;
        link.note_rx(now);
        match Frame::decode(message)? {
            Frame::Message(message) => {
                let is_new = self.delivery.receive(now, link, message.len())?;
                if is_new && self.delivery.closing.is_closing() {
                    self.extend_closing(now);
                }
                return Ok(is_new.then_some(message));
            }
            Frame::Control(Control::Ack(received)) => {
                self.delivery.acknowledged(received)?;
                self.extend_closing(now);
            }
            Frame::Control(Control::Selected(received)) => {
                let attachment = link.number();
                self.delivery.acknowledged(received)?;
                if self.on_trial() == Some(attachment) {
                    self.take_over(now, attachment, true);
                }
                self.extend_closing(now);
            }
            Frame::Control(Control::Seq(number)) => link.set_rx(number),
            Frame::Control(Control::Ping) => link.owe_pong(),
            Frame::Control(Control::Close(close)) => {
                let reason = close.reason.clone();
                if self.delivery.peer_closes(close)? {
                    self.choice.stop_probing();
                    self.events.push_back(ClientEvent::Closing { reason });
                    self.extend_closing(now);
                    self.obey(now);
                }
            }
            Frame::Unknown => {}
            Frame::Control(control @ (Control::Opened(_) | Control::Select(_) | Control::Pong)) => {
                return Err(ProtocolError::Misplaced(control.word()));
            }
        }
        if self.delivery.closing.is_closing() {
            self.conclude(now);
        }
        Ok(None)
    }
}
