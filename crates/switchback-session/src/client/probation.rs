use std::time::{Duration, Instant};

use switchback_core::TransportKind;

use super::ClientConfig;

/// What a client remembers of an endpoint: which transport won last, and which are on probation.
///
/// Give it to the next [`ClientSession`](crate::ClientSession) for the same endpoint.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    winner: Option<(TransportKind, Instant)>,
    records: Vec<(TransportKind, Record)>,
}

/// How a kind of transport has done.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    strikes: u32,
    demotions: u32,
    demoted_until: Option<Instant>,
}

impl Memory {
    /// Returns the transport that worked last, as long as it is remembered.
    pub fn winner(&self, now: Instant) -> Option<TransportKind> {
        self.winner.filter(|(_, until)| now < *until).map(|w| w.0)
    }

    /// Tells until when a kind of transport is demoted: tried last, and not probed.
    pub fn demoted_until(&self, kind: TransportKind, now: Instant) -> Option<Instant> {
        let (_, record) = self.records.iter().find(|(known, _)| *known == kind)?;
        record.demoted_until.filter(|until| now < *until)
    }

    /// Returns the allowed kinds in the order in which to try them: the winner, the others as they
    /// are preferred, the demoted ones.
    pub(super) fn order(&self, allowed: &[TransportKind], now: Instant) -> Vec<TransportKind> {
        let winner = self.winner(now);
        let mut order = allowed.to_vec();
        // Stable: what is equal stays in order of preference.
        order.sort_by_key(|kind| {
            let demoted = self.demoted_until(*kind, now).is_some();
            (demoted, Some(*kind) != winner)
        });
        order
    }

    /// A transport has lived long enough to be trusted.
    pub(super) fn win(&mut self, kind: TransportKind, now: Instant, config: &ClientConfig) {
        self.winner = Some((kind, now + config.remember()));
        *self.record(kind) = Record::default();
    }

    /// A transport opened and died soon.
    pub(super) fn strike(&mut self, kind: TransportKind, now: Instant, config: &ClientConfig) {
        let (deaths, _) = config.probation();
        let record = self.record(kind);
        record.strikes = record.strikes.saturating_add(1);
        if record.strikes >= deaths {
            self.demote(kind, now, config);
        }
    }

    /// A transport opened and delivered nothing, or died once too often. Each time it is demoted
    /// for longer; after that one more death is enough.
    pub(super) fn demote(&mut self, kind: TransportKind, now: Instant, config: &ClientConfig) {
        let (first, max) = config.demotion();
        let (deaths, _) = config.probation();
        let record = self.record(kind);
        let time: Duration = first.saturating_mul(1 << record.demotions.min(20)).min(max);
        record.demotions = record.demotions.saturating_add(1);
        record.strikes = deaths - 1;
        record.demoted_until = Some(now + time);
    }

    fn record(&mut self, kind: TransportKind) -> &mut Record {
        let index = match self.records.iter().position(|(known, _)| *known == kind) {
            Some(index) => index,
            None => {
                self.records.push((kind, Record::default()));
                self.records.len() - 1
            }
        };
        &mut self.records[index].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TransportKind::{LongPoll, Sse, WebSocket};

    #[test]
    fn demotes_after_two_deaths_and_for_longer_each_time() {
        let config = ClientConfig::new();
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut memory = Memory::default();
        memory.strike(WebSocket, now, &config);
        assert_eq!(memory.demoted_until(WebSocket, now), None);
        memory.strike(WebSocket, now, &config);
        let until = now + 300 * second;
        assert_eq!(memory.demoted_until(WebSocket, now), Some(until));
        assert_eq!(
            memory.order(config.transports(), now),
            [Sse, LongPoll, WebSocket]
        );
        // Its time is over: tried again as ever, but one death demotes it for twice as long.
        assert_eq!(
            memory.order(config.transports(), until),
            [WebSocket, Sse, LongPoll]
        );
        memory.strike(WebSocket, until, &config);
        assert_eq!(
            memory.demoted_until(WebSocket, until),
            Some(until + 600 * second)
        );
        memory.win(WebSocket, until, &config);
        assert_eq!(memory.demoted_until(WebSocket, until), None);
    }

    #[test]
    fn the_winner_comes_first_while_it_is_remembered() {
        let config = ClientConfig::new();
        let now = Instant::now();
        let mut memory = Memory::default();
        memory.win(LongPoll, now, &config);
        let order = |at| memory.order(config.transports(), at);
        assert_eq!(order(now), [LongPoll, WebSocket, Sse]);
        assert_eq!(order(now + config.remember())[0], WebSocket);
    }
}
