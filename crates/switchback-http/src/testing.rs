//! What several tests need: waits that end, and servers on loopback that do as they are told.

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::Url;

/// Waits, but not for ever. In paused time the clock moves on only when nothing else does.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    const LIMIT: Duration = Duration::from_secs(60);
    let waited = tokio::time::timeout(LIMIT, future).await;
    waited.expect("what was waited for did not happen")
}

/// Listens on loopback; the URL says where.
pub(crate) async fn listen(scheme: &str) -> (TcpListener, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("{scheme}://127.0.0.1:{port}/rt");
    (listener, url.parse().unwrap())
}

/// The server's end of a connection, byte by byte.
#[derive(Debug)]
pub(crate) struct Peer<S>(pub(crate) S);

/// A request as it was on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Method and target.
    pub(crate) line: String,
    /// In lower case, with CRLF.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Reads one request; `None` when the client has closed.
    pub(crate) async fn request(&mut self) -> Option<Seen> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(self.0.read_u8()).await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let line = head.split(" HTTP/1.1").next().unwrap().to_owned();
        let head = head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).map_or(0, |rest| {
            rest.split("\r\n").next().unwrap().parse().unwrap()
        });
        let mut body = vec![0; length];
        within(self.0.read_exact(&mut body)).await.ok()?;
        let body = String::from_utf8(body).unwrap();
        Some(Seen { line, head, body })
    }

    /// Writes bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &str) {
        within(self.0.write_all(bytes.as_bytes())).await.unwrap();
        within(self.0.flush()).await.unwrap();
    }

    /// Answers with a status and a body.
    pub(crate) async fn answer(&mut self, status: &str, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
        self.write(&(head + body)).await;
    }
}

/// Accepts one connection.
pub(crate) async fn accept(listener: &TcpListener) -> Peer<tokio::net::TcpStream> {
    Peer(within(listener.accept()).await.unwrap().0)
}
