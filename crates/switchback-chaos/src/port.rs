use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How many connections wait to be accepted.
const BACKLOG: u32 = 256;

/// A port that can be opened and closed again.
#[derive(Debug)]
pub(crate) struct Port {
    addr: SocketAddr,
    /// Keeps the port while nobody listens: a socket that is bound and does not listen refuses.
    /// Where the system does not allow two sockets on a port there is none.
    _reserved: Option<TcpSocket>,
    listener: Option<TcpListener>,
}

impl Port {
    /// Takes a free port of the loopback interface and listens.
    pub(crate) fn open() -> io::Result<Self> {
        let reserved = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let addr = reserved.local_addr()?;
        let (reserved, listener) = match listen(addr) {
            Ok(listener) => (Some(reserved), listener),
            Err(_) => {
                drop(reserved);
                (None, listen(addr)?)
            }
        };
        Ok(Self {
            addr,
            _reserved: reserved,
            listener: Some(listener),
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Starts or stops to refuse connections. Those that nobody has accepted yet are reset.
    pub(crate) fn refuse(&mut self, refuse: bool) {
        if refuse {
            self.listener = None;
        } else if self.listener.is_none() {
            // Should somebody have taken the port, connections stay refused.
            self.listener = listen(self.addr).ok();
        }
    }

    /// Accepts a connection; waits while the port is closed.
    pub(crate) async fn accept(&self) -> io::Result<TcpStream> {
        match &self.listener {
            Some(listener) => listener.accept().await.map(|(stream, _)| stream),
            None => std::future::pending().await,
        }
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Lets the listener and the socket that keeps its port share it, and lets it be opened again
    // while old connections are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    bind(addr)?.listen(BACKLOG)
}
