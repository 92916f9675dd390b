use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use switchback_core::{CloseCode, CloseReason, Message};

use super::{MAX_NUMBER, ProtocolError};
use crate::{SessionId, Token};

/// A control frame (`docs/protocol.md`, 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// `opened`: the server accepts the attachment; its first frame.
    Opened(Opened),
    /// `select`: the client decided for this attachment, and has received so many messages.
    Select(u64),
    /// `selected`: `select` has arrived on this attachment, and messages up to this number.
    Selected(u64),
    /// `ack`: all messages up to this number were received.
    Ack(u64),
    /// `seq`: the next message on this attachment has this number.
    Seq(u64),
    /// `ping`: answer with `pong`.
    Ping,
    /// `pong`.
    Pong,
    /// `close`: ends the session.
    Close(Close),
}

impl Control {
    /// Returns the message that carries this frame.
    pub fn encode(&self) -> Message {
        Message::text(match self {
            Self::Opened(opened) => format!("\u{1}opened {}", json(opened)),
            Self::Select(received) => format!("\u{1}select {received}"),
            Self::Selected(received) => format!("\u{1}selected {received}"),
            Self::Ack(received) => format!("\u{1}ack {received}"),
            Self::Seq(number) => format!("\u{1}seq {number}"),
            Self::Ping => return Message::from_static("\u{1}ping"),
            Self::Pong => return Message::from_static("\u{1}pong"),
            Self::Close(close) => format!("\u{1}close {}", json(close)),
        })
    }

    /// Returns the word of this frame.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Opened(_) => "opened",
            Self::Select(_) => "select",
            Self::Selected(_) => "selected",
            Self::Ack(_) => "ack",
            Self::Seq(_) => "seq",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Close(_) => "close",
        }
    }

    /// Parses what follows U+0001. `None`: the word is not known.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, ProtocolError> {
        // Most of them.
        if let Some(number) = text.strip_prefix("ack ").and_then(parse_number) {
            return Ok(Some(Self::Ack(number)));
        }
        let (word, argument) = match text.split_once(' ') {
            Some((word, argument)) => (word, Some(argument)),
            None => (text, None),
        };
        let bad = ProtocolError::BadControl;
        let number = || argument.and_then(parse_number);
        Ok(Some(match word {
            "opened" => Self::Opened(from_json(argument).ok_or(bad("opened"))?),
            "select" => Self::Select(number().ok_or(bad("select"))?),
            "selected" => Self::Selected(number().ok_or(bad("selected"))?),
            "ack" => Self::Ack(number().ok_or(bad("ack"))?),
            "seq" => Self::Seq(number().filter(|number| *number > 0).ok_or(bad("seq"))?),
            "ping" if argument.is_none() => Self::Ping,
            "ping" => return Err(bad("ping")),
            "pong" if argument.is_none() => Self::Pong,
            "pong" => return Err(bad("pong")),
            "close" => Self::Close(from_json(argument).ok_or(bad("close"))?),
            _ => return Ok(None),
        }))
    }
}

/// The argument of `opened` (`docs/protocol.md`, 3.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The session; another one than asked for when a resume failed.
    pub session: SessionId,
    /// What resumes this session next.
    pub token: Token,
    /// Whether the session that was asked for goes on.
    pub resumed: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// How far the session had come that does not go on, where the server remembers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// The number of the last message that the server has received.
    #[serde(deserialize_with = "number")]
    pub received: u64,
    /// The number of the first message that this attachment carries from the server.
    #[serde(deserialize_with = "number")]
    pub next: u64,
    /// The server sends something at least this often.
    #[serde(with = "millis")]
    pub heartbeat: Duration,
    /// After this long without anything from the server the attachment is dead.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// How long the session is kept without an attachment.
    #[serde(with = "millis")]
    pub park: Duration,
    /// After how many messages to acknowledge.
    #[serde(deserialize_with = "number")]
    pub ack_messages: u64,
    /// After how many bytes to acknowledge.
    #[serde(deserialize_with = "number")]
    pub ack_bytes: u64,
    /// How long after the first unacknowledged message to acknowledge.
    #[serde(with = "millis")]
    pub ack_delay: Duration,
}

