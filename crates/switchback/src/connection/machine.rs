use std::time::{Duration, Instant};

use switchback_core::{CloseReason, Message};
use switchback_session::{
    Allowance, ClientSession, Ledger, ProtocolError, Remains, ServerSession, Tally,
};

use super::outbox::OVERHEAD;
use super::plain::Plain;

/// What decides: a session of either side, or nothing but a plain transport.
///
/// One driver serves all three; this is the seam between them.
pub(crate) enum Machine {
    Server(Box<ServerSession>),
    Client(Box<ClientSession>),
    Plain(Box<Plain>),
}

/// The attachment number of a plain connection's only transport.
pub(crate) const PLAIN: u64 = 0;

impl Machine {
    /// Tells whether messages may be counted and passed on. Else, and what does not count, `receive`
    /// takes them.
    #[inline]
    pub(crate) fn may_tally(&self, attachment: u64) -> bool {
        match self {
            Self::Server(session) => session.may_tally(attachment),
            Self::Client(session) => session.may_tally(attachment),
            Self::Plain(_) => true,
        }
    }

    /// Messages came where [`may_tally`](Self::may_tally) holds. Returns whether an
    /// [allowance](Self::allowance) from before holds on.
    #[inline]
    pub(crate) fn receive_tally(&mut self, now: Instant, attachment: u64, tally: Tally) -> bool {
        match self {
            Self::Server(session) => session.receive_tally(now, attachment, tally),
            Self::Client(session) => session.receive_tally(now, attachment, tally),
            Self::Plain(_) => true,
        }
    }

    /// Tells whether a message is the next, and for the application. Else `receive` takes it.
    pub(crate) fn receive_next(
        &mut self,
        now: Instant,
        attachment: u64,
        message: &Message,
    ) -> bool {
        let mut tally = Tally::default();
        let is_next = self.may_tally(attachment) && tally.push(message);
        if is_next {
            self.receive_tally(now, attachment, tally);
        }
        is_next
    }

    pub(crate) fn receive(
        &mut self,
        now: Instant,
        attachment: u64,
        message: Message,
    ) -> Result<Option<Message>, ProtocolError> {
        match self {
            Self::Server(session) => session.receive(now, attachment, message),
            Self::Client(session) => session.receive(now, attachment, message),
            Self::Plain(_) => Ok(Some(message)),
        }
    }

    /// Tells how many messages may be sent at once, each of which is then told by [`sent`](Self::sent).
    #[inline]
    pub(crate) fn allowance(&self, now: Instant, attachment: u64) -> Allowance {
        match self {
            Self::Server(session) => session.allowance(now, attachment),
            Self::Client(session) => session.allowance(now, attachment),
            Self::Plain(plain) => plain.allowance(),
        }
    }

    /// A message was sent that was allowed.
    #[inline]
    pub(crate) fn sent(&mut self, now: Instant, attachment: u64, message: Message) {
        match self {
            Self::Server(session) => session.sent(now, attachment, message),
            Self::Client(session) => session.sent(now, attachment, message),
            Self::Plain(_) => message.recycle(),
        }
    }

