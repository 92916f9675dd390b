//! What the peers share: the command line, the runtime, and a list that everything published goes to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Runs a server on one thread, on the address in the first argument.
pub fn run<F: Future<Output = std::io::Result<()>>>(
    serve: impl FnOnce(tokio::net::TcpListener) -> F,
) -> std::io::Result<()> {
    let addr: SocketAddr = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".into())
        .parse()
        .map_err(std::io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(addr).await?;
        println!("http://{}", listener.local_addr()?);
        serve(listener).await
    })
}

/// Bounded queues, one for each member. A publisher never waits.
#[derive(Clone, Default)]
pub struct Room(Arc<Mutex<Vec<mpsc::Sender<Bytes>>>>);

impl Room {
    pub fn join(&self) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(4096);
        self.0.lock().unwrap().push(sender);
        receiver
    }

    pub fn publish(&self, message: &Bytes) -> usize {
        let mut members = self.0.lock().unwrap();
        members.retain(|member| {
            !matches!(
                member.try_send(message.clone()),
                Err(mpsc::error::TrySendError::Closed(_))
            )
        });
        members.len()
    }
}
