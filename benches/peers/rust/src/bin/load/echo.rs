//! Echo: what a connection sends comes back to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

use crate::connection::{Connection, Protocol};
use crate::meter::Meter;
use crate::payload::Payload;
use crate::{Common, Failure, Tasks};

#[derive(Args, Clone)]
pub struct EchoArgs {
    #[command(flatten)]
    pub common: Common,
    /// What the connections speak
    #[arg(long, value_enum, default_value = "ws")]
    kind: Protocol,
    /// Connections
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Messages that each has in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    in_flight: u64,
    /// Sends so many messages a second in all: at even times one connection after the other sends as
    /// many as it may have in flight. Never sleeps
    #[arg(long)]
    rate: Option<f64>,
}

pub async fn start(args: &EchoArgs, meter: &Meter, tasks: &mut Tasks) -> Result<(), Failure> {
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        let path = args.common.url.path();
        connections.push(Connection::open(&args.common, path, args.kind).await?);
    }
    let mut turns = Vec::new();
    for connection in connections {
        let turn = args.rate.map(|_| Arc::new(Semaphore::new(0)));
        turns.extend(turn.clone());
        let payload = Payload::new(args.common.size);
        let client = Client {
            connection,
            payload,
            in_flight: args.in_flight,
            turn,
            meter: meter.clone(),
        };
        tasks.spawn(client.run());
    }
    if let Some(rate) = args.rate {
        tasks.spawn(pace(
            turns,
            Duration::try_from_secs_f64(args.in_flight as f64 / rate)?,
        ));
    }
    Ok(())
}

/// Lets one client after the other send.
async fn pace(turns: Vec<Arc<Semaphore>>, between: Duration) -> Result<(), Failure> {
    let mut due = Instant::now();
    for turn in turns.iter().cycle() {
        while Instant::now() < due {
            yield_now().await;
        }
        turn.add_permits(1);
        due += between;
    }
    Ok(())
}

struct Client {
    connection: Connection,
    payload: Payload,
    in_flight: u64,
    /// A permit for each time that it may send, where there is a rate.
    turn: Option<Arc<Semaphore>>,
    meter: Meter,
}

impl Client {
    async fn run(mut self) -> Result<(), Failure> {
        let (mut sent, mut received) = (self.payload.clone(), self.payload);
        loop {
            if let Some(turn) = &self.turn {
                // All messages at once, or none.
                if sent.number() == received.number() {
                    turn.acquire().await?.forget();
                    feed(&mut self.connection, &mut sent, self.in_flight).await?;
                }
            } else {
                let room = received.number() + self.in_flight - sent.number();
                feed(&mut self.connection, &mut sent, room).await?;
            }
            self.connection.flush().await?;
            let mut next = self.connection.next().await?;
            // Whatever has come with it is answered in one write.
            loop {
                received.check(&next)?;
                received.step();
                self.meter.count();
                if received.number() == sent.number() {
                    break;
                }
                match self.connection.next().now_or_never() {
                    Some(more) => next = more?,
                    None => break,
                }
            }
        }
    }
}

async fn feed(
    connection: &mut Connection,
    payload: &mut Payload,
    count: u64,
) -> Result<(), Failure> {
    for _ in 0..count {
        connection.feed(payload.message()).await?;
        payload.step();
    }
    Ok(())
}
