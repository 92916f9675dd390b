//! The same echo over all transports, through loopback sockets: client and server of the facade
//! on one thread.
//!
//! `cargo bench -p switchback-bench --bench transports`

#![allow(
    missing_docs,
    reason = "criterion's macros write functions without documentation"
)]

use std::error::Error;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use switchback::{Client, Config, Connection, Endpoint, Message, TransportKind};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

/// How many messages are in flight.
const BURSTS: [u64; 2] = [1, 16];
const SIZES: [usize; 2] = [125, 4096];
const KINDS: [TransportKind; 3] = [
    TransportKind::WebSocket,
    TransportKind::Sse,
    TransportKind::LongPoll,
];

fn transports(c: &mut Criterion) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime: {error}"),
    };
    let mut group = c.benchmark_group("echo");
    for kind in KINDS {
        let mut connection = match runtime.block_on(open(kind)) {
            Ok(connection) => connection,
            Err(error) => panic!("no connection: {error}"),
        };
        for (size, burst) in SIZES
            .into_iter()
            .flat_map(|size| BURSTS.map(|burst| (size, burst)))
        {
            let message = Message::binary(vec![7; size]);
            group.throughput(Throughput::Elements(burst));
            let id = BenchmarkId::new(format!("{}/{size}", kind.name()), burst);
            group.bench_function(id, |b| {
                b.iter_custom(|rounds| {
                    let run = echoes(&mut connection, &message, burst, rounds);
                    match runtime.block_on(run) {
                        Ok(time) => time,
                        Err(error) => panic!("the echo failed: {error}"),
                    }
                });
            });
        }
    }
}

/// Starts an echo server and connects to it.
async fn open(kind: TransportKind) -> Result<Connection, Box<dyn Error>> {
    let (endpoint, mut incoming) = Endpoint::new(Config::new());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(switchback::serve(listener, endpoint));
    tokio::spawn(async move {
        while let Some(mut connection) = incoming.accept().await {
            while let Ok(Some(message)) = connection.recv().await {
                if connection.send(message).await.is_err() {
                    break;
                }
            }
        }
    });
    Ok(Client::new(&url)?.transports([kind]).connect().await?)
}

async fn echoes(
    connection: &mut Connection,
    message: &Message,
    burst: u64,
    rounds: u64,
) -> Result<Duration, Box<dyn Error>> {
    let begin = Instant::now();
    for _ in 0..rounds {
        for _ in 0..burst {
            connection.send(message.clone()).await?;
        }
        for _ in 0..burst {
            let received = connection.recv().await?;
            assert_eq!(received.as_ref(), Some(message));
        }
    }
    Ok(begin.elapsed())
}

criterion_group! {
    name = echo;
    config = Criterion::default().measurement_time(Duration::from_secs(3));
    targets = transports
}
criterion_main!(echo);
