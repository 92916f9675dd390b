//! A WebSocket, bare or with a session on it (`docs/protocol.md`, 3), as far as a client needs one that is
//! never cut.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::ValueEnum;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message;

use crate::{Common, Failure, Socket};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Ws,
    SessionWs,
}

pub struct Connection {
    socket: Socket,
    session: Option<Session>,
}

/// When to acknowledge, and what has come since.
struct Session {
    opened: Opened,
    received: u64,
    acknowledged: u64,
    bytes: u64,
    /// When the first message came that is not acknowledged.
    since: Option<Instant>,
    /// The server has asked whether anybody is there.
    pinged: bool,
}

/// What of `opened` matters here.
#[derive(Deserialize)]
struct Opened {
    ack_messages: u64,
    ack_bytes: u64,
    /// In milliseconds.
    ack_delay: u64,
}

/// Which part of what makes an acknowledgement due makes one go along with messages (3.4).
const ALONG: u64 = 128;

impl Connection {
    pub async fn open(common: &Common, path: &str, protocol: Protocol) -> Result<Self, Failure> {
        if protocol == Protocol::Ws {
            let socket = common.websocket(path, None).await?;
            return Ok(Self {
                socket,
                session: None,
            });
        }
        let offer = format!("switchback, switchback.1.new.{}.1.1", session_id()?);
        let mut socket = common.websocket(path, Some(&offer)).await?;
        let first = socket.next().await.ok_or("no `opened` came")??;
        let opened = first.to_text()?.strip_prefix("\u{1}opened ");
        let opened = serde_json::from_str(opened.ok_or("the first message is not `opened`")?)?;
        socket.send(Message::text("\u{1}select 0")).await?;
        let session = Session {
            opened,
            received: 0,
            acknowledged: 0,
            bytes: 0,
            since: None,
            pinged: false,
        };
        Ok(Self {
            socket,
            session: Some(session),
        })
    }

    /// Sends a message with the next [flush](Self::flush).
    pub async fn feed(&mut self, message: Message) -> Result<(), Failure> {
        self.answer(ALONG).await?;
        Ok(self.socket.feed(message).await?)
    }

    pub async fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.socket.flush().await?)
    }

    /// Sends what the server waits for, should that be anything. TCP acknowledges at once, as it does for
    /// those that never send.
    pub async fn acknowledge(&mut self) -> Result<(), Failure> {
        self.socket.get_ref().set_quickack(true)?;
        if self.answer(1).await? {
            self.flush().await?;
        }
        Ok(())
    }

    /// Receives a message. Sends nothing, so that it may be dropped while it waits.
    pub async fn next(&mut self) -> Result<Bytes, Failure> {
        loop {
            let message = self.socket.next().await.ok_or("a WebSocket ended")??;
            let is_text = message.is_text();
            let payload = Bytes::from(message.into_data());
            let Some(session) = &mut self.session else {
                return Ok(payload);
            };
            match payload.strip_prefix(b"\x01") {
                Some(b"ping") if is_text => session.pinged = true,
                Some(control) if is_text && control.starts_with(b"close ") => {
                    return Err("a session ended".into());
                }
                // What this program sends begins otherwise.
                Some([1, ..]) if is_text => return Err("an escaped message".into()),
                Some(_) if is_text => {}
                _ => {
                    session.received += 1;
                    session.bytes += payload.len() as u64;
                    session.since.get_or_insert_with(Instant::now);
                    return Ok(payload);
                }
            }
        }
    }

    /// Acknowledges what came, if it is such a part of what makes that due. Returns whether anything is to be
    /// flushed.
    async fn answer(&mut self, part: u64) -> Result<bool, Failure> {
        let Some(session) = &mut self.session else {
            return Ok(false);
        };
        let (messages, bytes) = (session.received - session.acknowledged, session.bytes);
        let delay = Duration::from_millis(session.opened.ack_delay);
        let due = messages * part >= session.opened.ack_messages
            || bytes * part >= session.opened.ack_bytes
            || session.since.is_some_and(|since| since.elapsed() >= delay);
        let pinged = std::mem::take(&mut session.pinged);
        if due {
            session.acknowledged = session.received;
            session.bytes = 0;
            session.since = None;
            let ack = format!("\u{1}ack {}", session.received);
            self.socket.feed(Message::text(ack)).await?;
        }
        if pinged {
            self.socket.feed(Message::text("\u{1}pong")).await?;
        }
        Ok(due || pinged)
    }
}

/// Sixteen bytes in base64url that differ from those of other sessions. Nobody guesses here.
fn session_id() -> Result<String, Failure> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let id = nanos << 32 | u128::from(std::process::id());
    // 21 digits of six bits, and one for the last two bits.
    let digits = (0..21)
        .map(|digit| id >> (122 - 6 * digit))
        .chain([id << 4 & 0x30]);
    Ok(digits
        .map(|digit| char::from(LETTERS[digit as usize % 64]))
        .collect())
}
