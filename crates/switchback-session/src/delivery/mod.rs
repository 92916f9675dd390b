//! Exactly once and in order over any number of attachments (`docs/protocol.md`, 3.4, 3.5, 3.7):
//! what both ends have in common.
//!
//! [`Delivery`] owns what belongs to the session, each [`Link`] what belongs to one attachment.

mod ack;
mod allowance;
mod closing;
mod inbox;
mod ledger;
mod link;
mod outbox;
mod sent;
mod tally;

use std::time::Instant;

use switchback_core::Message;

pub(crate) use ack::AckPolicy;
pub use allowance::Allowance;
pub(crate) use closing::Closing;
pub use ledger::Ledger;
pub(crate) use link::Link;
use link::Select;
pub use tally::Tally;

use crate::{Close, Config, Control, Ended, ProtocolError};
use ack::Acks;
use inbox::Inbox;
use outbox::Outbox;

/// The state of a session that outlives its attachments.
#[derive(Debug)]
// What every message touches comes first.
#[repr(C)]
pub(crate) struct Delivery {
    pub(crate) closing: Closing,
    inbox: Inbox,
    acks: Acks,
    pub(crate) outbox: Outbox,
}

impl Delivery {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            outbox: Outbox::new(config),
            closing: Closing::default(),
            inbox: Inbox::default(),
            // A client is told another one when it has attached.
            acks: Acks::new(AckPolicy::of_server(config)),
        }
    }

    pub(crate) fn set_ack_policy(&mut self, policy: AckPolicy) {
        self.acks.set_policy(policy);
    }

    /// The last acknowledgement may be lost: repeats it.
    pub(crate) fn owe_ack(&mut self) {
        self.acks.owe();
    }

    /// Returns the number of the last message received.
    pub(crate) fn received(&self) -> u64 {
        self.inbox.received()
    }

    /// Numbers a message and keeps it until it is acknowledged.
    pub(crate) fn send(&mut self, message: Message) -> Result<(), Message> {
        if self.closing.is_closing() {
            return Err(message);
        }
        self.outbox.push(message)
    }

    /// Numbers and keeps messages for as long as there is room.
    pub(crate) fn send_from(&mut self, messages: &mut impl Iterator<Item = Message>) {
        if !self.closing.is_closing() {
            self.outbox.push_from(messages);
        }
    }

    pub(crate) fn is_writable(&self) -> bool {
        !self.closing.is_closing() && self.outbox.has_room()
    }

    /// The peer has received everything up to this number.
    pub(crate) fn acknowledged(&mut self, ack: u64) -> Result<(), ProtocolError> {
        let sent = self.outbox.transmitted();
        if ack > sent {
            return Err(ProtocolError::AckBeyondSent { ack, sent });
        }
        self.outbox.acknowledge(ack);
        Ok(())
    }

    /// Tells whether messages of the application that come on a link are the next, and the session is
    /// not closing: the short way.
    #[inline]
    pub(crate) fn may_tally(&self, link: &Link) -> bool {
        !self.closing.is_closing() && matches!(self.inbox.peek(link.rx), Ok(true))
    }

    /// Messages of the application came on a link where [they may be counted](Self::may_tally). Returns
    /// whether nothing is to go before messages because of them.
    #[inline]
    pub(crate) fn receive_tally(&mut self, now: Instant, link: &mut Link, tally: Tally) -> bool {
        if tally.is_empty() {
            return true;
        }
        link.note_rx(now);
        link.rx += tally.messages;
        self.inbox.advance(tally.messages);
        self.acks.count(now, tally);
        !self.acks.goes_first(now)
    }

    /// A message of the application, of so many bytes, came on a link. `false`: it came before.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        link: &mut Link,
        bytes: usize,
    ) -> Result<bool, ProtocolError> {
        let is_new = self.inbox.peek(link.rx)?;
        if is_new {
            self.inbox.advance(1);
            if self.closing.peer().is_some() {
                return Err(ProtocolError::AfterClose);
            }
        }
        link.rx += 1;
        self.acks.count(now, Tally::of(bytes));
        Ok(is_new)
    }

    /// `close` came. `true`: for the first time.
    pub(crate) fn peer_closes(&mut self, close: Close) -> Result<bool, ProtocolError> {
        // Everything that it counts was sent before it, on the same attachment or on one that
        // this side has confirmed.
        let received = self.inbox.received();
        if close.sent != received {
            return Err(ProtocolError::CloseCount {
                sent: close.sent,
                received,
            });
        }
        self.acks.hold(false);
        self.acks.hurry();
        Ok(self.closing.peer_closes(close))
    }

    /// The session has ended at the server, and this side hears of it only now: what the server has
    /// received is acknowledged. Returns whether each side has everything that the other sent.
    pub(crate) fn ended(&mut self, ended: Ended) -> bool {
        if ended.received > self.outbox.transmitted() {
            // Somebody else has sent in this session, so nobody knows whose messages these were.
            return false;
        }
        self.outbox.acknowledge(ended.received);
        self.outbox.is_empty() && self.inbox.received() == ended.sent
    }

    /// Tells whether both sides know all of each other: both have closed, everything that this
    /// side sent was acknowledged, and everything that the peer sent is.
    pub(crate) fn is_complete(&self, link: &Link) -> bool {
        self.is_said(link) && self.outbox.is_empty() && !self.acks.is_pending()
    }

    /// Tells whether both have closed, and this side on this link, behind everything that it had to
    /// say.
    pub(crate) fn is_said(&self, link: &Link) -> bool {
        self.closing.peer().is_some() && link.close_sent
    }

    /// Offers to `take` what the link is to carry, one message after the other, until nothing is left
    /// or `take` returns `false` and has not taken it. Messages, those of `more` behind the others,
    /// acknowledgements and `close` go onto the carrier only.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        link: &mut Link,
        is_carrier: bool,
        more: &mut impl Iterator<Item = Message>,
        mut take: impl FnMut(&Message) -> bool,
    ) {
        if let Some(opened) = &link.opened {
            if !take(opened) {
                return;
            }
            link.opened = None;
            link.note_tx(now);
        }
        if link.select_held().is_some() {
            // Perhaps it is what `select` waits for.
            if is_carrier && !self.closing.is_closing() {
                self.outbox.push_from(&mut more.by_ref().take(1));
            }
            self.release_select(now, link, is_carrier);
        }
        if is_carrier && self.acks.is_worthwhile() && !self.closing.is_closing() {
            self.outbox.push_from(&mut more.by_ref().take(1));
            if self.has_messages(link) {
                self.acks.hurry();
            }
        }
        while let Some(control) = self.next_control(now, link, is_carrier) {
            if !self.transmit_control(now, link, &control, &mut take) {
                return;
            }
        }
        if !is_carrier {
            return;
        }
        // What was acknowledged meanwhile is skipped. What this link took before is not repeated,
        // even when another was the carrier in between: it lives, so it delivers.
        let number = link.cursor.max(self.outbox.first());
        if number != link.implied {
            if !self.closing.is_closing() {
                // Its number is the one to say.
                self.outbox.push_from(&mut more.by_ref().take(1));
            }
            let queued = number <= self.outbox.last();
            if queued && !self.transmit_control(now, link, &Control::Seq(number), &mut take) {
                return;
            }
        }
        if number == link.implied {
            let next = if self.closing.is_closing() {
                let none = &mut std::iter::empty();
                self.outbox.transmit(number, none, &mut take)
            } else {
                self.outbox.transmit(number, more, &mut take)
            };
            if next > number {
                link.cursor = next;
                link.implied = next;
                link.note_tx(now);
            }
            if next <= self.outbox.last() {
                return;
            }
        }
        if self.closing.is_closing() && !link.close_sent {
            // The acknowledgement goes first, so that the peer, when it has the close, knows
            // everything that this side knows.
            if self.acks.is_pending() {
                let ack = Control::Ack(self.inbox.received());
                if !self.transmit_control(now, link, &ack, &mut take) {
                    return;
                }
            }
            if let Some(close) = self.closing.outgoing(self.outbox.last()) {
                self.transmit_control(now, link, &Control::Close(close), &mut take);
            }
        }
    }

    /// How much the link may send at once, because nothing goes before it: what
    /// [`transmit`](Self::transmit) finds out for each message, once for several.
    #[inline]
    pub(crate) fn allowance(&self, now: Instant, link: &Link) -> Allowance {
        if self.is_next(now, link) {
            self.outbox.allowance()
        } else {
            Allowance::NONE
        }
    }

    /// Keeps a message that the link has sent because [it may](Self::allowance).
    #[inline]
    pub(crate) fn sent(&mut self, now: Instant, link: &mut Link, message: Message) {
        self.outbox.push_sent(message);
        link.cursor += 1;
        link.implied += 1;
        link.note_tx(now);
    }

    /// Keeps what the link has sent of broadcasts because [it may](Self::allowance).
    pub(crate) fn settle(&mut self, link: &mut Link, ledger: &mut Ledger) {
        if let Some((times, runs)) = ledger.take() {
            for run in runs {
                link.cursor += run.len() as u64;
                link.implied += run.len() as u64;
                self.outbox.push_sent_run(run);
            }
            link.note_tx(times.since);
            link.note_tx_until(times.until, times.longest);
        }
    }

    /// Tells whether a message that is sent now is the next on the link, and nothing is to go before it.
    #[inline]
    fn is_next(&self, now: Instant, link: &Link) -> bool {
        link.is_even()
            && self.outbox.is_next(link.cursor)
            && !self.acks.goes_first(now)
            && !self.closing.is_closing()
    }

    /// Tells whether [`transmit`](Self::transmit) has anything to offer, if the link is the carrier:
    /// a message for which there was no room, for one.
    #[inline]
    pub(crate) fn is_owing(&self, now: Instant, link: &Link) -> bool {
        !link.is_even()
            || self.acks.is_due(now)
            || self.closing.is_closing()
            || self.has_messages(link)
    }

    /// Tells whether messages are kept that the link has not taken.
    #[inline]
    fn has_messages(&self, link: &Link) -> bool {
        link.cursor.max(self.outbox.first()) <= self.outbox.last()
    }

    /// Ends the wait of `select` when something follows it, or its time has come.
    fn release_select(&self, now: Instant, link: &mut Link, is_carrier: bool) {
        let messages = self.has_messages(link);
        let close = self.closing.is_closing() && !link.close_sent;
        let more = is_carrier && (messages || close || self.acks.is_due(now));
        if more || link.ping || link.pong {
            link.select = Select::Owed;
        }
        link.release_select(now);
    }

    /// What goes before messages.
    fn next_control(&self, now: Instant, link: &Link, is_carrier: bool) -> Option<Control> {
        if link.select == Select::Owed {
            return Some(Control::Select(self.inbox.received()));
        }
        if link.selected {
            return Some(Control::Selected(self.inbox.received()));
        }
        if link.pong {
            return Some(Control::Pong);
        }
        if link.ping {
            return Some(Control::Ping);
        }
        if is_carrier && self.acks.is_due(now) {
            return Some(Control::Ack(self.inbox.received()));
        }
        None
    }

    fn transmit_control(
        &mut self,
        now: Instant,
        link: &mut Link,
        control: &Control,
        take: &mut impl FnMut(&Message) -> bool,
    ) -> bool {
        if !take(&control.encode()) {
            return false;
        }
        match *control {
            Control::Select(received) => {
                link.select = Select::Done;
                self.told(received);
            }
            // Clients may ignore it: the acknowledgement follows as ever.
            Control::Selected(_) => link.selected = false,
            Control::Ack(received) => self.told(received),
            Control::Ping => link.ping = false,
            Control::Pong => link.pong = false,
            Control::Seq(number) => link.implied = number,
            Control::Close(_) => link.close_sent = true,
            Control::Opened(_) => {}
        }
        link.note_tx(now);
        true
    }

    /// The peer was told how far it was received, which may be behind by now.
    fn told(&mut self, received: u64) {
        if received == self.inbox.received() {
            self.acks.done();
        }
    }

    /// Withholds acknowledgements, but for those that complete a close.
    pub(crate) fn hold_acks(&mut self, held: bool) {
        self.acks.hold(held && !self.closing.is_closing());
    }

    /// When the next acknowledgement is due; only an attachment can carry it.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.acks.deadline()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.acks.handle_timeout(now);
        self.outbox.shrink();
    }
}

/// A generator of pseudo-random numbers.
#[cfg(test)]
struct Dice(u64);

#[cfg(test)]
impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0 >> 33
    }
}
