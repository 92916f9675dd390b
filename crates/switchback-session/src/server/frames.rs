//! What comes from the client, frame by frame.

use std::time::Instant;

use switchback_core::Message;

use super::{ServerEvent, ServerSession};
use crate::delivery::Tally;
use crate::{ClosedBy, Control, Frame, ProtocolError};

impl ServerSession {
    /// Tells whether the messages that come on an attachment may be counted in a [`Tally`] and passed on,
    /// in place of giving each to [`receive`](Self::receive): what that does with most of them, in a few
    /// steps. It holds until anything but [`receive_tally`](Self::receive_tally), [`sent`](Self::sent) and
    /// [`settle`](Self::settle) is called. What the tally does not count goes to [`receive`](Self::receive), after the tally.
    #[inline]
    pub fn may_tally(&self, attachment: u64) -> bool {
        self.position(attachment)
            .is_some_and(|index| self.delivery.may_tally(&self.links[index]))
    }

    /// Messages came on an attachment where [they may be counted](Self::may_tally), and were passed on.
    /// Returns whether an [allowance](Self::allowance) from before holds on: else an acknowledgement should
    /// go first.
    #[inline]
    pub fn receive_tally(&mut self, now: Instant, attachment: u64, tally: Tally) -> bool {
        self.position(attachment).is_none_or(|index| {
            let link = &mut self.links[index];
            self.delivery.receive_tally(now, link, tally)
        })
    }

    /// A message came from the transport of an attachment. Returns it if it is for the application:
    /// each once and in order, whichever attachments they come on.
    ///
    /// # Errors
    ///
    /// The client broke the protocol. The session has ended (`Closed` says so); close this
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
        let result = self.take_frame(now, index, message);
        if let Err(error) = &result {
            // The transport is the caller's to close: it has the error.
            if let Some(index) = self.position(attachment) {
                self.links.remove(index);
            }
            self.end(error.close_reason(), ClosedBy::ProtocolError);
        }
        result
    }

    fn take_frame(
        &mut self,
        now: Instant,
        index: usize,
        message: Message,
    ) -> Result<Option<Message>, ProtocolError> {
        let link = &mut self.links[index];
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
            Frame::Control(Control::Select(received)) => {
                self.delivery.acknowledged(received)?;
                link.owe_selected();
                let number = link.number();
                self.select(number);
            }
            Frame::Control(Control::Seq(number)) => link.set_rx(number),
            Frame::Control(Control::Close(close)) => {
                let reason = close.reason.clone();
                if self.delivery.peer_closes(close)? {
                    self.events.push_back(ServerEvent::Closing { reason });
                    self.extend_closing(now);
                }
            }
            Frame::Control(Control::Pong) | Frame::Unknown => {}
            Frame::Control(
                control @ (Control::Opened(_) | Control::Selected(_) | Control::Ping),
            ) => {
                return Err(ProtocolError::Misplaced(control.word()));
            }
        }
        if self.delivery.closing.is_closing() {
            self.conclude_if_complete();
        }
        Ok(None)
    }
}
