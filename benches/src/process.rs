//! What a process and its children used, as Linux tells.

use std::fs;
use std::ops::Sub;

/// CPU time so far, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    pub(crate) total: u64,
    /// The part of it that was the kernel's, counted in ticks of 10 ms.
    pub(crate) system: u64,
    /// How long threads were ready to run and did not, because others did.
    pub(crate) waited: u64,
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            system: self.system.saturating_sub(before.system),
            waited: self.waited.saturating_sub(before.waited),
        }
    }
}

const NANOS_PER_TICK: u64 = 10_000_000;

/// CPU time of a process and its children; `None` when it is gone, or this is not Linux.
pub(crate) fn cpu(pid: u32) -> Option<Cpu> {
    let mut sum = Cpu::default();
    for pid in family(pid) {
        let (user, system) = ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let mut numbers = text
                .split_whitespace()
                .map_while(|word| word.parse::<u64>().ok());
            total += numbers.next().unwrap_or(0);
            sum.waited += numbers.next().unwrap_or(0);
        }
        // Where the kernel has no schedstat, or threads have ended, the ticks know more.
        sum.total += total.max((user + system) * NANOS_PER_TICK);
        sum.system += system * NANOS_PER_TICK;
    }
    Some(sum)
}

/// Resident bytes of a process and its children.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for pid in family(pid) {
        sum += kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)? * 1024;
    }
    Some(sum)
}

fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        next += 1;
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let children = children.unwrap_or_default();
        family.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    family
}

/// User and system ticks of `/proc/PID/stat` (proc(5)).
fn ticks(stat: &str) -> Option<(u64, u64)> {
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(11);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "1 (a) b) S 0 1 1 0 -1 4194560 5 6 7 8 123 45 9 9 20 0 1 0 5";
        assert_eq!(ticks(stat), Some((123, 45)));
        assert_eq!(
            kib("Name:\tx\nVmRSS:\t   4096 kB\nThreads: 1\n"),
            Some(4096)
        );
        assert_eq!(kib(""), None);
    }

    #[test]
    fn knows_this_process() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let pid = std::process::id();
        let before = cpu(pid).unwrap();
        let mut sum = 0_u64;
        for number in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(number));
        }
        let used = cpu(pid).unwrap() - before;
        assert!(used.total > 1_000_000, "{used:?}, {sum}");
        assert!(resident(pid).unwrap() > 100_000);
    }
}
