//! Many clients on one thread: one wake-up for each socket that can be read.

use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::lane::{Lane, Traffic};
use crate::wire::{Fault, Kind, Out, Target, Wire};

/// Large enough that a socket is nearly always empty after one read.
const READ_SIZE: usize = 256 * 1024;
/// How many connections are opened at a time, at most: below the backlog of every listener.
pub(super) const OPENING: u32 = 64;
/// How long nothing may come while something is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What a scenario does with what comes.
pub(super) trait Handler {
    /// A message came.
    fn message(&mut self, client: usize, payload: &[u8]) -> Result<(), Fault>;

    /// All that one read brought was told. What is sent now leaves in one write.
    fn after(&mut self, _client: usize, _wire: &mut dyn Wire, _out: &mut Out) {}
}

pub(super) struct Swarm {
    poll: Poll,
    events: Events,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    space: Vec<u8>,
    pub(super) traffic: Traffic,
    ticked: Instant,
    /// Looks again and again instead of sleeping.
    spin: bool,
    /// How many connections are opened at a time.
    opening: u32,
    /// Has TCP acknowledge what was read at once.
    prompt: bool,
}

struct Client {
    wire: Box<dyn Wire>,
    lanes: [Option<Lane>; 2],
    out: Out,
    /// Was ready when last looked at.
    ready: bool,
}

impl Swarm {
    pub(super) fn new(spin: bool) -> Result<Self, Fault> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            clients: Vec::new(),
            free: Vec::new(),
            space: vec![0; READ_SIZE],
            traffic: Traffic::default(),
            ticked: Instant::now(),
            spin,
            opening: OPENING,
            prompt: false,
        })
    }

    /// Has TCP acknowledge what was read at once, on all connections alike. Those that never write do so
    /// anyway. Those that do write delay it, and on loopback the acknowledgement is then mostly made, and
    /// dealt with, on the core of the sender, when that sends more: its server would look slower.
    pub(super) fn prompt(self) -> Self {
        Self {
            prompt: true,
            ..self
        }
    }

    /// Opens so many connections at a time.
    pub(super) fn opening(self, opening: u32) -> Self {
        Self { opening, ..self }
    }

    /// Begins to connect one client, and returns its number.
    pub(super) fn begin(&mut self, target: &Target, wire: Box<dyn Wire>) -> Result<usize, Fault> {
        let index = self.free.pop().unwrap_or(self.clients.len());
        let mut client = Client {
            lanes: [None, None],
            wire,
            out: Out::default(),
            ready: false,
        };
        for number in 0..client.wire.lanes() {
            let token = Token(index * 2 + number);
            client.lanes[number] = Some(Lane::connect(target.addr, self.poll.registry(), token)?);
        }
        client.wire.begin(&mut client.out);
        match self.clients.get_mut(index) {
            Some(place) => *place = Some(client),
            None => self.clients.push(Some(client)),
        }
        Ok(index)
    }

    /// Opens so many clients and waits until all are ready.
    pub(super) fn open(
        &mut self,
        target: &Target,
        kind: Kind,
        upstream: bool,
        count: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<(), Fault> {
        let wanted = self.clients.len() + count;
        let mut opening = Opening;
        let mut deadline = Instant::now() + PATIENCE;
        let mut ready = self.ready();
        loop {
            while self.clients.len() < wanted && self.clients.len() - ready < self.opening as usize
            {
                self.begin(target, target.client(kind, upstream))?;
            }
            self.turn(Duration::from_millis(50), &mut opening)?;
            let now_ready = self.ready();
            if now_ready > ready {
                deadline = Instant::now() + PATIENCE;
            }
            ready = now_ready;
            progress(ready);
            if ready == wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                let what = format!("{ready} of {wanted} connections opened");
                return Err(Fault::Silent(what));
            }
        }
    }

    fn ready(&self) -> usize {
        self.clients
            .iter()
            .flatten()
            .filter(|client| client.ready)
            .count()
    }

    pub(super) fn is_ready(&self, index: usize) -> bool {
        matches!(self.clients.get(index), Some(Some(client)) if client.ready)
    }

    /// Drops a client and its connections.
    pub(super) fn close(&mut self, index: usize) {
        if let Some(place) = self.clients.get_mut(index)
            && place.take().is_some()
        {
            self.free.push(index);
        }
    }

    /// Waits for sockets that can be read or written, no longer than `timeout`, and serves them.
    pub(super) fn turn(
        &mut self,
        timeout: Duration,
        handler: &mut impl Handler,
    ) -> Result<(), Fault> {
        self.wait(timeout)?;
        for event in &self.events {
            let (index, lane) = (event.token().0 / 2, event.token().0 % 2);
            // It may be of a client that is gone.
            let Some(Some(client)) = self.clients.get_mut(index) else {
                continue;
            };
            if event.is_readable() || event.is_error() {
                client.read(index, lane, &mut self.space, &mut self.traffic, handler)?;
                if self.prompt {
                    client.acknowledge(lane);
                }
            }
            client.write(&mut self.traffic)?;
            // Where nothing is to be said first, being connected is enough.
            client.ready = client.wire.is_ready();
        }
        if self.ticked.elapsed() > Duration::from_secs(1) {
            self.ticked = Instant::now();
            for client in self.clients.iter_mut().flatten() {
                client.wire.tick(&mut client.out);
                client.write(&mut self.traffic)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), Fault> {
        let begun = Instant::now();
        let nap = if self.spin { Duration::ZERO } else { timeout };
        loop {
            match self.poll.poll(&mut self.events, Some(nap)) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            if !self.spin || !self.events.is_empty() || begun.elapsed() >= timeout {
                return Ok(());
            }
        }
    }

    /// Lets a scenario send on one client.
    pub(super) fn with(
        &mut self,
        index: usize,
        work: impl FnOnce(&mut dyn Wire, &mut Out),
    ) -> Result<(), Fault> {
        if let Some(Some(client)) = self.clients.get_mut(index) {
            work(&mut *client.wire, &mut client.out);
            client.write(&mut self.traffic)?;
        }
        Ok(())
    }
}

impl Client {
    fn read(
        &mut self,
        index: usize,
        number: usize,
        space: &mut [u8],
        traffic: &mut Traffic,
        handler: &mut impl Handler,
    ) -> Result<(), Fault> {
        let Self {
            wire, lanes, out, ..
        } = self;
        let Some(lane) = &mut lanes[number] else {
            return Ok(());
        };
        lane.read(space, traffic, |bytes| {
            wire.parse(number, bytes, out, &mut |payload| {
                handler.message(index, payload)
            })
        })?;
        handler.after(index, &mut *self.wire, &mut self.out);
        Ok(())
    }

    fn acknowledge(&self, number: usize) {
        if let Some(lane) = &self.lanes[number] {
            lane.acknowledge();
        }
    }

    fn write(&mut self, traffic: &mut Traffic) -> Result<(), Fault> {
        for (lane, out) in self.lanes.iter_mut().zip(&mut self.out) {
            if let Some(lane) = lane
                && !out.is_empty()
            {
                lane.write(out, traffic)?;
            }
        }
        Ok(())
    }
}

/// While connections open, nothing is expected but what opens them.
struct Opening;

impl Handler for Opening {
    fn message(&mut self, _: usize, payload: &[u8]) -> Result<(), Fault> {
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(80)]).into_owned();
        Err(Fault::Wrong(format!("nobody has sent {shown:?} yet")))
    }
}
