//! The short way of a message between the application and the transport, on which nearly all go:
//! one transport is open, it tells when it was read to the end, and there is nothing to decide.
//!
//! No message waits in a queue on it: each is read when the application asks for it, and its reply
//! is in the transport's buffer before the next one is read. All else goes the long way, `drive`.

use std::iter;
use std::task::{Context, Poll};
use std::time::Instant;

use switchback_core::{CloseReason, Message};

use super::{DEFERRED, Driver};
use crate::client::Dials;

/// What came of reading.
pub(in crate::connection) enum Received {
    Message(Message),
    /// There is nothing more to read now.
    Drained,
    /// Something came that the long way deals with.
    Other,
}

impl Driver {
    #[inline]
    pub(in crate::connection) fn is_short(&self) -> bool {
        let [link] = &self.links[..] else {
            return false;
        };
        link.tells
            && link.closing.is_none()
            && link.failed.is_none()
            && self.takes_messages()
            && self.inbound.is_empty()
            && self.dials.as_ref().is_none_or(Dials::is_idle)
            && !self.machine.has_events()
    }

    /// Reads one message.
    pub(in crate::connection) fn recv_short(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Received {
        if !self.readable {
            return Received::Drained;
        }
        let Some(link) = self.links.first_mut() else {
            return Received::Other;
        };
        loop {
            let attachment = link.attachment;
            let how = match link.transport.poll_recv(cx) {
                Poll::Pending => {
                    self.readable = false;
                    return Received::Drained;
                }
                Poll::Ready(Ok(Some(message))) => {
                    match self.machine.receive(now, attachment, message) {
                        Ok(Some(message)) => {
                            self.acknowledge_short(cx, now);
                            return Received::Message(message);
                        }
                        Ok(None) if !self.machine.has_events() => continue,
                        Ok(None) => {}
                        Err(error) => self.begin_close(now, attachment, &error.close_reason()),
                    }
                    return Received::Other;
                }
                Poll::Ready(Ok(None)) => {
                    let clean = link.transport.close_reason().cloned();
                    Ok(clean.unwrap_or_else(CloseReason::normal))
                }
                Poll::Ready(Err(error)) => Err(error),
            };
            self.links.clear();
            self.ended(now, attachment, Some(how));
            return Received::Other;
        }
    }

    /// An application that receives without end must not keep its peer waiting for the
    /// acknowledgement; but if it replies, that leaves with the replies.
    fn acknowledge_short(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.machine.is_ack_due(now) {
            self.transmit(cx, now, 0, &mut iter::empty());
            if self.deferred == 0 {
                self.flush(cx);
            }
        }
    }

    /// Sends a message; gives it back where it is not its turn or there is no room. It is flushed
    /// unless more was received that may be replied to in the same write. `Ok(false)`: the long way
    /// is to be gone.
    pub(in crate::connection) fn send_short(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        message: Message,
    ) -> Result<bool, Message> {
        if !self.takes_messages() {
            return Err(message);
        }
        self.deferred += message.len() + 1;
        let mut message = Some(message);
        self.transmit(cx, now, 0, &mut iter::from_fn(|| message.take()));
        if let Some(message) = message {
            self.machine.send(message)?;
        }
        let more = self.links[0].transport.has_buffered() == Some(true);
        let done = (more && self.deferred < DEFERRED) || self.flush(cx);
        Ok(done && self.is_well())
    }

    /// Writes what is left to write before the application waits. `false`: the long way is to be
    /// gone.
    pub(in crate::connection) fn rest_short(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        self.transmit(cx, now, 0, &mut iter::empty());
        self.flush(cx) && self.is_well()
    }

    /// Tells whether the short way is still the right one.
    fn is_well(&self) -> bool {
        self.links[0].failed.is_none() && !self.machine.has_events()
    }
}
