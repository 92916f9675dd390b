use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::counters::Counters;
use crate::faults::{Cut, Faults};
use crate::pump::{Direction, Ending, Pump};

/// How long connecting to the server may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a peer may take to end its side of a connection that the proxy has ended.
const LINGER: Duration = Duration::from_secs(1);

/// One accepted connection.
pub(crate) struct Link {
    pub(crate) client: TcpStream,
    pub(crate) upstream: SocketAddr,
    pub(crate) faults: watch::Receiver<Faults>,
    pub(crate) cuts: watch::Receiver<Cut>,
    pub(crate) counters: watch::Sender<Counters>,
}

impl Link {
    /// Serves the connection to its end.
    pub(crate) async fn run(mut self) {
        let _open = Open::new(self.counters.clone());
        let accepted = Instant::now();
        // A socket that cannot be set up is about to fail anyway.
        let _ = self.client.set_nodelay(true);
        let mut server = None;
        let (mut faults, mut cuts) = (self.faults.clone(), self.cuts.clone());
        let mut ending = tokio::select! {
            biased;
            cut = stopped(&mut cuts, &mut faults, accepted) => Ending::Cut(cut),
            ended = self.serve(&mut server) => match ended {
                Ok(()) => return,
                Err(ending) => ending,
            },
        };
        if ending == Ending::BlackHole {
            server = None;
            ending = tokio::select! {
                cut = stopped(&mut cuts, &mut faults, accepted) => Ending::Cut(cut),
                () = swallow(&mut self.client, &self.counters) => return,
            };
        }
        match ending {
            Ending::Cut(cut) => {
                self.counters.send_modify(|counters| counters.cut += 1);
                end(self.client, server, cut).await;
            }
            Ending::Answer(status) => {
                drop(server);
                let _ = timeout(LINGER, answer(&mut self.client, status)).await;
            }
            // Where one peer has gone, the other one gets to know it the same way.
            Ending::Failed | Ending::BlackHole => end(self.client, server, Cut::Reset).await,
        }
    }

    /// Connects to the server and passes bytes both ways until both streams have ended.
    async fn serve(&mut self, server: &mut Option<TcpStream>) -> Result<(), Ending> {
        if self.faults.borrow().black_hole {
            return Err(Ending::BlackHole);
        }
        let connecting = timeout(CONNECT, TcpStream::connect(self.upstream));
        let connected = connecting.await.map_err(io::Error::from)??;
        connected.set_nodelay(true)?;
        let (from_server, to_server) = server.insert(connected).split();
        let (from_client, to_client) = self.client.split();
        let up = Pump {
            from: from_client,
            to: to_server,
            direction: Direction::Up,
            faults: self.faults.clone(),
            counters: &self.counters,
        };
        let down = Pump {
            from: from_server,
            to: to_client,
            direction: Direction::Down,
            faults: self.faults.clone(),
            counters: &self.counters,
        };
        tokio::try_join!(up.run(), down.run()).map(|_| ())
    }
}

/// Waits until the connection is to be cut.
async fn stopped(
    cuts: &mut watch::Receiver<Cut>,
    faults: &mut watch::Receiver<Faults>,
    accepted: Instant,
) -> Cut {
    tokio::select! {
        biased;
        Ok(()) = cuts.changed() => *cuts.borrow_and_update(),
        cut = killed(faults, accepted) => cut,
    }
}

/// Waits until the connection is older than it may get.
async fn killed(faults: &mut watch::Receiver<Faults>, accepted: Instant) -> Cut {
    loop {
        let (age, cut) = {
            let faults = faults.borrow_and_update();
            (faults.kill_after, faults.cut_with)
        };
        let Some(deadline) = age.and_then(|age| accepted.checked_add(age)) else {
            if faults.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            continue;
        };
        tokio::select! {
            () = sleep_until(deadline) => return cut,
            Ok(()) = faults.changed() => {}
        }
    }
}

async fn end(client: TcpStream, server: Option<TcpStream>, cut: Cut) {
    let sockets = [Some(client), server].into_iter().flatten();
    match cut {
        // With a linger time of zero a socket that is dropped sends a reset.
        Cut::Reset => {
            for socket in sockets {
                let _ = socket.set_zero_linger();
            }
        }
        Cut::Fin => {
            let mut sockets: Vec<_> = sockets.collect();
            for socket in &mut sockets {
                let _ = socket.shutdown().await;
            }
            // A socket that is dropped with bytes unread sends a reset after all.
            let drained = async {
                for socket in &mut sockets {
                    drain(socket, |_| {}).await;
                }
            };
            let _ = timeout(LINGER, drained).await;
        }
    }
}

/// Answers a request, and waits until the client has ended the connection, because a reset might
/// overtake the answer.
async fn answer(client: &mut TcpStream, status: u16) -> io::Result<()> {
    let phrase = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    };
    let head =
        format!("HTTP/1.1 {status} {phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    client.write_all(head.as_bytes()).await?;
    client.shutdown().await?;
    drain(client, |_| {}).await;
    Ok(())
}

/// Reads all that comes until the client ends the connection.
async fn swallow(client: &mut TcpStream, counters: &watch::Sender<Counters>) {
    let count = |bytes| counters.send_modify(|counters| counters.swallowed += bytes);
    drain(client, count).await;
}

async fn drain(socket: &mut TcpStream, count: impl Fn(u64)) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = socket.read(&mut buffer).await {
        count(length as u64);
    }
}

/// Counts a connection as open as long as it lives.
struct Open(watch::Sender<Counters>);

impl Open {
    fn new(counters: watch::Sender<Counters>) -> Self {
        counters.send_modify(|counters| {
            counters.accepted += 1;
            counters.open += 1;
        });
        Self(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|counters| counters.open -= 1);
    }
}
