/// How many numbers of attachments are remembered at most.
const MAX_USED: usize = 16;

/// Which numbers of attachments a session still accepts (`docs/protocol.md`, 3.2 and 3.5): none
/// below the fence, none up to the one selected last, and none twice.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The lowest number that may be accepted.
    floor: u64,
    /// Those from the floor on that were used.
    used: Vec<u64>,
}

impl Numbers {
    pub(super) fn accept(&self, number: u64) -> bool {
        number >= self.floor && !self.used.contains(&number)
    }

    /// Uses a number, and gives up all below `fence`.
    pub(super) fn take(&mut self, number: u64, fence: u64) {
        self.used.push(number);
        if self.used.len() > MAX_USED {
            // So late a latecomer is refused, which costs its client another try.
            let lowest = self.used.iter().copied().min().unwrap_or(0);
            self.raise(lowest + 1);
        }
        self.raise(fence);
    }

    /// Accepts no number below this one any more.
    pub(super) fn raise(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        self.used.retain(|number| *number >= self.floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_each_number_once_and_none_that_was_given_up() {
        let mut numbers = Numbers::default();
        numbers.take(2, 1);
        assert!(numbers.accept(1), "the other one of a race may come later");
        assert!(!numbers.accept(2));
        numbers.take(5, 5);
        assert!(!numbers.accept(4));
        numbers.raise(8);
        assert!(!numbers.accept(7));
        assert!(numbers.accept(8));
        for number in 8..200 {
            numbers.take(number, 8);
        }
        assert!(numbers.used.len() <= MAX_USED);
        assert!(!numbers.accept(150));
        assert!(numbers.accept(200));
    }
}
