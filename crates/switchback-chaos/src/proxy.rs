use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::counters::Counters;
use crate::faults::{Cut, Faults};
use crate::link::Link;
use crate::port::Port;
use crate::random::Random;

/// How many connections are open at a time. Further ones wait to be accepted.
const MAX_OPEN: usize = 4096;
/// How long the proxy waits after the system could not give it a connection: it is out of file
/// descriptors, and trying at once would only spin.
const PAUSE: Duration = Duration::from_millis(50);

/// A TCP proxy in front of one server. It listens on a free port of the loopback interface.
///
/// It runs in tasks of the tokio runtime that it was started in, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    faults: mpsc::Sender<(Faults, oneshot::Sender<()>)>,
    upstream: watch::Sender<SocketAddr>,
    cuts: watch::Sender<Cut>,
    counters: watch::Receiver<Counters>,
    task: AbortHandle,
}

impl Proxy {
    /// Starts a proxy in front of the server at `upstream`, without faults.
    ///
    /// # Errors
    ///
    /// No port could be opened.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime with I/O and time.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let port = Port::open()?;
        let addr = port.addr();
        let (faults, plans) = mpsc::channel(16);
        let upstream = watch::Sender::new(upstream);
        let cuts = watch::Sender::new(Cut::default());
        let counters = watch::Sender::new(Counters::default());
        let watched = counters.subscribe();
        let runner = Runner {
            port,
            plans,
            faults: watch::Sender::new(Faults::new()),
            upstream: upstream.subscribe(),
            cuts: cuts.clone(),
            counters,
            links: JoinSet::new(),
        };
        let task = tokio::spawn(runner.run()).abort_handle();
        Ok(Self {
            addr,
            faults,
            upstream,
            cuts,
            counters: watched,
            task,
        })
    }

    /// Returns the address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets what goes wrong from now on, in place of what went wrong before. Returns when it is
    /// in force.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have set it.
    pub async fn set(&self, faults: Faults) {
        let (done, wait) = oneshot::channel();
        // The task ends with the proxy only, and then nobody can call this.
        if self.faults.send((faults, done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    /// Sets the server that new connections go to: one that was started anew, on another port.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }

    /// Cuts all connections that are open now. New ones are accepted.
    pub fn cut(&self, cut: Cut) {
        self.cuts.send_replace(cut);
    }

    /// Returns what happened so far.
    pub fn counters(&self) -> Counters {
        *self.counters.borrow()
    }

    /// Waits until `happened`, which is asked for every change, and returns the counters of that
    /// moment. Give the wait a timeout.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn until(&self, happened: impl FnMut(&Counters) -> bool) -> Counters {
        let mut counters = self.counters.clone();
        match counters.wait_for(happened).await {
            Ok(counters) => *counters,
            // The runtime shuts down: nothing will happen any more.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task that accepts connections. Their tasks end with it.
struct Runner {
    port: Port,
    plans: mpsc::Receiver<(Faults, oneshot::Sender<()>)>,
    faults: watch::Sender<Faults>,
    upstream: watch::Receiver<SocketAddr>,
    cuts: watch::Sender<Cut>,
    counters: watch::Sender<Counters>,
    links: JoinSet<()>,
}

impl Runner {
    async fn run(mut self) {
        let mut cutter = None;
        loop {
            let next = cutter.as_ref().map(|cutter: &Cutter| cutter.next);
            tokio::select! {
                biased;
                plan = self.plans.recv() => {
                    let Some((faults, done)) = plan else { return };
                    cutter = Cutter::new(&faults);
                    self.port.refuse(faults.refuse);
                    self.faults.send_replace(faults);
                    let _ = done.send(());
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    let cut = cutter.as_mut().map(Cutter::cut);
                    self.cuts.send_replace(cut.unwrap_or_default());
                }
                _ = self.links.join_next(), if !self.links.is_empty() => {}
                client = self.port.accept(), if self.links.len() < MAX_OPEN => match client {
                    Ok(client) => {
                        let link = Link {
                            client,
                            upstream: *self.upstream.borrow(),
                            faults: self.faults.subscribe(),
                            cuts: self.cuts.subscribe(),
                            counters: self.counters.clone(),
                        };
                        self.links.spawn(link.run());
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                },
            }
        }
    }
}

/// Draws when all connections are cut next, and how.
struct Cutter {
    every: std::ops::RangeInclusive<Duration>,
    random: Random,
    next: Instant,
}

impl Cutter {
    fn new(faults: &Faults) -> Option<Self> {
        let (every, seed) = faults.cut_every.clone()?;
        let mut cutter = Self {
            every,
            random: Random::new(seed),
            next: Instant::now(),
        };
        cutter.wait();
        Some(cutter)
    }

    fn wait(&mut self) {
        let wait = self.random.time(&self.every);
        self.next = Instant::now() + wait.max(Duration::from_millis(1));
    }

    fn cut(&mut self) -> Cut {
        self.wait();
        if self.random.number().is_multiple_of(2) {
            Cut::Reset
        } else {
            Cut::Fin
        }
    }
}
