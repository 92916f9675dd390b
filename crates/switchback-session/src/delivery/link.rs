use std::time::{Duration, Instant};

use switchback_core::Message;

/// How long a `select` takes at most, or else the server asks whether anything comes at all: something
/// between may carry what it sends and swallow what the client does.
const SELECTS_WITHIN: Duration = Duration::from_secs(5);

/// One attachment: where both directions stand on it, and which control frames it owes.
///
/// A debt is a flag and not a queue, so that a peer that provokes control frames and reads none
/// costs nothing.
#[derive(Debug)]
// What every message touches comes first.
#[repr(C)]
pub(crate) struct Link {
    number: u64,
    /// The number of the next message that comes on this attachment.
    pub(super) rx: u64,
    /// The number of the next message that this attachment takes.
    pub(super) cursor: u64,
    /// The number that the peer gives to the next message; where it is not the cursor, `seq` goes
    /// first.
    pub(super) implied: u64,
    pub(super) opened: Option<Message>,
    pub(super) selected: bool,
    pub(super) ping: bool,
    pub(super) pong: bool,
    pub(super) close_sent: bool,
    /// Its client has another one beside it, and waits for the answer to `select`.
    is_beside: bool,
    pub(super) select: Select,
    last_rx: Instant,
    last_tx: Instant,
    /// The server's, until `select` has come.
    is_unselected: bool,
    /// The longest silence, of both sides, since anything came.
    gap: Duration,
    interval: Duration,
    /// A silence of about the interval; and how many of them ended with something that came.
    long: Duration,
    /// No silence that ends before is long. It lags behind, so that it is not moved by every message.
    long_from: Instant,
    survived: u32,
    /// When a ping was queued that nothing has answered yet.
    pinged: Option<Instant>,
    /// When to look after the heartbeat again. It is not moved by every message, so that a driver
    /// need not set its timer for each.
    check_at: Instant,
}

/// Whether `select` is still to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Select {
    Done,
    Owed,
    /// Owed, but until then it waits for something that follows it.
    Held {
        until: Instant,
    },
}

