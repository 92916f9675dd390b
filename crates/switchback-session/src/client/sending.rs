//! What the application sends, and all else that goes to the server.

use std::time::Instant;

use switchback_core::Message;

use super::ClientSession;
use crate::delivery::{Allowance, Delivery, Ledger, Link};

impl ClientSession {
    /// Offers to `take` what is to go onto the transport of an attachment, one message after the
    /// other, until nothing is left or `take` refuses one by `false`: that one is offered again the
    /// next time, unless something else has become more urgent.
    pub fn transmit(&mut self, now: Instant, attachment: u64, take: impl FnMut(&Message) -> bool) {
        self.transmit_from(now, attachment, &mut std::iter::empty(), take);
    }

    /// [Sends](Self::send) messages and [transmits](Self::transmit) them at once, in one go. Takes no
    /// more out of the iterator than there is room for, and nothing where the attachment does not
    /// carry messages: [`send_from`](Self::send_from) takes what is left as far as it can be kept.
    #[inline]
    pub fn transmit_from(
        &mut self,
        now: Instant,
        attachment: u64,
        messages: &mut impl Iterator<Item = Message>,
        take: impl FnMut(&Message) -> bool,
    ) {
        let Some(index) = self.position(attachment) else {
            return;
        };
        let is_carrier = self.current == Some(attachment);
        let link = &mut self.links[index].link;
        self.delivery
            .transmit(now, link, is_carrier, messages, take);
        if self.delivery.closing.is_closing() {
            self.conclude(now);
        }
    }

    /// Tells how many messages may be sent on an attachment at once: send each, then tell of it by
    /// [`sent`](Self::sent), or enter it in a [`Ledger`] where it came from a broadcast. That is what
    /// [`transmit_from`](Self::transmit_from) does with most of them, in a few steps. None where something else
    /// goes first, there is no room, or the attachment does not carry messages.
    ///
    /// It holds until [`receive_tally`](Self::receive_tally) tells otherwise, or anything but that,
    /// [`sent`](Self::sent) and [`settle`](Self::settle) is called that may change the session. Ask again when the
    /// [`deadline`](Self::deadline) has passed: an acknowledgement may have become due.
    #[inline]
    pub fn allowance(&self, now: Instant, attachment: u64) -> Allowance {
        match self.position(attachment) {
            Some(index) if self.current == Some(attachment) => {
                self.delivery.allowance(now, &self.links[index].link)
            }
            _ => Allowance::NONE,
        }
    }

    /// Numbers a message that was sent on an attachment because it was [allowed](Self::allowance), and
    /// keeps it until it is acknowledged. On one that does not carry messages it does nothing.
    #[inline]
    pub fn sent(&mut self, now: Instant, attachment: u64, message: Message) {
        if let Some((delivery, link)) = self.carrying(attachment) {
            delivery.sent(now, link, message);
        } else {
            debug_assert!(false, "sent where it was not allowed");
        }
    }

    /// Numbers what was sent of broadcasts on an attachment because it was [allowed](Self::allowance), keeps it
    /// until it is acknowledged, and empties the ledger. On an attachment that does not carry messages it
    /// only empties it.
    ///
    /// Until then the session does not know of it. Settle before anything is called that changes the session,
    /// or tells what was sent, or how much room there is: also before [`sent`](Self::sent),
    /// [`receive_tally`](Self::receive_tally), [`unacknowledged`](Self::unacknowledged)
    /// and [`allowance`](Self::allowance).
    pub fn settle(&mut self, attachment: u64, ledger: &mut Ledger) {
        if let Some((delivery, link)) = self.carrying(attachment) {
            delivery.settle(link, ledger);
        } else {
            debug_assert!(ledger.is_empty(), "sent where it was not allowed");
            *ledger = Ledger::default();
        }
    }

    /// Returns what sends on an attachment, if that carries messages.
    #[inline]
    fn carrying(&mut self, attachment: u64) -> Option<(&mut Delivery, &mut Link)> {
        let index = self.position(attachment)?;
        let carries = self.current == Some(attachment);
        carries.then(|| (&mut self.delivery, &mut self.links[index].link))
    }

    /// Withholds acknowledgements, or lets them go again. The peer's replay buffer fills, and it stops
    /// sending: for a driver whose application is slow. It should go on reading all the same, as far
    /// as it can keep what comes, because what the application itself waits for, the acknowledgement
    /// of its messages, may be behind the peer's.
    pub fn hold_acks(&mut self, held: bool) {
        self.delivery.hold_acks(held);
    }

    /// Tells whether [`transmit`](Self::transmit) has anything to offer for an attachment: a message for
    /// which there was no room, or an acknowledgement for which the peer waits. For drivers that put
    /// off calling it.
    #[inline]
    pub fn is_owing(&self, now: Instant, attachment: u64) -> bool {
        self.position(attachment)
            .is_some_and(|index| self.delivery.is_owing(now, &self.links[index].link))
    }

    /// When an acknowledgement is due: the part of the [`deadline`](Self::deadline) that a message of
    /// the peer's application can move ahead.
    #[inline]
    pub fn ack_deadline(&self) -> Option<Instant> {
        self.delivery.deadline()
    }

    /// Numbers a message and keeps it until the server has acknowledged it, also while the client
    /// connects or reconnects.
    ///
    /// # Errors
    ///
    /// Gives the message back when the replay buffer is full or the session is closing: when
    /// [`is_writable`](Self::is_writable) is `false`.
    pub fn send(&mut self, message: Message) -> Result<(), Message> {
        if self.closed {
            return Err(message);
        }
        self.delivery.send(message)
    }

    /// [Sends](Self::send) messages for as long as there is room; takes no more out of the iterator.
    pub fn send_from(&mut self, messages: &mut impl Iterator<Item = Message>) {
        if !self.closed {
            self.delivery.send_from(messages);
        }
    }

    /// Tells whether [`send`](Self::send) would take a message. While the server ends a session and
    /// has asked to come back for a new one, it would not, but will again.
    pub fn is_writable(&self) -> bool {
        !self.closed && self.delivery.is_writable()
    }

    /// Returns how many messages, and how many bytes, may wait for their acknowledgement. The peer's
    /// buffer is as large unless it was configured otherwise.
    pub fn window(&self) -> (usize, usize) {
        self.delivery.outbox.window()
    }

    /// Returns how many messages, and how many bytes, wait for their acknowledgement.
    pub fn unacknowledged(&self) -> (usize, usize) {
        self.delivery.outbox.size()
    }

    /// Takes out what was not acknowledged when the session ended: every message that the server
    /// has not received, and perhaps some that it has. Empty before the end.
    pub fn take_unacknowledged(&mut self) -> Vec<Message> {
        if self.closed {
            self.delivery.outbox.drain()
        } else {
            Vec::new()
        }
    }
}
