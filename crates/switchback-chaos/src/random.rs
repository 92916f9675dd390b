use std::ops::RangeInclusive;
use std::time::Duration;

/// A small generator of numbers that look random: SplitMix64 (Steele, Lea and Flood, 2014).
/// Its use is that a seed repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Draws a time from a range, in whole microseconds. An empty range gives its start.
    pub(crate) fn time(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let width = range.end().saturating_sub(*range.start()).as_micros();
        let width = u64::try_from(width).unwrap_or(u64::MAX - 1);
        *range.start() + Duration::from_micros(self.number() % (width + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_stays_in_range() {
        let range = Duration::from_millis(100)..=Duration::from_millis(500);
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.time(&range)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|time| range.contains(time)));
        let empty = Duration::from_secs(2)..=Duration::from_secs(1);
        assert_eq!(Random::new(1).time(&empty), Duration::from_secs(2));
    }
}
