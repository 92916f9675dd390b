//! When what was read is passed on. No I/O, and the time is passed in.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::faults::Flow;

/// How many bytes wait in one direction of one connection.
const ROOM: usize = 1024 * 1024;
/// Throttled bytes are passed on so often.
const TICK: Duration = Duration::from_millis(20);

/// The bytes of one direction that were read and not passed on yet.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// When the stream ended.
    ended: Option<Instant>,
    /// What came up to then is no longer held back.
    released: Option<Instant>,
    /// When a throttle lets the next byte pass.
    next: Option<Instant>,
}

impl Schedule {
    /// Tells whether more may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.ended.is_none() && self.bytes < ROOM
    }

    pub(crate) fn push(&mut self, now: Instant, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len();
        self.chunks.push_back((now, bytes));
        if self.bytes >= ROOM {
            self.released = Some(now);
        }
    }

    /// Says that the stream has ended.
    pub(crate) fn end(&mut self, now: Instant) {
        self.ended = Some(now);
        self.released = Some(now);
    }

    /// Forgets all bytes and returns how many there were.
    pub(crate) fn clear(&mut self) -> usize {
        self.chunks.clear();
        std::mem::take(&mut self.bytes)
    }

    /// Returns when there is something to do next; `None`: when something comes.
    pub(crate) fn due(&self, flow: &Flow) -> Option<Instant> {
        let Some((came, _)) = self.chunks.front() else {
            return self.ended.map(|ended| later(ended, flow.delay));
        };
        let mut due = later(*came, flow.delay);
        if let Some(hold) = flow.hold
            && self.released.is_none_or(|released| released < *came)
        {
            due = due.max(later(*came, hold));
        }
        match self.next {
            Some(next) if flow.throttle.is_some() => Some(due.max(next)),
            _ => Some(due),
        }
    }

    /// Takes bytes whose time has come.
    pub(crate) fn pop(&mut self, now: Instant, flow: &Flow) -> Option<Vec<u8>> {
        let (came, length) = self.chunks.front().map(|(came, b)| (*came, b.len()))?;
        if self.due(flow)? > now {
            return None;
        }
        // All that came within the time that the first byte was held goes with it.
        if let Some(hold) = flow.hold
            && self.released.is_none_or(|released| released < came)
        {
            self.released = Some(later(came, hold));
        }
        let mut take = length;
        if let Some(rate) = flow.throttle {
            let tick = f64::from(rate) * TICK.as_secs_f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "far below 2^32, and not negative"
            )]
            let most = (tick as usize).max(1);
            take = take.min(most);
            // A timer that fires late is made up for, an idle time is not.
            let late = now.checked_sub(TICK).unwrap_or(now);
            let since = self.next.map_or(now, |next| next.max(late));
            #[expect(clippy::cast_precision_loss, reason = "at most 2^27")]
            let time = Duration::from_secs_f64(take as f64 / f64::from(rate));
            self.next = Some(since + time);
        }
        self.bytes -= take;
        if take == length {
            return self.chunks.pop_front().map(|(_, bytes)| bytes);
        }
        let (_, bytes) = self.chunks.front_mut()?;
        let rest = bytes.split_off(take);
        Some(std::mem::replace(bytes, rest))
    }

    /// Tells whether the end of the stream is to be passed on.
    pub(crate) fn is_over(&self, now: Instant, flow: &Flow) -> bool {
        self.chunks.is_empty()
            && self
                .ended
                .is_some_and(|ended| later(ended, flow.delay) <= now)
    }
}

/// Adds a time that may be as good as infinite.
fn later(instant: Instant, time: Duration) -> Instant {
    const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    instant + time.min(FOREVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Plays a script of `(when, bytes)` in milliseconds, and returns when what was passed on.
    fn play(flow: &Flow, script: &[(u32, &str)], end: Option<u32>) -> Vec<(u32, String)> {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let mut passed = Vec::new();
        for ms in 0..2000 {
            let now = start + MS * ms;
            for (_, bytes) in script.iter().filter(|(when, _)| *when == ms) {
                schedule.push(now, bytes.as_bytes().to_vec());
            }
            if end == Some(ms) {
                schedule.end(now);
            }
            while let Some(bytes) = schedule.pop(now, flow) {
                passed.push((ms, String::from_utf8(bytes).unwrap()));
            }
            if schedule.is_over(now, flow) {
                passed.push((ms, "end".to_owned()));
                break;
            }
        }
        passed
    }

    fn at(ms: u32, bytes: &str) -> (u32, String) {
        (ms, bytes.to_owned())
    }

    #[test]
    fn passes_at_once_by_default() {
        let passed = play(&Flow::new(), &[(0, "a"), (7, "b")], Some(9));
        assert_eq!(passed, [at(0, "a"), at(7, "b"), at(9, "end")]);
    }

    #[test]
    fn delays_each_byte_and_the_end() {
        let flow = Flow::new().delay(MS * 100);
        let passed = play(&flow, &[(0, "a"), (7, "b")], Some(9));
        assert_eq!(passed, [at(100, "a"), at(107, "b"), at(109, "end")]);
    }

    #[test]
    fn buffers_from_the_first_byte_on() {
        let flow = Flow::new().buffer(MS * 100);
        let passed = play(&flow, &[(5, "a"), (50, "b"), (106, "c"), (150, "d")], None);
        let expected = [at(105, "a"), at(105, "b"), at(206, "c"), at(206, "d")];
        assert_eq!(passed, expected);
    }

    #[test]
    fn the_end_releases_what_is_buffered() {
        let flow = Flow::new().buffer(Duration::MAX);
        let passed = play(&flow, &[(0, "a"), (7, "b")], Some(9));
        assert_eq!(passed, [at(9, "a"), at(9, "b"), at(9, "end")]);
        assert_eq!(play(&flow, &[(0, "a")], None), []);
    }

    #[test]
    fn a_full_buffer_is_released() {
        let flow = Flow::new().buffer(Duration::MAX);
        let mut schedule = Schedule::default();
        let now = Instant::now();
        schedule.push(now, vec![0; ROOM - 1]);
        assert_eq!(schedule.pop(now, &flow), None);
        assert!(schedule.has_room());
        schedule.push(now, vec![0]);
        assert!(!schedule.has_room());
        assert!(schedule.pop(now, &flow).is_some());
    }

    #[test]
    fn throttles() {
        let flow = Flow::new().throttle(1000);
        let passed = play(&flow, &[(0, &"x".repeat(1000))], Some(0));
        let (last, _) = passed.last().unwrap();
        assert!((960..=1000).contains(last), "{last}");
        let slow = play(&Flow::new().throttle(10), &[(0, "xxx")], None);
        assert_eq!(slow, [at(0, "x"), at(100, "x"), at(200, "x")]);
    }

    #[test]
    fn a_fault_that_was_lifted_is_forgotten() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.push(now, b"x".to_vec());
        let slow = Flow::new().delay(MS * 100).buffer(Duration::MAX);
        assert_eq!(schedule.pop(now, &slow), None);
        assert_eq!(schedule.pop(now, &Flow::new()), Some(b"x".to_vec()));
    }
}
