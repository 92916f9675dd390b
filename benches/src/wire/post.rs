//! Upstream by POST: numbered batches, one under way at a time (`docs/protocol.md`, 2.4 and 2.6).

use super::http::Exchange;
use super::{Fault, Target};

#[derive(Debug)]
pub(super) struct Poster {
    request_line: String,
    host: String,
    /// The records that wait for the answer to the POST before.
    batch: Vec<u8>,
    waiting: u64,
    under_way: u64,
    /// How many messages the server has.
    received: u64,
    exchange: Exchange,
}

/// A batch holds no more messages, which is the default limit of servers.
const MAX_BATCH: u64 = 100;

impl Poster {
    /// `transport`: what the parameter says.
    pub(super) fn new(target: &Target, transport: &str) -> Self {
        Self {
            request_line: format!(
                "POST {}",
                target.path_with(&format!("transport={transport}&first="))
            ),
            host: target.host.clone(),
            batch: Vec::new(),
            waiting: 0,
            under_way: 0,
            received: 0,
            exchange: Exchange::default(),
        }
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        self.batch.push(b't');
        self.batch
            .extend_from_slice(text.len().to_string().as_bytes());
        self.batch.push(b':');
        self.batch.extend_from_slice(text);
        self.waiting += 1;
        debug_assert!(
            self.waiting <= MAX_BATCH,
            "more in flight than a batch takes"
        );
    }

    /// Sends what waits, unless a POST is under way.
    pub(super) fn flush(&mut self, connection: &str, out: &mut Vec<u8>) {
        if self.under_way > 0 || self.waiting == 0 {
            return;
        }
        let head = format!(
            "{}{} HTTP/1.1\r\nHost: {}\r\nSwitchback-Connection: {connection}\r\n\
             Content-Type: application/x-switchback-batch\r\nContent-Length: {}\r\n\r\n",
            self.request_line,
            self.received + 1,
            self.host,
            self.batch.len(),
        );
        out.extend_from_slice(head.as_bytes());
        out.append(&mut self.batch);
        self.under_way = std::mem::take(&mut self.waiting);
    }

    /// Takes bytes of the answer; then the next batch leaves.
    pub(super) fn parse(
        &mut self,
        bytes: &[u8],
        connection: &str,
        out: &mut Vec<u8>,
    ) -> Result<usize, Fault> {
        let (used, done) = self.exchange.parse(bytes, |_| ())?;
        let Some((status, body)) = done else {
            return Ok(used);
        };
        let expected = self.received + self.under_way;
        let received = std::str::from_utf8(&body)
            .ok()
            .and_then(|body| body.strip_prefix("{\"received\":"))
            .and_then(|body| body.strip_suffix('}'))
            .and_then(|number| number.parse().ok());
        // A server may take less; but then it is the server that is too slow for this load.
        if status != 200 || received != Some(expected) {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(Fault::Protocol(format!(
                "a POST up to {expected} was answered {status} {body:?}"
            )));
        }
        self.received = expected;
        self.under_way = 0;
        self.flush(connection, out);
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_post_at_a_time_and_the_number_is_checked() {
        let target = "http://127.0.0.1:1/rt".parse().unwrap();
        let mut poster = Poster::new(&target, "sse");
        let mut out = Vec::new();
        poster.push(b"hello");
        poster.flush("ID", &mut out);
        let text = String::from_utf8(std::mem::take(&mut out)).unwrap();
        assert!(
            text.starts_with("POST /rt?transport=sse&first=1 HTTP/1.1\r\n"),
            "{text}"
        );
        assert!(
            text.ends_with("\r\nContent-Length: 8\r\n\r\nt5:hello"),
            "{text}"
        );
        poster.push(b"two");
        poster.flush("ID", &mut out);
        assert!(out.is_empty(), "the first is not answered yet");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"received\":1}";
        poster.parse(answer, "ID", &mut out).unwrap();
        assert!(String::from_utf8_lossy(&out).contains("first=2"));
        assert!(poster.parse(answer, "ID", &mut out).is_err(), "not 2");
    }
}
