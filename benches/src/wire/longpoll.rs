//! Long-polling with a cursor (`docs/protocol.md`, 2.3), with a session where wanted.

use super::http::Exchange;
use super::post::Poster;
use super::session::{CLOSE, Frame, Session};
use super::{Fault, Out, Sink, Target, Wire};

#[derive(Debug)]
pub(super) struct LongPoll {
    target: Target,
    session: Option<Session>,
    poster: Poster,
    exchange: Exchange,
    connection: String,
    cursor: u64,
}

impl LongPoll {
    pub(super) fn new(target: Target, session: Option<Session>) -> Self {
        Self {
            poster: Poster::new(&target, "longpoll"),
            target,
            session,
            exchange: Exchange::default(),
            connection: String::new(),
            cursor: 0,
        }
    }

    fn poll(&self, out: &mut Vec<u8>) {
        let query = format!("transport=longpoll&cursor={}", self.cursor);
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nSwitchback-Connection: {}\r\n\r\n",
            self.target.path_with(&query),
            self.target.host,
            self.connection,
        );
        out.extend_from_slice(request.as_bytes());
    }

    fn message(&mut self, record: &[u8], sink: Sink<'_>) -> Result<(), Fault> {
        self.cursor += 1;
        let Some(session) = &mut self.session else {
            return sink(record);
        };
        match session.text(record)? {
            Frame::Message(payload) => sink(payload),
            Frame::Control(answer) => {
                if let Some(answer) = answer {
                    self.poster.push(answer.as_bytes());
                }
                Ok(())
            }
        }
    }

    fn acknowledge(&mut self, now: bool) {
        let ack = self
            .session
            .as_mut()
            .and_then(|session| session.acknowledgement(now));
        if let Some(ack) = ack {
            self.poster.push(ack.as_bytes());
        }
    }
}

/// Splits the first record off a batch (2.6).
fn record(batch: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let bad = || Fault::Protocol("a malformed batch".into());
    let colon = memchr::memchr(b':', batch).ok_or_else(bad)?;
    let length: usize = batch
        .get(1..colon)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(bad)?;
    let payload = batch.get(colon + 1..).ok_or_else(bad)?;
    payload.split_at_checked(length).ok_or_else(bad)
}

impl Wire for LongPoll {
    fn lanes(&self) -> usize {
        2
    }

    fn begin(&mut self, out: &mut Out) {
        let session = match &self.session {
            Some(session) => format!("Switchback-Session: {}\r\n", session.hello()),
            None => String::new(),
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n{session}\r\n",
            self.target.path_with("transport=longpoll"),
            self.target.host,
        );
        out[0].extend_from_slice(request.as_bytes());
    }

    fn parse(
        &mut self,
        lane: usize,
        bytes: &[u8],
        out: &mut Out,
        sink: Sink<'_>,
    ) -> Result<usize, Fault> {
        if lane == 1 {
            return self.poster.parse(bytes, &self.connection, &mut out[1]);
        }
        let connection = &mut self.connection;
        let (used, done) = self.exchange.parse(bytes, |head| {
            if let Some(id) = head.header("switchback-connection") {
                id.clone_into(connection);
            }
        })?;
        let Some((status, batch)) = done else {
            return Ok(used);
        };
        if status != 200 {
            let body = String::from_utf8_lossy(&batch).into_owned();
            return Err(Fault::Protocol(format!(
                "a poll was answered {status} {body:?}"
            )));
        }
        let mut rest = &batch[..];
        while !rest.is_empty() {
            let (payload, more) = record(rest)?;
            rest = more;
            self.message(payload, sink)?;
        }
        self.poll(&mut out[0]);
        self.acknowledge(false);
        self.poster.flush(&self.connection, &mut out[1]);
        Ok(used)
    }

    fn is_ready(&self) -> bool {
        !self.connection.is_empty() && self.session.as_ref().is_none_or(Session::is_open)
    }

    fn send(&mut self, payload: &[u8], _out: &mut Out) {
        self.poster.push(payload);
    }

    fn flush(&mut self, out: &mut Out) {
        self.poster.flush(&self.connection, &mut out[1]);
    }

    fn bye(&mut self, out: &mut Out) {
        if self.session.is_some() {
            self.send(CLOSE, out);
            self.flush(out);
        }
    }

    fn tick(&mut self, out: &mut Out) {
        self.acknowledge(true);
        self.poster.flush(&self.connection, &mut out[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_on_from_what_it_has() {
        let target = "http://127.0.0.1:1/rt".parse().unwrap();
        let mut client = LongPoll::new(target, None);
        let (mut out, mut got) = (Out::default(), Vec::new());
        let mut sink = |payload: &[u8]| {
            got.push(payload.to_vec());
            Ok(())
        };
        let wire =
            b"HTTP/1.1 200 OK\r\nSwitchback-Connection: ID\r\nContent-Length: 7\r\n\r\nt2:hit0";
        let used = client.parse(0, wire, &mut out, &mut sink);
        assert!(used.is_err(), "the second record is cut");
        let wire = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nt3:onet0:";
        client.parse(0, wire, &mut out, &mut sink).unwrap();
        assert_eq!(got, [b"hi".to_vec(), b"one".to_vec(), Vec::new()]);
        let request = String::from_utf8_lossy(&out[0]).into_owned();
        assert!(
            request.starts_with("GET /rt?transport=longpoll&cursor=3 "),
            "{request}"
        );
        assert!(request.contains("Switchback-Connection: ID\r\n"));
    }
}
