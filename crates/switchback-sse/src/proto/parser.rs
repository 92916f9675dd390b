use std::time::Duration;
use std::{fmt, mem};

use bytes::{Buf, Bytes};
use bytestring::ByteString;
use memchr::{memchr, memchr2};
use switchback_core::{Error, ErrorKind};

use super::{EventLimits, MessageEvent};

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// An incremental parser of event streams (WHATWG HTML, 9.2.6).
///
/// [Push](Self::push) chunks as they arrive and take [events](Self::next_event) until there are
/// none; how the stream is cut into chunks makes no difference. At the end of the stream drop the
/// parser, and with it the event that was not finished, as the standard demands. Every byte is
/// looked at a bounded number of times, and between two chunks the parser keeps only what belongs
/// to the unfinished event.
///
/// ```
/// use switchback_sse::Parser;
///
/// let mut parser = Parser::new();
/// parser.push("id: 7\ndata: hel");
/// assert_eq!(parser.next_event()?, None);
/// parser.push("lo\r\r");
/// let event = parser.next_event()?.expect("it is complete");
/// assert_eq!((event.data(), event.last_event_id()), ("hello", "7"));
/// # Ok::<(), switchback_sse::Error>(())
/// ```
pub struct Parser {
    limits: EventLimits,
    /// Text that is not UTF-8 is an error instead of being replaced.
    strict: bool,
    /// What is left of the latest chunk, and how long that was.
    chunk: Bytes,
    chunk_len: usize,
    /// The beginning of a line that earlier chunks ended in.
    line: Vec<u8>,
    /// That line is a comment, and not kept.
    in_comment: bool,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    /// No line has been read: a byte order mark may come.
    at_start: bool,
    event: ByteString,
    data: Data,
    id: ByteString,
    last_event_id: ByteString,
    retry: Option<Duration>,
    fault: Option<Fault>,
}

/// The data buffer. One line, the common case, is kept as a slice of what arrived.
enum Data {
    /// No data line came. Only this one is the standard's empty string: each data line adds a
    /// line feed, of which the last is taken off again.
    Empty,
    Line(Bytes),
    Lines(Vec<u8>),
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    LineTooLong,
    DataTooLong,
    NameTooLong,
    IdTooLong,
    NotUtf8,
}

impl Parser {
    /// Makes a parser for a stream that has not begun, with the default limits.
    pub const fn new() -> Self {
        Self::with_limits(EventLimits::new())
    }

    /// Makes a parser with limits of one's own.
    pub const fn with_limits(limits: EventLimits) -> Self {
        Self {
            limits,
            strict: false,
            chunk: Bytes::new(),
            chunk_len: 0,
            line: Vec::new(),
            in_comment: false,
            after_cr: false,
            at_start: true,
            event: ByteString::new(),
            data: Data::Empty,
            id: ByteString::new(),
            last_event_id: ByteString::new(),
            retry: None,
            fault: None,
        }
    }

    /// Begins with a last event ID from an earlier stream, so that it survives a reconnection
    /// after which the server sends no id.
    #[must_use]
    pub fn with_last_event_id(mut self, id: impl Into<String>) -> Self {
        self.id = ByteString::from(id.into());
        self.last_event_id = self.id.clone();
        self
    }

    /// Treats what is not UTF-8 as an error. Otherwise it is replaced by U+FFFD, as the standard
    /// demands.
    #[must_use]
    pub(crate) fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Gives the parser the next part of the stream.
    ///
    /// Take all [events](Self::next_event) out before the next push: otherwise what is left is
    /// kept and copied.
    pub fn push(&mut self, chunk: impl Into<Bytes>) {
        let chunk = chunk.into();
        self.chunk = if self.chunk.is_empty() {
            chunk
        } else {
            [&self.chunk[..], &chunk[..]].concat().into()
        };
        self.chunk_len = self.chunk.len();
    }

