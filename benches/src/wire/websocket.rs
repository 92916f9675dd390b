//! A WebSocket client (RFC 6455), with or without a session, and raw frames without a handshake.

use super::http::Head;
use super::session::{CLOSE, Frame, Session};
use super::{Fault, Out, Sink, Target, Wire};

/// RFC 6455, 5.3. What it is does not matter here, only that servers have to take it off.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[derive(Debug)]
pub(super) struct WebSocket {
    target: Target,
    session: Option<Session>,
    upgraded: bool,
    masked: bool,
}

impl WebSocket {
    pub(super) fn new(target: Target, session: Option<Session>) -> Self {
        Self {
            target,
            session,
            upgraded: false,
            masked: true,
        }
    }

    /// Frames from the first byte on, without masks: what the floor speaks. Where it echoes, a first
    /// frame takes the place of a handshake: it finds out when the server has the connection.
    pub(super) fn without_handshake(target: Target, echoes: bool) -> Self {
        Self {
            target,
            session: None,
            upgraded: !echoes,
            masked: false,
        }
    }

    fn put(&self, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        put_frame(opcode, payload, self.masked, out);
    }

    fn message(&mut self, payload: &[u8], out: &mut Out, sink: Sink<'_>) -> Result<(), Fault> {
        let Some(session) = &mut self.session else {
            return sink(payload);
        };
        match session.text(payload)? {
            Frame::Message(payload) => sink(payload),
            Frame::Control(answer) => {
                if let Some(answer) = answer {
                    self.put(1, answer.as_bytes(), &mut out[0]);
                }
                Ok(())
            }
        }
    }

    fn acknowledge(&mut self, now: bool, out: &mut Out) {
        let ack = self
            .session
            .as_mut()
            .and_then(|session| session.acknowledgement(now));
        if let Some(ack) = ack {
            self.put(1, ack.as_bytes(), &mut out[0]);
        }
    }
}

impl Wire for WebSocket {
    fn lanes(&self) -> usize {
        1
    }

    fn begin(&mut self, out: &mut Out) {
        if !self.masked {
            if !self.upgraded {
                self.put(10, &[], &mut out[0]);
            }
            return;
        }
        let protocol = match &self.session {
            Some(session) => format!(
                "Sec-WebSocket-Protocol: switchback, switchback.{}\r\n",
                session.hello()
            ),
            None => String::new(),
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n",
            self.target.path, self.target.host,
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
        let mut used = 0;
        if !self.masked {
            self.upgraded = true;
        }
        if !self.upgraded {
            let Some(head) = Head::parse(bytes)? else {
                return Ok(0);
            };
            head.expect(101)?;
            // RFC 6455, 1.3: the example there has this key, too.
            if head.header("sec-websocket-accept") != Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
                return Err(Fault::Protocol("a wrong Sec-WebSocket-Accept".into()));
            }
            used = head.len;
            self.upgraded = true;
        }
        while let Some(frame) = FrameHead::parse(&bytes[used..])? {
            let Some(payload) = bytes.get(used + frame.len..used + frame.len + frame.payload)
            else {
                break;
            };
            used += frame.len + frame.payload;
            match frame.opcode {
                1 | 2 => self.message(payload, out, sink)?,
                8 => return Err(Fault::Ended(format!("a close frame: {payload:?}"))),
                9 => self.put(10, payload, &mut out[0]),
                _ => {}
            }
        }
        self.acknowledge(false, out);
        Ok(used)
    }

    fn is_ready(&self) -> bool {
        self.upgraded && self.session.as_ref().is_none_or(Session::is_open)
    }

    fn send(&mut self, payload: &[u8], out: &mut Out) {
        let ack = self
            .session
            .as_mut()
            .and_then(Session::acknowledgement_along);
        if let Some(ack) = ack {
            self.put(1, ack.as_bytes(), &mut out[0]);
        }
        self.put(1, payload, &mut out[0]);
    }