    /// Offers what an attachment is to carry to `take`, and `messages` behind that, until it refuses.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        attachment: u64,
        messages: &mut impl Iterator<Item = Message>,
        take: impl FnMut(&Message) -> bool,
    ) {
        match self {
            Self::Server(session) => session.transmit_from(now, attachment, messages, take),
            Self::Client(session) => session.transmit_from(now, attachment, messages, take),
            Self::Plain(plain) => plain.transmit(messages, take),
        }
    }

    /// What was sent of broadcasts because it was allowed.
    #[cold]
    pub(crate) fn settle(&mut self, attachment: u64, ledger: &mut Ledger) {
        match self {
            Self::Server(session) => session.settle(attachment, ledger),
            Self::Client(session) => session.settle(attachment, ledger),
            Self::Plain(_) => debug_assert!(ledger.is_empty(), "nothing is counted there"),
        }
    }

    pub(crate) fn detach(&mut self, now: Instant, attachment: u64, clean: Option<CloseReason>) {
        match self {
            Self::Server(session) => session.detach(now, attachment, clean),
            Self::Client(session) => session.detach(now, attachment, clean),
            Self::Plain(plain) => plain.closed = true,
        }
    }

    /// Tells whether there is something to decide.
    #[inline]
    pub(crate) fn has_events(&self) -> bool {
        match self {
            Self::Server(session) => session.has_events(),
            Self::Client(session) => session.has_events(),
            Self::Plain(plain) => plain.is_drained(),
        }
    }

    /// Takes a message; gives it back when there is no room.
    #[inline]
    pub(crate) fn send(&mut self, message: Message) -> Result<(), Message> {
        match self {
            Self::Server(session) => session.send(message),
            Self::Client(session) => session.send(message),
            Self::Plain(plain) => plain.send(message),
        }
    }

    /// Tells whether anything is to be transmitted.
    #[inline]
    pub(crate) fn is_owing(&self, now: Instant, attachment: u64) -> bool {
        match self {
            Self::Server(session) => session.is_owing(now, attachment),
            Self::Client(session) => session.is_owing(now, attachment),
            Self::Plain(plain) => !plain.is_empty(),
        }
    }

    /// When an acknowledgement is due.
    #[inline]
    pub(crate) fn ack_deadline(&self) -> Option<Instant> {
        match self {
            Self::Server(session) => session.ack_deadline(),
            Self::Client(session) => session.ack_deadline(),
            Self::Plain(_) => None,
        }
    }

    /// Takes messages for as long as there is room.
    pub(crate) fn send_from(&mut self, messages: &mut impl Iterator<Item = Message>) {
        match self {
            Self::Server(session) => session.send_from(messages),
            Self::Client(session) => session.send_from(messages),
            Self::Plain(plain) => plain.send_from(messages),
        }
    }

    pub(crate) fn close(&mut self, now: Instant, why: CloseReason, reconnect: Option<Duration>) {
        match self {
            Self::Server(session) => session.close(now, why, reconnect),
            Self::Client(session) => session.close(now, why),
            Self::Plain(plain) => plain.close(now, why),
        }
    }

    /// Tells whether either side has begun to close.
    pub(crate) fn is_closing(&self) -> bool {
        match self {
            Self::Server(session) => session.is_closing(),
            Self::Client(session) => session.is_closing(),
            Self::Plain(plain) => plain.closed || plain.closing.is_some(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Server(session) => session.is_closed(),
            Self::Client(session) => session.is_closed(),
            Self::Plain(plain) => plain.closed,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Server(session) => session.deadline(),
            Self::Client(session) => session.deadline(),
            Self::Plain(plain) => plain.deadline(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Server(session) => session.handle_timeout(now),
            Self::Client(session) => session.handle_timeout(now),
            Self::Plain(plain) => plain.handle_timeout(now),
        }
    }

    /// Excuses the silence of a peer that is not being read.
    pub(crate) fn excuse(&mut self, now: Instant) {
        match self {
            Self::Server(session) => session.excuse(now),
            Self::Client(session) => session.excuse(now),
            Self::Plain(_) => {}
        }
    }

    /// What tells a client that comes back why the session is gone.
    pub(crate) fn remains(&self) -> Option<Remains> {
        match self {
            Self::Server(session) => session.remains(),
            Self::Client(_) | Self::Plain(_) => None,
        }
    }

    /// Has the peer stop sending, or go on.
    pub(crate) fn hold_acks(&mut self, held: bool) {
        match self {
            Self::Server(session) => session.hold_acks(held),
            Self::Client(session) => session.hold_acks(held),
            Self::Plain(_) => {}
        }
    }

    /// How many messages and bytes a peer sends that gets no acknowledgement.
    pub(crate) fn window(&self) -> (usize, usize) {
        match self {
            Self::Server(session) => session.window(),
            Self::Client(session) => session.window(),
            Self::Plain(_) => (0, 0),
        }
    }

    /// What is sent and not acknowledged, in bytes: what parking this connection costs.
    pub(crate) fn unacknowledged_bytes(&self) -> usize {
        let (messages, bytes) = match self {
            Self::Server(session) => session.unacknowledged(),
            Self::Client(session) => session.unacknowledged(),
            Self::Plain(_) => (0, 0),
        };
        bytes + messages * OVERHEAD
    }
}