impl Link {
    /// Makes a link on which the peer's messages count from `rx` and this side's from `tx`, to be
    /// looked after every `interval`.
    pub(crate) fn new(now: Instant, number: u64, rx: u64, tx: u64, interval: Duration) -> Self {
        // The answer to the last ping, or an acknowledgement, comes a bit after the ping.
        let long = interval - interval / 8;
        Self {
            number,
            rx,
            cursor: tx,
            implied: tx,
            opened: None,
            select: Select::Done,
            selected: false,
            is_beside: false,
            ping: false,
            pong: false,
            close_sent: false,
            last_rx: now,
            last_tx: now,
            interval,
            is_unselected: false,
            gap: Duration::ZERO,
            long,
            long_from: now + long,
            survived: 0,
            pinged: None,
            check_at: now + interval,
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Owes `opened`, before everything else.
    pub(crate) fn owe_opened(&mut self, opened: Message) {
        self.opened = Some(opened);
        self.is_unselected = true;
        self.check_at = self.last_tx + self.patience();
    }

    /// Owes `select`. With `held` it goes with whatever follows it first, at that time at the
    /// latest: where a write is a request of its own, that saves one.
    pub(crate) fn owe_select(&mut self, held: Option<Instant>) {
        self.select = held.map_or(Select::Owed, |until| Select::Held { until });
    }

    /// Returns until when `select` waits, if it does.
    pub(crate) fn select_held(&self) -> Option<Instant> {
        match self.select {
            Select::Held { until } => Some(until),
            Select::Done | Select::Owed => None,
        }
    }

    /// Ends the wait of `select` when its time has come.
    pub(crate) fn release_select(&mut self, now: Instant) {
        if self.select_held().is_some_and(|until| until <= now) {
            self.select = Select::Owed;
        }
    }

    /// The client began this one beside others.
    pub(crate) fn set_beside(&mut self, is_beside: bool) {
        self.is_beside = is_beside;
    }

    /// `select` came.
    pub(crate) fn owe_selected(&mut self) {
        self.selected = self.is_beside;
        self.is_unselected = false;
    }

    pub(crate) fn owe_pong(&mut self) {
        self.pong = true;
    }

    /// Sets where both directions stand: what `opened` says.
    pub(crate) fn set_positions(&mut self, rx: u64, tx: u64) {
        self.rx = rx;
        self.cursor = tx;
        self.implied = tx;
    }

    /// Sets the number of the next message that comes: what `seq` says.
    pub(crate) fn set_rx(&mut self, number: u64) {
        self.rx = number;
    }

    /// Anything came: a sign of life.
    #[inline]
    pub(crate) fn note_rx(&mut self, now: Instant) {
        // All that one read brings comes at one time.
        if now != self.last_rx {
            if now >= self.long_from {
                self.end_silence(now);
            }
            self.excuse(now);
        }
        self.pinged = None;
    }

    /// The first thing came since a silence may have been long.
    #[cold]
    fn end_silence(&mut self, now: Instant) {
        if self.silence(now) >= self.long {
            self.survived = self.survived.saturating_add(1);
        }
        self.long_from = now + self.long;
    }

    /// Nobody has looked whether anything came.
    pub(crate) fn excuse(&mut self, now: Instant) {
        self.gap = Duration::ZERO;
        self.last_rx = now;
        self.pinged = None;
    }

    #[inline]
    pub(super) fn note_tx(&mut self, now: Instant) {
        if now != self.last_tx {
            // A reply at the time of what it replies to ends no silence.
            if now != self.last_rx {
                self.gap = self.silence(now);
            }
            self.last_tx = now;
        }
    }

    /// Something went up to this time, after the last that was noted and before anything came, with so much
    /// time between at most.
    pub(super) fn note_tx_until(&mut self, until: Instant, longest: Duration) {
        self.gap = self.gap.max(longest);
        self.last_tx = until;
    }

    /// Tells whether nothing but messages is to be sent, and the peer knows the number of the next.
    #[inline]
    pub(super) fn is_even(&self) -> bool {
        let owes = self.selected | self.pong | self.ping;
        self.opened.is_none() && self.select == Select::Done && !owes && self.cursor == self.implied
    }

    /// Returns the longest silence of both sides that nothing of the peer has followed yet.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        let last = self.last_rx.max(self.last_tx);
        self.gap.max(now.saturating_duration_since(last))
    }

    /// Returns after how many silences of about the interval the link still worked.
    pub(crate) fn survived(&self) -> u32 {
        self.survived
    }

    pub(crate) fn check_at(&self) -> Instant {
        self.check_at
    }

    /// The server's heartbeat (`docs/protocol.md`, 3.8). `false`: a ping was not answered in time.
    pub(crate) fn heartbeat(&mut self, now: Instant, answer: Duration) -> bool {
        if self.pinged.is_some_and(|at| now >= at + answer) {
            return false;
        }
        let idle = self.last_rx.min(self.last_tx) + self.patience();
        if self.pinged.is_none() && now >= idle {
            self.ping = true;
            self.pinged = Some(now);
        }
        self.check_at = self.pinged.map_or(idle, |at| at + answer);
        true
    }

    /// How long nothing may come before a ping asks.
    fn patience(&self) -> Duration {
        if self.is_unselected {
            self.interval.min(SELECTS_WITHIN)
        } else {
            self.interval
        }
    }

    /// The client's judgement. `false`: nothing came for too long.
    pub(crate) fn is_alive(&mut self, now: Instant, silence: Duration) -> bool {
        self.check_at = self.last_rx + silence;
        now < self.check_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Dice;

    /// Whatever comes and goes, as many silences are survived as if each thing that comes looked how long
    /// the last one was.
    #[test]
    fn no_long_silence_is_missed() {
        let interval = Duration::from_secs(8);
        let start = Instant::now();
        let mut link = Link::new(start, 1, 1, 1, interval);
        let (mut now, mut survived, mut dice) = (start, 0, Dice(1));
        for _ in 0..20_000 {
            let dice = dice.roll();
            now += Duration::from_millis(match dice % 4 {
                0 => 0,
                1 => dice % 1000,
                _ => dice % 10_000,
            });
            match dice % 5 {
                0 | 1 => {
                    survived += u32::from(now != link.last_rx && link.silence(now) >= link.long);
                    link.note_rx(now);
                }
                2 if dice % 7 == 0 => link.excuse(now),
                _ => link.note_tx(now),
            }
            assert_eq!(link.survived(), survived);
        }
        assert!(survived > 100, "{survived}");
    }
}
