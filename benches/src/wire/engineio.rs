//! Socket.IO 5 on Engine.IO 4, on WebSocket or by polling: what socketioxide and socket.io speak.
//!
//! Messages are events named `m`. A publisher's are named `p`; the server gives them to everybody
//! else.

use super::http::Exchange;
use super::websocket::WebSocket;
use super::{Fault, Out, Sink, Target, Wire};

/// What comes before and behind the payload of an event (Socket.IO protocol, "Sending and
/// receiving data").
const EVENT: &[u8] = b"42[\"m\",\"";
const PUBLISH: &[u8] = b"42[\"p\",\"";
const END: &[u8] = b"\"]";

/// The state that both ways share.
#[derive(Debug)]
struct Packets {
    connected: bool,
    publishes: bool,
}

/// What is to be done with a packet.
enum Packet<'a> {
    Message(&'a [u8]),
    Answer(&'static [u8]),
    Nothing,
}

impl Packets {
    fn take<'a>(&mut self, packet: &'a [u8]) -> Result<Packet<'a>, Fault> {
        let payload = packet
            .strip_prefix(EVENT)
            .and_then(|rest| rest.strip_suffix(END));
        if let Some(payload) = payload {
            return Ok(Packet::Message(payload));
        }
        match packet {
            // Opened: now the namespace.
            [b'0', ..] => Ok(Packet::Answer(b"40")),
            [b'2'] => Ok(Packet::Answer(b"3")),
            [b'4', b'0', ..] => {
                self.connected = true;
                Ok(Packet::Nothing)
            }
            [b'6'] => Ok(Packet::Nothing),
            other => {
                let shown = String::from_utf8_lossy(&other[..other.len().min(80)]).into_owned();
                Err(Fault::Protocol(format!("a packet {shown:?}")))
            }
        }
    }

    fn event(&self, payload: &[u8]) -> Vec<u8> {
        let name = if self.publishes { PUBLISH } else { EVENT };
        [name, payload, END].concat()
    }
}

#[derive(Debug)]
pub(super) struct SocketIo {
    socket: WebSocket,
    packets: Packets,
}

impl SocketIo {
    pub(super) fn new(target: &Target, publishes: bool) -> Self {
        let path = target.path_with("EIO=4&transport=websocket");
        Self {
            socket: WebSocket::new(target.with_path(&path), None),
            packets: Packets {
                connected: false,
                publishes,
            },
        }
    }
}

impl Wire for SocketIo {
    fn lanes(&self) -> usize {
        1
    }

    fn begin(&mut self, out: &mut Out) {
        self.socket.begin(out);
    }

    fn parse(
        &mut self,
        lane: usize,
        bytes: &[u8],
        out: &mut Out,
        sink: Sink<'_>,
    ) -> Result<usize, Fault> {
        let mut answers = Vec::new();
        let packets = &mut self.packets;
        let used = self.socket.parse(lane, bytes, out, &mut |packet| {
            match packets.take(packet)? {
                Packet::Message(payload) => sink(payload)?,
                Packet::Answer(answer) => answers.push(answer),
                Packet::Nothing => {}
            }
            Ok(())
        })?;
        for answer in answers {
            self.socket.send(answer, out);
        }
        Ok(used)
    }

    fn is_ready(&self) -> bool {
        self.packets.connected
    }

    fn send(&mut self, payload: &[u8], out: &mut Out) {
        self.socket.send(&self.packets.event(payload), out);
    }

    fn flush(&mut self, _out: &mut Out) {}
}

#[derive(Debug)]
pub(super) struct SocketIoPoll {
    target: Target,
    packets: Packets,
    sid: String,
    poll: Exchange,
    post: Exchange,
    waiting: Vec<u8>,
    posting: bool,
}

/// What separates the packets of a body.
const SEPARATOR: u8 = 0x1e;

impl SocketIoPoll {
    pub(super) fn new(target: &Target, publishes: bool) -> Self {
        let path = target.path_with("EIO=4&transport=polling");
        Self {
            target: target.with_path(&path),
            packets: Packets {
                connected: false,
                publishes,
            },
            sid: String::new(),
            poll: Exchange::default(),
            post: Exchange::default(),
            waiting: Vec::new(),
            posting: false,
        }
    }

    fn get(&self, out: &mut Vec<u8>) {
        let request = format!(
            "GET {}{} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.target.path, self.sid, self.target.host
        );
        out.extend_from_slice(request.as_bytes());
    }

    fn push(&mut self, packet: &[u8]) {
        if !self.waiting.is_empty() {
            self.waiting.push(SEPARATOR);
        }
        self.waiting.extend_from_slice(packet);
    }

    fn opened(&mut self, packet: &[u8]) -> Result<(), Fault> {
        let value = packet
            .get(1..)
            .and_then(|json| serde_json::from_slice(json).ok());
        let value: serde_json::Value = value.unwrap_or_default();
        let sid = value.get("sid").and_then(serde_json::Value::as_str);
        let sid = sid.ok_or_else(|| Fault::Protocol("no sid in the open packet".into()))?;
        self.sid = format!("&sid={sid}");
        Ok(())
    }
}

impl Wire for SocketIoPoll {
    fn lanes(&self) -> usize {
        2
    }

    fn begin(&mut self, out: &mut Out) {
        self.get(&mut out[0]);
    }

    fn parse(
        &mut self,
        lane: usize,
        bytes: &[u8],
        out: &mut Out,
        sink: Sink<'_>,
    ) -> Result<usize, Fault> {
        let exchange = if lane == 0 {
            &mut self.poll
        } else {
            &mut self.post
        };
        let (used, done) = exchange.parse(bytes, |_| ())?;
        let Some((status, body)) = done else {
            return Ok(used);
        };
        if status != 200 {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(Fault::Protocol(format!("{status} {body:?}")));
        }
        if lane == 1 {
            self.posting = false;
        } else {
            for packet in body.split(|byte| *byte == SEPARATOR) {
                if packet.first() == Some(&b'0') {
                    self.opened(packet)?;
                }
                match self.packets.take(packet)? {
                    Packet::Message(payload) => sink(payload)?,
                    Packet::Answer(answer) => self.push(answer),
                    Packet::Nothing => {}
                }
            }
            self.get(&mut out[0]);
        }
        self.flush(out);
        Ok(used)
    }

    fn is_ready(&self) -> bool {
        self.packets.connected
    }

    fn send(&mut self, payload: &[u8], _out: &mut Out) {
        let event = self.packets.event(payload);
        self.push(&event);
    }

    fn flush(&mut self, out: &mut Out) {
        if self.posting || self.waiting.is_empty() {
            return;
        }
        let head = format!(
            "POST {}{} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n",
            self.target.path,
            self.sid,
            self.target.host,
            self.waiting.len(),
        );
        out[1].extend_from_slice(head.as_bytes());
        out[1].append(&mut self.waiting);
        self.posting = true;
    }
}