/// How far a session had come when it ended, as the server tells it (`docs/protocol.md`, 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The number of the last message that the server has received.
    #[serde(deserialize_with = "number")]
    pub received: u64,
    /// The number of the last message that the server has sent, whether it arrived or not.
    #[serde(deserialize_with = "number")]
    pub sent: u64,
}

/// Why a session did not go on but a new one began (`docs/protocol.md`, 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Why {
    /// It was closed, and the client's `close` had arrived with all that the client sent before. (Whoever
    /// closes of its own accord does not meet it: its close is complete then.)
    Closed,
    /// It was parked for too long.
    Expired,
    /// The server gave it up early, to stay within its limits.
    Overflow,
    /// It belongs to another user.
    Principal,
    /// The server ended it and asked the client to come back (`docs/protocol.md`, 3.7). Not on the
    /// wire: the client knows it from the `close`.
    #[serde(skip)]
    Ended,
    /// No such session is on this server, or the token was wrong.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the server does not know the session",
            Self::Closed => "the session was closed",
            Self::Expired => "the session was parked for too long",
            Self::Overflow => "the server could keep the session no longer",
            Self::Principal => "the session belongs to another user",
            Self::Ended => "the server ended the session and asked to come back",
        })
    }
}

/// The argument of `close` (`docs/protocol.md`, 3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Code and text.
    pub reason: CloseReason,
    /// How many messages the sender of this frame has sent in all.
    pub sent: u64,
    /// From the server: come back after so long.
    pub reconnect: Option<Duration>,
}

/// [`Close`] as it is on the wire.
#[derive(Serialize, Deserialize)]
struct CloseObject<'a> {
    code: u16,
    #[serde(default)]
    reason: std::borrow::Cow<'a, str>,
    #[serde(deserialize_with = "number")]
    sent: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reconnect: Option<Millis>,
}

impl Serialize for Close {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        CloseObject {
            code: self.reason.code().as_u16(),
            reason: self.reason.reason().into(),
            sent: self.sent,
            reconnect: self.reconnect.map(Millis),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Close {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = CloseObject::deserialize(deserializer)?;
        let code = CloseCode::new(object.code)
            .ok_or_else(|| serde::de::Error::custom("a close code that is never sent"))?;
        Ok(Self {
            reason: CloseReason::new(code, object.reason.into_owned()),
            sent: object.sent,
            reconnect: object.reconnect.map(|Millis(delay)| delay),
        })
    }
}

/// Parses a number as the protocol writes it: decimal ASCII without sign or leading zeros, below
/// 2^53.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    let digits = text.as_bytes();
    match digits {
        [b'0'] => return Some(0),
        [b'1'..=b'9', rest @ ..] if rest.len() < 16 => {}
        _ => return None,
    }
    let number = digits.iter().try_fold(0, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(number * 10 + digit)
    })?;
    (number <= MAX_NUMBER).then_some(number)
}

fn json(value: &impl Serialize) -> String {
    // Structs of strings and numbers with string keys always serialize.
    serde_json::to_string(value).unwrap_or_default()
}

fn from_json<'a, T: Deserialize<'a>>(argument: Option<&'a str>) -> Option<T> {
    // The protocol says "object": a JSON array would otherwise pass as a struct.
    let argument = argument.filter(|text| text.starts_with('{'))?;
    serde_json::from_str(argument).ok()
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number > MAX_NUMBER {
        return Err(serde::de::Error::custom("a number of 2^53 or more"));
    }
    Ok(number)
}

/// A duration as a number of milliseconds.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        millis::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        millis::deserialize(deserializer).map(Self)
    }
}

mod millis {
    use super::{Deserializer, Duration, MAX_NUMBER, Serializer, number};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let millis = u64::try_from(value.as_millis()).unwrap_or(MAX_NUMBER);
        to.serialize_u64(millis.min(MAX_NUMBER))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        number(from).map(Duration::from_millis)
    }
}
