use bytes::Bytes;
use switchback_core::{CloseReason, Limits};

use super::log::{BadCursor, Log};

/// The server's half of the polls of one connection (`docs/protocol.md`, 2.3 and 2.5): which poll
/// is live, and what it is answered.
#[derive(Debug)]
pub(crate) struct Downstream {
    log: Log,
    live: Option<Ticket>,
    last_ticket: u64,
    phase: Phase,
}

/// Names one poll, so that it can be told from the one that superseded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
enum Phase {
    Open,
    /// This side closes: what is in the log goes first.
    Closing {
        why: CloseReason,
        /// A poll was answered with the close.
        told: bool,
    },
    /// The connection has ended and polls are told so.
    Closed(CloseReason),
    /// Nothing is known of this connection any more.
    Gone,
}

/// What a poll is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `200` and a batch, which may be empty.
    Batch(Bytes),
    /// `400 bad_cursor`.
    BadCursor(BadCursor),
    /// `409 superseded`.
    Superseded,
    /// `410 closed`.
    Closed(CloseReason),
    /// `404 unknown_connection`.
    Gone,
}

impl Downstream {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            log: Log::new(limits),
            live: None,
            last_ticket: 0,
            phase: Phase::Open,
        }
    }

    /// Tells whether messages can be pushed at all, now or later.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Tells whether a message of `len` bytes can be pushed now.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.log.has_room(len)
    }

    /// Appends a record to what the next polls carry.
    pub(crate) fn push(&mut self, record: Bytes) {
        self.log.push(record);
    }

    /// Returns the batch of the opening response, which may be empty. It is acknowledged like any
    /// other, by the first poll.
    pub(crate) fn opening(&mut self) -> Bytes {
        self.log.batch().unwrap_or_default()
    }

    /// Takes a poll in: its cursor acknowledges, and an older poll is superseded.
    ///
    /// A poll with a bad cursor is answered at once and changes nothing.
    pub(crate) fn arrive(&mut self, cursor: u64) -> Result<Ticket, Answer> {
        match &self.phase {
            Phase::Gone => return Err(Answer::Gone),
            Phase::Closed(why) => return Err(Answer::Closed(why.clone())),
            Phase::Open | Phase::Closing { .. } => {}
        }
        self.log.acknowledge(cursor).map_err(Answer::BadCursor)?;
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.live = Some(ticket);
        Ok(ticket)
    }

    /// Returns the answer to a poll, once there is one. The poll is over then.
    pub(crate) fn answer(&mut self, ticket: Ticket) -> Option<Answer> {
        if self.live != Some(ticket) {
            return Some(Answer::Superseded);
        }
        let answer = match &mut self.phase {
            Phase::Gone => Answer::Gone,
            Phase::Closed(why) => Answer::Closed(why.clone()),
            Phase::Open => Answer::Batch(self.log.batch()?),
            Phase::Closing { why, told } => match self.log.batch() {
                Some(batch) => Answer::Batch(batch),
                None => {
                    *told = true;
                    Answer::Closed(why.clone())
                }
            },
        };
        self.live = None;
        Some(answer)
    }

    /// Answers a poll whose window has ended.
    pub(crate) fn window_ended(&mut self, ticket: Ticket) -> Answer {
        let answer = self.answer(ticket);
        self.leave(ticket);
        answer.unwrap_or(Answer::Batch(Bytes::new()))
    }

    /// The client of a poll has gone away before the answer. Tells whether the poll was live.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> bool {
        let live = self.live == Some(ticket);
        if live {
            self.live = None;
        }
        live
    }

    /// Tells whether there is a live poll.
    pub(crate) fn is_polled(&self) -> bool {
        self.live.is_some()
    }

    /// Begins to close: polls get what is in the log, then the close. The first call counts.
    pub(crate) fn close(&mut self, why: CloseReason) {
        if self.is_open() {
            self.phase = Phase::Closing { why, told: false };
        }
    }

    /// The peer has closed: what is in the log is lost, polls get the close at once.
    pub(crate) fn end(&mut self, why: CloseReason) {
        if !matches!(self.phase, Phase::Gone) {
            self.log.clear();
            self.phase = Phase::Closed(why);
        }
    }

    /// The connection has ended without a close: what is in the log is lost, polls learn that the
    /// connection is unknown.
    pub(crate) fn vanish(&mut self) {
        self.log.clear();
        self.phase = Phase::Gone;
    }

    /// Tells whether everything was acknowledged and the close was handed to a poll.
    pub(crate) fn is_close_told(&self) -> bool {
        match self.phase {
            Phase::Closing { told, .. } => told && self.log.is_empty(),
            Phase::Closed(_) | Phase::Gone => true,
            Phase::Open => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use switchback_core::CloseCode;

    use super::*;

    fn downstream(records: &[&'static str]) -> Downstream {
        let mut downstream = Downstream::new(&Limits::new());
        for record in records {
            downstream.push(Bytes::from_static(record.as_bytes()));
        }
        downstream
    }

    fn batch(text: &'static str) -> Answer {
        Answer::Batch(Bytes::from_static(text.as_bytes()))
    }

    /// A poll that must be answered at once.
    fn poll(downstream: &mut Downstream, cursor: u64) -> Answer {
        match downstream.arrive(cursor) {
            Ok(ticket) => downstream.answer(ticket).expect("an answer"),
            Err(answer) => answer,
        }
    }

    fn why() -> CloseReason {
        CloseReason::new(CloseCode::GOING_AWAY, "bye")
    }

    #[test]
    fn a_trace() {
        let mut d = downstream(&["t1:a"]);
        assert_eq!(d.opening(), "t1:a");
        // The opening response was lost: the same again.
        assert_eq!(poll(&mut d, 0), batch("t1:a"));
        let ticket = d.arrive(1).unwrap();
        assert_eq!(d.answer(ticket), None);
        d.push(Bytes::from_static(b"t1:b"));
        assert_eq!(d.answer(ticket), Some(batch("t1:b")));
        let ticket = d.arrive(2).unwrap();
        assert_eq!(d.answer(ticket), None);
        assert_eq!(d.window_ended(ticket), batch(""));
    }

    #[test]
    fn a_newer_poll_supersedes_and_loses_nothing() {
        let mut d = downstream(&[]);
        let old = d.arrive(0).unwrap();
        let new = d.arrive(0).unwrap();
        d.push(Bytes::from_static(b"t1:a"));
        assert_eq!(d.answer(old), Some(Answer::Superseded));
        assert_eq!(d.answer(new), Some(batch("t1:a")));
        // The client saw only the 409: it polls again and finds the message.
        assert_eq!(poll(&mut d, 0), batch("t1:a"));
        // The end of an old poll does not end the live one.
        let old = d.arrive(1).unwrap();
        let new = d.arrive(1).unwrap();
        d.leave(old);
        assert_eq!(d.window_ended(old), Answer::Superseded);
        assert_eq!(d.answer(new), None);
        assert_eq!(d.window_ended(new), batch(""));
    }

    #[test]
    fn a_bad_cursor_leaves_the_live_poll_alone() {
        let mut d = downstream(&[]);
        let live = d.arrive(0).unwrap();
        let bad = BadCursor {
            acknowledged: 0,
            sent: 0,
        };
        assert_eq!(d.arrive(1), Err(Answer::BadCursor(bad)));
        assert_eq!(d.answer(live), None);
        d.push(Bytes::from_static(b"t1:a"));
        assert_eq!(d.answer(live), Some(batch("t1:a")));
    }

    #[test]
    fn a_poll_whose_client_left_takes_nothing_along() {
        let mut d = downstream(&[]);
        let ticket = d.arrive(0).unwrap();
        d.push(Bytes::from_static(b"t1:a"));
        d.leave(ticket);
        assert_eq!(poll(&mut d, 0), batch("t1:a"));
    }

    #[test]
    fn closing_sends_what_is_queued_then_the_close_as_often_as_asked() {
        let mut d = downstream(&["t1:a"]);
        d.close(why());
        d.close(CloseReason::normal());
        assert!(!d.is_open());
        assert_eq!(poll(&mut d, 0), batch("t1:a"));
        assert_eq!(poll(&mut d, 0), batch("t1:a"));
        assert!(!d.is_close_told());
        assert_eq!(poll(&mut d, 1), Answer::Closed(why()));
        assert!(d.is_close_told());
        assert_eq!(poll(&mut d, 1), Answer::Closed(why()));
        assert!(matches!(poll(&mut d, 0), Answer::BadCursor(_)));
    }

    #[test]
    fn closing_answers_the_waiting_poll() {
        let mut d = downstream(&[]);
        let ticket = d.arrive(0).unwrap();
        d.close(why());
        assert_eq!(d.answer(ticket), Some(Answer::Closed(why())));
    }

    #[test]
    fn the_end_is_told_at_once_whatever_the_cursor() {
        let mut d = downstream(&["t1:a"]);
        let ticket = d.arrive(0).unwrap();
        d.end(why());
        assert_eq!(d.answer(ticket), Some(Answer::Closed(why())));
        assert_eq!(poll(&mut d, 77), Answer::Closed(why()));
        assert!(d.is_close_told());
    }

    #[test]
    fn gone_is_gone() {
        let mut d = downstream(&["t1:a"]);
        let ticket = d.arrive(0).unwrap();
        d.vanish();
        d.end(why());
        assert_eq!(d.answer(ticket), Some(Answer::Gone));
        assert_eq!(poll(&mut d, 0), Answer::Gone);
    }
}
