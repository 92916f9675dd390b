//! An event stream (WHATWG HTML, 9.2), with POST upstream and a session where wanted.

use super::http::{Decoder, Head};
use super::post::Poster;
use super::session::{CLOSE, Frame, Session};
use super::{Fault, Out, Sink, Target, Wire};

#[derive(Debug)]
pub(super) struct EventStream {
    target: Target,
    session: Option<Session>,
    body: Option<Decoder>,
    /// What came of an event that is not complete.
    partial: Vec<u8>,
    poster: Option<Poster>,
    connection: String,
}

impl EventStream {
    pub(super) fn new(target: Target, session: Option<Session>, upstream: bool) -> Self {
        Self {
            poster: upstream.then(|| Poster::new(&target, "sse")),
            target,
            session,
            body: None,
            partial: Vec::new(),
            connection: String::new(),
        }
    }

    /// Takes the events that are complete.
    fn events(&mut self, out: &mut Out, sink: Sink<'_>) -> Result<(), Fault> {
        let mut partial = std::mem::take(&mut self.partial);
        let mut used = 0;
        while let Some(end) = memchr::memmem::find(&partial[used..], b"\n\n") {
            let event = &partial[used..used + end];
            used += end + 2;
            self.event(event, out, sink)?;
        }
        partial.drain(..used);
        self.partial = partial;
        Ok(())
    }

    fn event(&mut self, event: &[u8], out: &mut Out, sink: Sink<'_>) -> Result<(), Fault> {
        // Nearly all events are one line.
        let mut data = None;
        let mut name: &[u8] = b"message";
        for line in event.split(|byte| *byte == b'\n') {
            if let Some(value) = field(line, b"data:") {
                if data.replace(value).is_some() {
                    return Err(Fault::Wrong("an event of several lines".into()));
                }
            } else if let Some(value) = field(line, b"event:") {
                name = value;
            }
        }
        match (name, data) {
            (b"message", Some(data)) => self.message(data, out, sink),
            (b"switchback", Some(data)) => self.control(data),
            _ => Ok(()),
        }
    }

    fn message(&mut self, data: &[u8], out: &mut Out, sink: Sink<'_>) -> Result<(), Fault> {
        let Some(session) = &mut self.session else {
            return sink(data);
        };
        match session.text(data)? {
            Frame::Message(payload) => sink(payload),
            Frame::Control(Some(answer)) => {
                self.send(answer.as_bytes(), out);
                self.flush(out);
                Ok(())
            }
            Frame::Control(None) => Ok(()),
        }
    }

    fn control(&mut self, data: &[u8]) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(data).into_owned();
        let value: serde_json::Value = serde_json::from_str(&text)
            .map_err(|_| Fault::Protocol(format!("an event {text:?}")))?;
        match value.get("connection").and_then(serde_json::Value::as_str) {
            Some(connection) => connection.clone_into(&mut self.connection),
            None => return Err(Fault::Ended(text)),
        }
        Ok(())
    }

    fn acknowledge(&mut self, now: bool, out: &mut Out) {
        let ack = self
            .session
            .as_mut()
            .and_then(|session| session.acknowledgement(now));
        if let Some(ack) = ack {
            self.send(ack.as_bytes(), out);
            self.flush(out);
        }
    }
}

/// The value of a field, without the one space before it.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

impl Wire for EventStream {
    fn lanes(&self) -> usize {
        if self.poster.is_some() { 2 } else { 1 }
    }

    fn begin(&mut self, out: &mut Out) {
        let session = match &self.session {
            Some(session) => format!("Switchback-Session: {}\r\n", session.hello()),
            None => String::new(),
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n{session}\r\n",
            self.target.path, self.target.host,
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
            return match &mut self.poster {
                Some(poster) => poster.parse(bytes, &self.connection, &mut out[1]),
                None => Ok(0),
            };
        }
        let mut used = 0;
        if self.body.is_none() {
            let Some(head) = Head::parse(bytes)? else {
                return Ok(0);
            };
            head.expect(200)?;
            used = head.len;
            self.body = Some(Decoder::new(head.body()));
        }
        if let Some(body) = &mut self.body {
            used += body.decode(&bytes[used..], &mut self.partial)?;
        }
        self.events(out, sink)?;
        self.acknowledge(false, out);
        if self.body.as_ref().is_some_and(Decoder::is_done) {
            return Err(Fault::Ended("the event stream".into()));
        }
        Ok(used)
    }

    fn is_ready(&self) -> bool {
        let connected = self.poster.is_none() || !self.connection.is_empty();
        connected && self.body.is_some() && self.session.as_ref().is_none_or(Session::is_open)
    }

    fn send(&mut self, payload: &[u8], _out: &mut Out) {
        if let Some(poster) = &mut self.poster {
            poster.push(payload);
        }
    }

    fn flush(&mut self, out: &mut Out) {
        if let Some(poster) = &mut self.poster {
            poster.flush(&self.connection, &mut out[1]);
        }
    }

    fn bye(&mut self, out: &mut Out) {
        if self.session.is_some() {
            self.send(CLOSE, out);
            self.flush(out);
        }
    }

    fn tick(&mut self, out: &mut Out) {
        self.acknowledge(true, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_events_however_they_are_cut() {
        let body = b": padding\n\nevent: switchback\ndata: {\"connection\":\"ID\"}\n\ndata: one\n\n:\n\ndata:  two\n\n";
        let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(7) {
            wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        for cut in 0..wire.len() {
            let target = "http://127.0.0.1:1/rt".parse().unwrap();
            let mut client = EventStream::new(target, None, true);
            let (mut out, mut got) = (Out::default(), Vec::new());
            let mut sink = |payload: &[u8]| {
                got.push(payload.to_vec());
                Ok(())
            };
            let used = client.parse(0, &wire[..cut], &mut out, &mut sink).unwrap();
            client.parse(0, &wire[used..], &mut out, &mut sink).unwrap();
            assert_eq!(got, [b"one".to_vec(), b" two".to_vec()], "cut at {cut}");
            assert!(client.is_ready());
            assert_eq!(client.connection, "ID");
        }
    }

    #[test]
    fn a_close_or_an_end_is_a_fault() {
        let target: Target = "http://127.0.0.1:1/rt".parse().unwrap();
        for end in [
            "event: switchback\ndata: {\"close\":{\"code\":1000}}\n\n",
            "",
        ] {
            let mut client = EventStream::new(target.clone(), None, false);
            let chunk = if end.is_empty() {
                "0\r\n\r\n".to_owned()
            } else {
                format!("{:x}\r\n{end}\r\n", end.len())
            };
            let wire = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
            let result = client.parse(0, wire.as_bytes(), &mut Out::default(), &mut |_| Ok(()));
            assert!(matches!(result, Err(Fault::Ended(_))));
        }
    }
}