    /// Takes the next event out; `None` when more of the stream is needed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when an event exceeds a limit. The stream cannot be read on: every
    /// further call gives the error again.
    pub fn next_event(&mut self) -> Result<Option<MessageEvent>, Error> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        self.advance().map_err(|fault| {
            // Nothing is read any more, so nothing need be kept.
            self.fault = Some(fault);
            self.chunk = Bytes::new();
            self.line = Vec::new();
            self.data = Data::Empty;
            fault.into()
        })
    }

    /// Returns the last event ID to reconnect with: that of the last event that was finished, be
    /// it dispatched or, without data, not.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Returns the reconnection time that the stream has set last, if any.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn advance(&mut self) -> Result<Option<MessageEvent>, Fault> {
        while let Some((line, source_len)) = self.next_line()? {
            if line.is_empty() {
                if let Some(event) = self.dispatch()? {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line, source_len)?;
            }
        }
        Ok(None)
    }

    /// Takes the next line that is not a comment, with the length of the memory that it lies in.
    fn next_line(&mut self) -> Result<Option<(Bytes, usize)>, Fault> {
        loop {
            if self.after_cr && !self.chunk.is_empty() {
                self.after_cr = false;
                if self.chunk[0] == LF {
                    self.chunk.advance(1);
                }
            }
            let Some(end) = memchr2(CR, LF, &self.chunk) else {
                self.keep_rest()?;
                return Ok(None);
            };
            let rest = self.chunk.split_to(end);
            // A CR ends its line at once. Waiting for an LF to follow could hold back an event
            // until the next one arrives.
            self.after_cr = self.chunk[0] == CR;
            self.chunk.advance(1);
            let at_start = mem::take(&mut self.at_start);

            if mem::take(&mut self.in_comment)
                || (self.line.is_empty() && rest.first() == Some(&b':'))
            {
                continue;
            }
            if self.line.len() + rest.len() > self.limits.line() {
                return Err(Fault::LineTooLong);
            }
            let (mut line, source_len) = if self.line.is_empty() {
                (rest, self.chunk_len)
            } else {
                let mut line = mem::take(&mut self.line);
                line.extend_from_slice(&rest);
                let capacity = line.capacity();
                (line.into(), capacity)
            };
            if at_start && line.starts_with(BYTE_ORDER_MARK) {
                line.advance(BYTE_ORDER_MARK.len());
            }
            return Ok(Some((line, source_len)));
        }
    }

    /// Puts the beginning of a line aside until the rest of it arrives.
    fn keep_rest(&mut self) -> Result<(), Fault> {
        let rest = mem::take(&mut self.chunk);
        if rest.is_empty() || self.in_comment {
            return Ok(());
        }
        if self.line.is_empty() && rest[0] == b':' {
            self.in_comment = true;
            return Ok(());
        }
        if self.line.len() + rest.len() > self.limits.line() {
            return Err(Fault::LineTooLong);
        }
        self.line.extend_from_slice(&rest);
        Ok(())
    }

    /// Processes a line that is not empty.
    fn field(&mut self, line: &Bytes, source_len: usize) -> Result<(), Fault> {
        // A line without a colon is a field name with an empty value.
        let colon = memchr(b':', line).unwrap_or(line.len());
        let mut start = (colon + 1).min(line.len());
        if line.get(start) == Some(&b' ') {
            start += 1;
        }
        let value = &line[start..];
        match &line[..colon] {
            b"data" => {
                // A small value of a large chunk is copied, so that it does not keep the chunk.
                let value = if value.len() < source_len / 4 {
                    Bytes::copy_from_slice(value)
                } else {
                    line.slice(start..)
                };
                self.data.push(value, self.limits.data)?;
            }
            b"event" => {
                if value.len() > self.limits.name {
                    return Err(Fault::NameTooLong);
                }
                self.event = self.text(&Bytes::copy_from_slice(value))?;
            }
            b"id" if memchr(0, value).is_none() => {
                if value.len() > self.limits.name {
                    return Err(Fault::IdTooLong);
                }
                self.id = self.text(&Bytes::copy_from_slice(value))?;
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let millis = value.iter().fold(0_u64, |millis, digit| {
                    millis
                        .saturating_mul(10)
                        .saturating_add(u64::from(digit - b'0'))
                });
                self.retry = Some(Duration::from_millis(millis));
            }
            // A comment after a byte order mark, or a field that the standard does not know.
            _ => {}
        }
        Ok(())
    }

    /// Ends the event under way (WHATWG HTML, 9.2.6, "dispatch the event").
    fn dispatch(&mut self) -> Result<Option<MessageEvent>, Fault> {
        // The id counts even when there is no data, and stays until the stream sets another one.
        self.last_event_id = self.id.clone();
        let event = mem::take(&mut self.event);
        let data = match mem::replace(&mut self.data, Data::Empty) {
            Data::Empty => return Ok(None),
            Data::Line(line) => line,
            Data::Lines(lines) => lines.into(),
        };
        Ok(Some(MessageEvent {
            event,
            data: self.text(&data)?,
            last_event_id: self.last_event_id.clone(),
        }))
    }

    /// Decodes UTF-8. That it is done part by part makes no difference: a part ends at an ASCII
    /// character, where the decoder of the standard gives up an incomplete sequence too, and both
    /// replace the same subparts (Encoding Standard, 4.1).
    fn text(&self, bytes: &Bytes) -> Result<ByteString, Fault> {
        match ByteString::try_from(bytes.clone()) {
            Ok(text) => Ok(text),
            Err(_) if self.strict => Err(Fault::NotUtf8),
            Err(_) => Ok(String::from_utf8_lossy(bytes).into_owned().into()),
        }
    }
}

impl Data {
    fn push(&mut self, value: Bytes, limit: usize) -> Result<(), Fault> {
        let before = match self {
            Self::Empty => 0,
            Self::Line(line) => line.len() + 1,
            Self::Lines(lines) => lines.len() + 1,
        };
        if before + value.len() > limit {
            return Err(Fault::DataTooLong);
        }
        match self {
            Self::Empty => *self = Self::Line(value),
            Self::Line(line) => *self = Self::Lines([&line[..], b"\n", &value].concat()),
            Self::Lines(lines) => {
                lines.push(LF);
                lines.extend_from_slice(&value);
            }
        }
        Ok(())
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let (kind, message) = match fault {
            Fault::LineTooLong => (
                ErrorKind::TooLarge,
                "a line of the event stream is over the limit",
            ),
            Fault::DataTooLong => (
                ErrorKind::TooLarge,
                "the data of an event is over the limit",
            ),
            Fault::NameTooLong => (ErrorKind::TooLarge, "an event name is over the limit"),
            Fault::IdTooLong => (ErrorKind::TooLarge, "an event id is over the limit"),
            Fault::NotUtf8 => (ErrorKind::InvalidUtf8, "the event stream is not UTF-8"),
        };
        Self::with_message(kind, message)
    }
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser")
            .field("limits", &self.limits)
            .field("unread", &self.chunk.len())
            .field("line", &self.line.len())
            .field("last_event_id", &self.last_event_id)
            .field("retry", &self.retry)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
