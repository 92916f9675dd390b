//! Echo: what a WebSocket sends comes back to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::sync::Semaphore;
use tokio::task::yield_now;

use crate::meter::Meter;
use crate::payload::Payload;
use crate::{Common, Failure, Socket, Tasks};

#[derive(Args, Clone)]
pub struct EchoArgs {
    #[command(flatten)]
    pub common: Common,
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
    let mut sockets = Vec::new();
    for _ in 0..args.connections {
        sockets.push(args.common.websocket(args.common.url.path()).await?);
    }
    let mut turns = Vec::new();
    for socket in sockets {
        let turn = args.rate.map(|_| Arc::new(Semaphore::new(0)));
        turns.extend(turn.clone());
        let payload = Payload::new(args.common.size);
        let client = Client {
            socket,
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
    socket: Socket,
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
                    feed(&mut self.socket, &mut sent, self.in_flight).await?;
                }
            } else {
                let room = received.number() + self.in_flight - sent.number();
                feed(&mut self.socket, &mut sent, room).await?;
            }
            self.socket.flush().await?;
            let mut next = self.socket.next().await;
            // Whatever has come with it is answered in one write.
            loop {
                let message = next.ok_or("a connection ended")??;
                received.check(&message.into_data())?;
                received.step();
                self.meter.count();
                if received.number() == sent.number() {
                    break;
                }
                match self.socket.next().now_or_never() {
                    Some(more) => next = more,
                    None => break,
                }
            }
        }
    }
}

async fn feed(socket: &mut Socket, payload: &mut Payload, count: u64) -> Result<(), Failure> {
    for _ in 0..count {
        socket.feed(payload.message()).await?;
        payload.step();
    }
    Ok(())
}
