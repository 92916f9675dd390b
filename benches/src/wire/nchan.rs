//! Long-polling as nchan does it: one message an answer, which says in headers where to go on.

use super::http::Exchange;
use super::{Fault, Out, Sink, Target, Wire};

#[derive(Debug)]
pub(super) struct NchanPoll {
    target: Target,
    exchange: Exchange,
    /// The headers that say what was received last.
    position: String,
}

impl NchanPoll {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            exchange: Exchange::default(),
            position: String::new(),
        }
    }
}

impl Wire for NchanPoll {
    fn lanes(&self) -> usize {
        1
    }

    fn begin(&mut self, out: &mut Out) {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
            self.target.path, self.target.host, self.position
        );
        out[0].extend_from_slice(request.as_bytes());
    }

    fn parse(
        &mut self,
        _lane: usize,
        bytes: &[u8],
        out: &mut Out,
        sink: Sink<'_>,
    ) -> Result<usize, Fault> {
        let position = &mut self.position;
        let (used, done) = self.exchange.parse(bytes, |head| {
            if let (Some(time), Some(tag)) = (head.header("last-modified"), head.header("etag")) {
                *position = format!("If-Modified-Since: {time}\r\nIf-None-Match: {tag}\r\n");
            }
        })?;
        match done {
            Some((200, payload)) => sink(&payload)?,
            Some((status, _)) => {
                return Err(Fault::Protocol(format!("a poll was answered {status}")));
            }
            None => return Ok(used),
        }
        self.begin(out);
        Ok(used)
    }

    /// Its first answer comes with the first message.
    fn is_ready(&self) -> bool {
        true
    }

    fn send(&mut self, _payload: &[u8], _out: &mut Out) {}

    fn flush(&mut self, _out: &mut Out) {}
}
