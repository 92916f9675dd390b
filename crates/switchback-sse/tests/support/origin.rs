//! A server that says what the test tells it, byte by byte.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::soon;
use switchback_sse::Url;

pub struct Origin {
    listener: TcpListener,
}

/// A connection and the request that came on it.
pub struct Asked {
    /// The head, in lower case.
    pub head: String,
    stream: TcpStream,
}

impl Origin {
    pub async fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub fn url(&self, path: &str) -> Url {
        let addr = self.listener.local_addr().unwrap();
        format!("http://{addr}{path}").parse().unwrap()
    }

    /// Takes the next connection and reads the head of its request. (A client that has no use for a
    /// connection closes it without one.)
    pub async fn asked(&self) -> Asked {
        loop {
            let (mut stream, _) = soon(self.listener.accept()).await.unwrap();
            stream.set_nodelay(true).unwrap();
            if let Some(head) = read_head(&mut stream).await {
                return Asked { head, stream };
            }
        }
    }

    /// Says something on the next connection without reading, and waits until it is closed.
    pub async fn greets(&self, bytes: &[u8]) {
        let (mut stream, _) = soon(self.listener.accept()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        // However it ends.
        let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    }

    /// Answers the next request with an event stream of these bytes, which then ends.
    pub async fn answers(&self, stream: &[u8]) -> String {
        let mut asked = self.asked().await;
        asked.stream_begins().await;
        asked.says(stream).await;
        asked.head
    }
}

/// Reads a head; `None` where nothing comes before the end.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match soon(stream.read_u8()).await {
            Ok(byte) => head.push(byte),
            Err(_) if head.is_empty() => return None,
            Err(error) => panic!("cut within a head: {error}"),
        }
    }
    Some(String::from_utf8_lossy(&head).to_lowercase())
}

impl Asked {
    /// Answers with the head of an event stream that ends with the connection.
    pub async fn stream_begins(&mut self) {
        let head =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        self.says(head).await;
    }

    /// Answers with a head and no body.
    pub async fn refuses(mut self, status_and_headers: &str) {
        let head = format!("HTTP/1.1 {status_and_headers}\r\nContent-Length: 0\r\n\r\n");
        self.says(head.as_bytes()).await;
    }

    pub async fn says(&mut self, bytes: &[u8]) {
        // A client that has seen enough may be gone.
        let _ = soon(self.stream.write_all(bytes)).await;
    }

    /// The value of a header of the request.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Waits until the client has closed the connection.
    pub async fn closed(mut self) {
        let mut rest = [0; 64];
        while let Ok(read) = soon(self.stream.read(&mut rest)).await {
            if read == 0 {
                break;
            }
        }
    }
}

/// The value of a header in a head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        Some(value.trim())
    })
}
