//! Publishing by POST, one request after the other.

use std::collections::VecDeque;

use super::http::Exchange;
use super::{Fault, Out, Sink, Target, Wire};

#[derive(Debug)]
pub(super) struct Post {
    target: Target,
    queue: VecDeque<Vec<u8>>,
    under_way: bool,
    exchange: Exchange,
}

impl Post {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            queue: VecDeque::new(),
            under_way: false,
            exchange: Exchange::default(),
        }
    }
}

impl Wire for Post {
    fn lanes(&self) -> usize {
        1
    }

    fn begin(&mut self, _out: &mut Out) {}

    fn parse(
        &mut self,
        _lane: usize,
        bytes: &[u8],
        out: &mut Out,
        _sink: Sink<'_>,
    ) -> Result<usize, Fault> {
        let (used, done) = self.exchange.parse(bytes, |_| ())?;
        if let Some((status, body)) = done {
            if !(200..300).contains(&status) {
                let body = String::from_utf8_lossy(&body).into_owned();
                return Err(Fault::Protocol(format!(
                    "a POST was answered {status} {body:?}"
                )));
            }
            self.under_way = false;
            self.flush(out);
        }
        Ok(used)
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn send(&mut self, payload: &[u8], _out: &mut Out) {
        self.queue.push_back(payload.to_vec());
    }

    fn flush(&mut self, out: &mut Out) {
        if self.under_way {
            return;
        }
        let Some(payload) = self.queue.pop_front() else {
            return;
        };
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            self.target.path,
            self.target.host,
            payload.len(),
        );
        out[0].extend_from_slice(head.as_bytes());
        out[0].extend_from_slice(&payload);
        self.under_way = true;
    }
}
