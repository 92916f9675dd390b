//! HTTP/1.1 by hand, so that the crate's own code is not its only judge.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::soon;

/// The head of a request or response, and its body.
#[derive(Debug)]
pub struct Raw {
    /// The first line.
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Raw {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The word of a refusal.
    pub fn error(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        json["error"].as_str().unwrap().to_owned()
    }
}

/// Reads one message; `None` at the end of the stream.
pub async fn read(stream: &mut BufReader<TcpStream>) -> Option<Raw> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let mut raw = Raw {
        line: lines.next()?,
        headers: lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_owned(), value.trim().to_owned())
            })
            .collect(),
        body: Vec::new(),
    };
    let length = raw
        .header("content-length")
        .map_or(0, |l| l.parse().unwrap());
    raw.body.resize(length, 0);
    stream.read_exact(&mut raw.body).await.ok()?;
    Some(raw)
}

/// A client on one connection.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub async fn connect(addr: std::net::SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(addr).await.unwrap()))
    }

    pub async fn ask(&mut self, method: &str, query: &str, id: Option<&str>, body: &[u8]) {
        let id = id.map_or(String::new(), |id| {
            format!("Switchback-Connection: {id}\r\n")
        });
        let head = format!(
            "{method} /rt?transport=longpoll{query} HTTP/1.1\r\nHost: x\r\n{id}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all(head.as_bytes()).await.unwrap();
        self.0.write_all(body).await.unwrap();
    }

    pub async fn answer(&mut self) -> Raw {
        soon(read(&mut self.0)).await.expect("a response")
    }

    /// Both.
    pub async fn exchange(
        &mut self,
        method: &str,
        query: &str,
        id: Option<&str>,
        body: &[u8],
    ) -> Raw {
        self.ask(method, query, id, body).await;
        self.answer().await
    }
}
