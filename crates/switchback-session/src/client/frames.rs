//! What comes from the server, frame by frame.

use std::time::Instant;

use switchback_core::Message;

use crate::{Control, Frame, ProtocolError};

use super::{ClientEvent, ClientSession};

impl ClientSession {
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
