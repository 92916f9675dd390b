//! Exactly once and in order over any number of attachments (`docs/protocol.md`, 3.4, 3.5, 3.7):
//! what both ends have in common.
//!
//! [`Delivery`] owns what belongs to the session, each [`Link`] what belongs to one attachment.

mod ack;
mod closing;
mod inbox;
mod link;
mod outbox;

use std::time::Instant;

use switchback_core::Message;

pub(crate) use ack::AckPolicy;
pub(crate) use closing::Closing;
pub(crate) use link::Link;
use link::Offer;

use crate::{Close, Config, Control, ProtocolError};
use ack::Acks;
use inbox::Inbox;
use outbox::Outbox;

/// The state of a session that outlives its attachments.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) outbox: Outbox,
    pub(crate) closing: Closing,
    inbox: Inbox,
    acks: Acks,
}

impl Delivery {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            outbox: Outbox::new(config),
            closing: Closing::default(),
            inbox: Inbox::default(),
            acks: Acks::new(config.into()),
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

    /// A message of the application came on a link. `None`: it came before.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        link: &mut Link,
        message: Message,
    ) -> Result<Option<Message>, ProtocolError> {
        let is_new = self.inbox.take(link.rx)?;
        if is_new && self.closing.peer().is_some() {
            return Err(ProtocolError::AfterClose);
        }
        link.rx += 1;
        self.acks.count(now, message.len());
        Ok(is_new.then_some(message))
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
        self.acks.hurry();
        Ok(self.closing.peer_closes(close))
    }

    /// Tells whether both sides know all of each other: both have closed, everything that this
    /// side sent was acknowledged, and everything that the peer sent is.
    pub(crate) fn is_complete(&self, link: &Link) -> bool {
        self.closing.peer().is_some()
            && link.close_sent
            && self.outbox.is_empty()
            && !self.acks.is_pending()
    }

    /// Returns what the link is to carry next; the same until something has changed. Messages,
    /// acknowledgements and `close` go onto the carrier only.
    pub(crate) fn next_transmit<'a>(
        &'a self,
        now: Instant,
        link: &'a mut Link,
        is_carrier: bool,
    ) -> Option<&'a Message> {
        let offer = self.choose(now, link, is_carrier);
        if offer != link.offer {
            link.offer = offer;
            link.scratch = None;
        }
        if let Offer::Data(number) = offer {
            return self.outbox.get(number);
        }
        if link.scratch.is_none() {
            link.scratch = self.control(link, offer);
        }
        link.scratch.as_ref()
    }

    fn choose(&self, now: Instant, link: &Link, is_carrier: bool) -> Offer {
        if link.opened.is_some() {
            return Offer::Opened;
        }
        if link.select {
            return Offer::Select(self.inbox.received());
        }
        if link.selected {
            return Offer::Selected(self.inbox.received());
        }
        if link.pong {
            return Offer::Pong;
        }
        if link.ping {
            return Offer::Ping;
        }
        if !is_carrier {
            return Offer::Nothing;
        }
        let ack = Offer::Ack(self.inbox.received());
        if self.acks.is_due(now) {
            return ack;
        }
        // What was acknowledged meanwhile is skipped. What this link took before is not repeated,
        // even when another was the carrier in between: it lives, so it delivers.
        let number = link.cursor.max(self.outbox.first());
        if number <= self.outbox.last() {
            if number == link.implied {
                return Offer::Data(number);
            }
            return Offer::Seq(number);
        }
        if self.closing.is_closing() && !link.close_sent {
            // The acknowledgement goes first, so that the peer, when it has the close, knows
            // everything that this side knows.
            return if self.acks.is_pending() {
                ack
            } else {
                Offer::Close
            };
        }
        Offer::Nothing
    }

    fn control(&self, link: &Link, offer: Offer) -> Option<Message> {
        let control = match offer {
            Offer::Nothing | Offer::Data(_) => return None,
            Offer::Opened => return link.opened.clone(),
            Offer::Select(received) => Control::Select(received),
            Offer::Selected(received) => Control::Selected(received),
            Offer::Ping => Control::Ping,
            Offer::Pong => Control::Pong,
            Offer::Ack(received) => Control::Ack(received),
            Offer::Seq(number) => Control::Seq(number),
            Offer::Close => Control::Close(self.closing.outgoing(self.outbox.last())?),
        };
        Some(control.encode())
    }

    /// The transport took what was offered last.
    pub(crate) fn transmitted(&mut self, now: Instant, link: &mut Link) {
        link.note_tx(now);
        link.scratch = None;
        match std::mem::replace(&mut link.offer, Offer::Nothing) {
            Offer::Nothing => {}
            Offer::Opened => link.opened = None,
            Offer::Select(received) => {
                link.select = false;
                self.told(received);
            }
            // Clients may ignore it: the acknowledgement follows as ever.
            Offer::Selected(_) => link.selected = false,
            Offer::Ping => link.ping = false,
            Offer::Pong => link.pong = false,
            Offer::Ack(received) => self.told(received),
            Offer::Seq(number) => link.implied = number,
            Offer::Data(number) => {
                link.cursor = number + 1;
                link.implied = number + 1;
                self.outbox.note_transmitted(number);
            }
            Offer::Close => link.close_sent = true,
        }
    }

    /// The peer was told how far it was received, which may be behind by now.
    fn told(&mut self, received: u64) {
        if received == self.inbox.received() {
            self.acks.done();
        }
    }

    /// When the next acknowledgement is due; only an attachment can carry it.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.acks.deadline()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.acks.handle_timeout(now);
    }
}