    fn flush(&mut self, _out: &mut Out) {}

    fn bye(&mut self, out: &mut Out) {
        if self.session.is_some() {
            self.put(1, CLOSE, &mut out[0]);
        }
    }

    fn tick(&mut self, out: &mut Out) {
        self.acknowledge(true, out);
    }
}

struct FrameHead {
    opcode: u8,
    len: usize,
    payload: usize,
}

impl FrameHead {
    /// `None`: not all of it is here.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Fault> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        // Servers do not mask, and those measured here have no reason to fragment or compress.
        if first & 0xf0 != 0x80 || second & 0x80 != 0 {
            return Err(Fault::Protocol(format!("a frame {first:02x} {second:02x}")));
        }
        let (len, payload) = match second {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (10, u64::from_be_bytes(*length) as usize),
                None => return Ok(None),
            },
            length => (2, usize::from(*length)),
        };
        if payload > 1 << 30 {
            return Err(Fault::Protocol(format!("a frame of {payload} bytes")));
        }
        Ok(Some(Self {
            opcode: first & 15,
            len,
            payload,
        }))
    }
}

fn put_frame(opcode: u8, payload: &[u8], masked: bool, out: &mut Vec<u8>) {
    let mask_bit = if masked { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..126 => out.push(mask_bit | length as u8),
        length @ 126..65536 => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if !masked {
        return out.extend_from_slice(payload);
    }
    out.extend_from_slice(&MASK);
    let begin = out.len();
    out.extend_from_slice(payload);
    let mut words = out[begin..].chunks_exact_mut(4);
    for word in &mut words {
        word.iter_mut()
            .zip(MASK)
            .for_each(|(byte, mask)| *byte ^= mask);
    }
    let rest = words.into_remainder().iter_mut();
    rest.zip(MASK).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn client() -> WebSocket {
        WebSocket::new("ws://127.0.0.1:1/x".parse().unwrap(), None)
    }

    #[test]
    fn masks_as_the_example_of_the_rfc() {
        // RFC 6455, 5.7.
        let mut out = Vec::new();
        put_frame(1, b"Hello", true, &mut out);
        assert_eq!(
            out,
            [
                0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );
    }

    #[test]
    fn takes_frames_however_they_are_cut() {
        let mut wire = ANSWER.to_vec();
        put_frame(1, b"one", false, &mut wire);
        put_frame(9, b"?", false, &mut wire);
        put_frame(2, &[7; 300], false, &mut wire);
        for cut in 0..wire.len() {
            let mut client = client();
            let (mut out, mut got) = (Out::default(), Vec::new());
            let mut sink = |payload: &[u8]| {
                got.push(payload.to_vec());
                Ok(())
            };
            let used = client.parse(0, &wire[..cut], &mut out, &mut sink).unwrap();
            let more = client.parse(0, &wire[used..], &mut out, &mut sink).unwrap();
            assert_eq!(used + more, wire.len());
            assert_eq!(got, [b"one".to_vec(), vec![7; 300]]);
            assert_eq!(out[0][..2], [0x8a, 0x81]);
        }
    }

    #[test]
    fn refuses_what_a_server_must_not_send() {
        let parse = |wire: &[u8]| {
            let mut client = client();
            client.upgraded = true;
            client.parse(0, wire, &mut Out::default(), &mut |_| Ok(()))
        };
        assert!(parse(&[0x81, 0x81, 0, 0, 0, 0, 0]).is_err()); // masked
        assert!(parse(&[0xc1, 0x01, 0]).is_err()); // a reserved bit
        assert!(matches!(parse(&[0x88, 0]), Err(Fault::Ended(_))));
        let mut client = client();
        let refused = b"HTTP/1.1 404 Not Found\r\n\r\n";
        assert!(
            client
                .parse(0, refused, &mut Out::default(), &mut |_| Ok(()))
                .is_err()
        );
    }
}
