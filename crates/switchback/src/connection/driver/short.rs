//! The short way of a message between the application and the transport, on which nearly all go:
//! one transport is open, it tells when it was read to the end, and there is nothing to decide.
//!
//! Messages are read when the application asks for one, a few at a time, and a reply is in the
//! transport's buffer before more is read. All else goes the long way, `drive`.

use std::task::{Context, Poll};
use std::time::Instant;
use std::{iter, mem};

use switchback_core::{CloseReason, Message};
use switchback_session::Tally;

use super::{DEFERRED, Driver};
use crate::connection::batch::Batch;
use crate::connection::outbox::Outbox;

/// What came of reading.
pub(in crate::connection) enum Received {
    /// At least one message, which is in the batch.
    Messages,
    /// There is nothing more to read now.
    Drained,
    /// Something came that the long way deals with.
    Other,
}

impl Driver {
    /// Tells whether the short way is open, at the end of a drive. It stays open until somebody locks the
    /// driver to change it, while [`is_well`](Self::is_well) holds.
    pub(in crate::connection) fn is_short(&mut self) -> bool {
        let is_one = matches!(&self.links[..], [link] if link.tells);
        is_one
            && self.is_well()
            && self.takes_messages()
            && self.inbound.is_empty()
            && self.dials.as_ref().is_none_or(|dials| dials.is_idle())
    }

    /// Tells whether there is nothing to decide.
    #[inline]
    pub(in crate::connection) fn is_well(&mut self) -> bool {
        let fine = |link: &super::Link| link.failed.is_none() && link.closing.is_none();
        self.links.first().is_some_and(fine) && !self.machine.has_events()
    }

    /// Reads a few messages into an empty batch.
    #[inline]
    pub(in crate::connection) fn recv_short(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        batch: &mut Batch,
    ) -> Received {
        if !self.readable {
            return Received::Drained;
        }
        loop {
            let Some(link) = self.links.first_mut() else {
                return Received::Other;
            };
            let attachment = link.attachment;
            let machine = &mut self.machine;
            let mut failed = None;
            let mut tally = Tally::default();
            let mut take = |message| {
                if machine.may_tally(attachment) && tally.push(&message) {
                    return batch.push(message);
                }
                machine.receive_tally(now, attachment, mem::take(&mut tally));
                match machine.receive(now, attachment, message) {
                    Ok(Some(message)) => batch.push(message),
                    // Perhaps an event came of it, which belongs before the next message.
                    Ok(None) => !machine.has_events(),
                    Err(error) => {
                        failed = Some(error);
                        false
                    }
                }
            };
            let polled = link.transport.poll_recv_each(cx, &mut take);
            if !tally.is_empty() {
                machine.receive_tally(now, attachment, tally);
            }
            let how = match polled {
                Poll::Pending => {
                    self.readable = false;
                    self.buffered = false;
                    return Received::Drained;
                }
                Poll::Ready(Ok(true)) => {
                    self.buffered = link.transport.has_buffered() == Some(true);
                    if let Some(error) = failed {
                        self.begin_close(now, attachment, &error.close_reason());
                    }
                    if !batch.is_empty() {
                        return self.received(cx, now, attachment);
                    }
                    if self.is_well() {
                        continue;
                    }
                    return Received::Other;
                }
                Poll::Ready(Ok(false)) => {
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

    /// There are messages: acknowledges them if that is due.
    ///
    /// An application that receives without end must not keep its peer waiting for the
    /// acknowledgement; but if it replies, that leaves with the replies.
    #[inline]
    fn received(&mut self, cx: &mut Context<'_>, now: Instant, attachment: u64) -> Received {
        if !self.machine.may_send(now, attachment) && self.machine.is_owing(now, attachment) {
            self.transmit(cx, now, 0, &mut iter::empty());
            if self.deferred == 0 {
                self.flush(cx);
            }
        }
        Received::Messages
    }

    /// Sends a message, which is to be flushed; gives it back where there is no room, or where the machine takes
    /// none. `Ok(false)`: the long way is to be taken. What was published before has been
    /// [read](Self::read_ahead).
    #[inline]
    pub(in crate::connection) fn send_short(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        message: Message,
    ) -> Result<bool, Message> {
        let Some(link) = self.links.first_mut() else {
            return Err(message);
        };
        let cost = message.len() + 1;
        let taken = self.machine.takes(now, link.attachment, &message) && link.take(cx, &message);
        if taken {
            self.machine.sent(now, link.attachment, message);
        } else {
            self.send_behind(cx, now, message)?;
        }
        self.deferred += cost;
        Ok(taken || self.is_well())
    }

    /// Sends what goes before a message, and the message; keeps what the transport has no room for.
    #[cold]
    fn send_behind(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        message: Message,
    ) -> Result<(), Message> {
        let mut message = Some(message);
        self.transmit(cx, now, 0, &mut iter::from_fn(|| message.take()));
        message.map_or(Ok(()), |message| self.machine.send(message))
    }

    /// Tells whether what was sent is to be flushed with what is sent next: there is `more` that was
    /// received and may be replied to in the same write.
    #[inline]
    pub(in crate::connection) fn may_linger(&self, more: bool) -> bool {
        (more || self.buffered) && self.deferred < DEFERRED
    }

    /// Flushes what was sent. `false`: the long way is to be taken.
    pub(in crate::connection) fn flush_short(&mut self, cx: &mut Context<'_>) -> bool {
        self.flush(cx) && self.is_well()
    }

    /// Tells whether somebody else may have something to send.
    #[inline]
    pub(in crate::connection) fn has_sent(&self, outbox: &Outbox) -> bool {
        self.subscribed || outbox.is_queued()
    }

    /// Gives the transport what others have sent. `false`: there was no room for all of it, and the
    /// long way is to be taken.
    pub(in crate::connection) fn transmit_short(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        outbox: &Outbox,
    ) -> bool {
        loop {
            if self.published.is_sent_next(outbox) {
                self.stage(outbox);
                self.transmit_staged(cx, now, 0, outbox);
                // They are to be flushed, with the replies to what is read now.
                self.deferred += 1;
            }
            if !self.staged.is_empty() {
                return false;
            }
            if self.subscribed && !self.transmit_published(cx, now, 0, outbox) {
                return false;
            }
            if !self.published.is_sent_next(outbox) {
                return true;
            }
        }
    }

    /// Writes what is left to write before the application waits. `false`: the long way is to be
    /// taken.
    #[inline]
    pub(in crate::connection) fn rest_short(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(link) = self.links.first() else {
            return false;
        };
        let is_flushed = self.deferred == 0 && !link.unflushed;
        let settled = self.machine.is_settled(now);
        debug_assert!(!settled || !self.machine.is_owing(now, link.attachment));
        if !settled && self.machine.is_owing(now, link.attachment) {
            self.transmit(cx, now, 0, &mut iter::empty());
        } else if is_flushed {
            return self.is_well();
        }
        self.flush_short(cx)
    }
}
