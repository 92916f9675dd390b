//! One TCP connection of a client: a socket that does not block, and what waits to be written.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::wire::Fault;

#[derive(Debug)]
pub(super) struct Lane {
    stream: TcpStream,
    /// What came and was not used yet.
    rest: Vec<u8>,
    written: usize,
}

/// How many bytes went over sockets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Lane {
    pub(super) fn connect(
        addr: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> Result<Self, Fault> {
        let mut stream = TcpStream::connect(addr)?;
        let _ = stream.set_nodelay(true);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            rest: Vec::new(),
            written: 0,
        })
    }

    /// Reads until nothing is left, and gives each part to `parse`, which says how much it used.
    pub(super) fn read(
        &mut self,
        space: &mut [u8],
        traffic: &mut Traffic,
        mut parse: impl FnMut(&[u8]) -> Result<usize, Fault>,
    ) -> Result<(), Fault> {
        loop {
            let count = match self.stream.read(space) {
                Ok(0) => return Err(Fault::Ended("the server hung up".into())),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Ended(error.to_string())),
            };
            traffic.received += count as u64;
            if self.rest.is_empty() {
                let used = feed(&space[..count], &mut parse)?;
                self.rest.extend_from_slice(&space[used..count]);
            } else {
                self.rest.extend_from_slice(&space[..count]);
                let used = feed(&self.rest, &mut parse)?;
                self.rest.drain(..used);
            }
            // Less than there was room for: the socket is empty, and tells when more comes
            // (epoll(7), "edge-triggered").
            if count < space.len() {
                return Ok(());
            }
        }
    }

    /// Has TCP acknowledge what was read, if it has not yet (`TCP_QUICKACK` in tcp(7)).
    pub(super) fn acknowledge(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = socket2::SockRef::from(&self.stream).set_tcp_quickack(true);
    }

    /// Writes as much of `out` as the socket takes.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, traffic: &mut Traffic) -> Result<(), Fault> {
        while self.written < out.len() {
            match self.stream.write(&out[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    traffic.sent += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Ended(error.to_string())),
            }
        }
        out.clear();
        self.written = 0;
        Ok(())
    }
}

/// Parses until nothing more is used.
fn feed(
    bytes: &[u8],
    parse: &mut impl FnMut(&[u8]) -> Result<usize, Fault>,
) -> Result<usize, Fault> {
    let mut used = 0;
    while used < bytes.len() {
        match parse(&bytes[used..])? {
            0 => break,
            count => used += count,
        }
    }
    Ok(used)
}
