use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::counters::Counters;
use crate::faults::{Cut, Faults, Flow};
use crate::http::{Part, Requests, without_upgrade};
use crate::rule::Action;
use crate::schedule::Schedule;

/// How much is read at a time.
const CHUNK: usize = 16 * 1024;

/// One direction of one connection.
pub(crate) struct Pump<'a> {
    pub(crate) from: ReadHalf<'a>,
    pub(crate) to: WriteHalf<'a>,
    pub(crate) direction: Direction,
    pub(crate) faults: watch::Receiver<Faults>,
    pub(crate) counters: &'a watch::Sender<Counters>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// Why a connection ends before both its directions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Cut(Cut),
    /// The proxy answers the request.
    Answer(u16),
    /// The rest is swallowed.
    BlackHole,
    /// A socket failed: the peer has gone.
    Failed,
}

impl From<io::Error> for Ending {
    fn from(_: io::Error) -> Self {
        Self::Failed
    }
}

impl Pump<'_> {
    /// Passes bytes on until the stream has ended.
    pub(crate) async fn run(mut self) -> Result<(), Ending> {
        let mut schedule = Schedule::default();
        let mut requests = Requests::new();
        let mut buffer = vec![0; CHUNK];
        let mut passed = 0;
        loop {
            let faults = self.faults.borrow_and_update().clone();
            let flow = self.flow(&faults);
            while let Some(bytes) = schedule.pop(Instant::now(), &flow) {
                self.pass(&bytes, &mut passed, &flow, faults.cut_with)
                    .await?;
            }
            if schedule.is_over(Instant::now(), &flow) {
                if !flow.black_hole {
                    self.to.shutdown().await?;
                }
                return Ok(());
            }
            let due = schedule.due(&flow);
            tokio::select! {
                read = self.from.read(&mut buffer), if schedule.has_room() => {
                    let bytes = &buffer[..read?];
                    let now = Instant::now();
                    if bytes.is_empty() {
                        schedule.push(now, requests.let_go());
                        schedule.end(now);
                    } else if self.direction == Direction::Up && !flow.black_hole {
                        self.scan(&mut requests, bytes, &mut schedule)?;
                    } else {
                        schedule.push(now, bytes.to_vec());
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                Ok(()) = self.faults.changed() => {}
                // The proxy is gone, and nothing is under way.
                else => return Err(Ending::Failed),
            }
            let flow = self.flow(&self.faults.borrow());
            if flow.black_hole {
                let swallowed = schedule.clear() as u64;
                self.counters.send_modify(|c| c.swallowed += swallowed);
            }
        }
    }

    fn flow(&self, faults: &Faults) -> Flow {
        let mut flow = match self.direction {
            Direction::Up => faults.up.clone(),
            Direction::Down => faults.down.clone(),
        };
        flow.black_hole |= faults.black_hole;
        flow
    }

    async fn pass(
        &mut self,
        bytes: &[u8],
        passed: &mut u64,
        flow: &Flow,
        cut: Cut,
    ) -> Result<(), Ending> {
        let left = flow
            .truncate
            .map_or(u64::MAX, |most| most.saturating_sub(*passed));
        let length = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        self.to.write_all(&bytes[..length]).await?;
        *passed += length as u64;
        self.counters.send_modify(|counters| match self.direction {
            Direction::Up => counters.bytes_up += length as u64,
            Direction::Down => counters.bytes_down += length as u64,
        });
        if length < bytes.len() {
            return Err(Ending::Cut(cut));
        }
        Ok(())
    }

    /// Applies the rules to the requests that `bytes` completes.
    fn scan(
        &self,
        requests: &mut Requests,
        mut bytes: &[u8],
        schedule: &mut Schedule,
    ) -> Result<(), Ending> {
        let now = Instant::now();
        let faults = self.faults.borrow();
        while let Some(part) = requests.next(&mut bytes) {
            let (head, bytes, whole) = match part {
                Part::Head { head, bytes, whole } => (head, bytes, whole),
                Part::Other(bytes) => {
                    schedule.push(now, bytes);
                    continue;
                }
            };
            let rule = faults
                .rules
                .iter()
                .find(|rule| whole && (rule.matches)(&head));
            self.counters.send_modify(|counters| {
                counters.requests += 1;
                counters.caught += u64::from(rule.is_some());
            });
            match rule.map(|rule| rule.action) {
                None => schedule.push(now, bytes),
                Some(Action::StripUpgrade) => {
                    schedule.push(now, without_upgrade(&bytes));
                    if head.lists("connection", "upgrade") {
                        requests.no_upgrade();
                    }
                }
                Some(Action::Answer(status)) => return Err(Ending::Answer(status)),
                Some(Action::BlackHole) => return Err(Ending::BlackHole),
                Some(Action::Cut(cut)) => return Err(Ending::Cut(cut)),
            }
        }
        // While there is no rule to judge it by, the beginning of a head need not wait for its end.
        if faults.rules.is_empty() {
            schedule.push(now, requests.let_go());
        }
        Ok(())
    }
}
