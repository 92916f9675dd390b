//! Fan-out: what is published arrives at every subscriber.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures_util::SinkExt;
use tokio::sync::Semaphore;
use tokio::time::{interval, sleep};

use crate::connection::Protocol;
use crate::meter::Meter;
use crate::payload::Payload;
use crate::subscribe::{events, polls, websocket};
use crate::{Common, Failure, Socket, Tasks};

#[derive(Args, Clone)]
pub struct FanOutArgs {
    #[command(flatten)]
    pub common: Common,
    /// What the subscribers speak
    #[arg(long, value_enum, default_value = "ws")]
    kind: Kind,
    /// Subscribers
    #[arg(short, long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Published messages that may be on their way to somebody
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Publishes when there is room for so many
    #[arg(long, default_value_t = 1, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Publishes so many messages a second, instead of as many as go
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Ws,
    Sse,
    Poll,
    SessionWs,
}

pub async fn start(args: &FanOutArgs, meter: &Meter, tasks: &mut Tasks) -> Result<(), Failure> {
    let progress = Arc::new(Progress {
        subscribers: args.connections as usize,
        joined: AtomicUsize::new(0),
        arrived: (0..args.in_flight).map(|_| AtomicUsize::new(0)).collect(),
        room: Semaphore::new(args.in_flight as usize),
        meter: meter.clone(),
    });
    let (common, payload) = (&args.common, Payload::new(args.common.size));
    for _ in 0..args.connections {
        let subscriber = Subscriber {
            next: payload.clone(),
            joined: false,
            progress: Arc::clone(&progress),
        };
        match args.kind {
            Kind::Ws => websocket(common, Protocol::Ws, subscriber, tasks).await?,
            Kind::SessionWs => websocket(common, Protocol::SessionWs, subscriber, tasks).await?,
            Kind::Sse => events(common, subscriber, tasks).await?,
            Kind::Poll => polls(common, subscriber, tasks).await?,
        }
    }
    let socket = common.websocket("/ws/publish", None).await?;
    let mut publisher = Publisher {
        socket,
        payload,
        progress,
    };
    publisher.find_all(tasks).await?;
    match args.rate {
        Some(rate) => tasks.spawn(publisher.at(rate)),
        None => tasks.spawn(publisher.run(args.batch.min(args.in_flight))),
    };
    Ok(())
}

/// What is known of all subscribers.
struct Progress {
    subscribers: usize,
    /// How many have got a probe.
    joined: AtomicUsize,
    /// How many have got each of the messages in flight, by number.
    arrived: Vec<AtomicUsize>,
    /// How many more messages may be in flight.
    room: Semaphore,
    meter: Meter,
}

/// Checks what one subscriber gets.
pub struct Subscriber {
    next: Payload,
    /// A probe came.
    joined: bool,
    progress: Arc<Progress>,
}

impl Subscriber {
    pub fn message(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let progress = &*self.progress;
        // The publisher sends several, until all have got one.
        if self.next.number() == 0 && self.next.is_probe(bytes) {
            if !std::mem::replace(&mut self.joined, true) {
                progress.joined.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(());
        }
        self.next.check(bytes)?;
        progress.meter.count();
        let arrived = &progress.arrived[self.next.number() as usize % progress.arrived.len()];
        self.next.step();
        if arrived.fetch_add(1, Ordering::Relaxed) + 1 == progress.subscribers {
            arrived.store(0, Ordering::Relaxed);
            progress.room.add_permits(1);
        }
        Ok(())
    }
}

struct Publisher {
    socket: Socket,
    payload: Payload,
    progress: Arc<Progress>,
}

impl Publisher {
    /// Publishes probes until every subscriber has got one: from then on all get everything.
    async fn find_all(&mut self, tasks: &mut Tasks) -> Result<(), Failure> {
        while self.progress.joined.load(Ordering::Relaxed) < self.progress.subscribers {
            self.socket.send(self.payload.probe()).await?;
            sleep(Duration::from_millis(200)).await;
            if let Some(ended) = tasks.try_join_next() {
                return ended?;
            }
        }
        Ok(())
    }

    /// As many as go.
    async fn run(mut self, batch: u32) -> Result<(), Failure> {
        let room = &self.progress.room;
        loop {
            room.acquire_many(batch).await?.forget();
            // All that there is room for leaves in one write.
            let more = room.available_permits();
            room.forget_permits(more);
            for _ in 0..batch as usize + more {
                self.socket.feed(self.payload.message()).await?;
                self.payload.step();
            }
            self.socket.flush().await?;
        }
    }

    /// So many a second.
    async fn at(mut self, rate: f64) -> Result<(), Failure> {
        let mut ticks = interval(Duration::try_from_secs_f64(1.0 / rate)?);
        loop {
            ticks.tick().await;
            let room = self.progress.room.try_acquire();
            room.map_err(|_| "the server does not keep up")?.forget();
            self.socket.send(self.payload.message()).await?;
            self.payload.step();
        }
    }
}
