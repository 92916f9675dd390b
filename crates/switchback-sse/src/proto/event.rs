use std::fmt;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use memchr::{memchr, memchr_iter};
use switchback_core::{Error, ErrorKind};

/// An event as a server writes it into an event stream (WHATWG HTML, 9.2.5).
///
/// It is encoded as it is built, once: clones share the bytes, so that the same event for a
/// thousand streams is encoded one time. What a receiver makes of it is a
/// [`MessageEvent`](crate::MessageEvent).
///
/// What the format cannot carry is refused, never altered: a carriage return anywhere, a line feed
/// in an event name or an id, NUL in an id. (Transports carry every string: they fall back to
/// base64 where an event stream would change it.)
///
/// ```
/// use switchback_sse::Event;
///
/// let event = Event::new().id("7")?.event("tick")?.data("two\nlines")?;
/// assert_eq!(event.encoded(), "id: 7\nevent: tick\ndata: two\ndata: lines\n\n");
/// assert!(Event::new().event("a\ndata: injected").is_err());
/// # Ok::<(), switchback_sse::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// Whole lines, then the empty line that ends the event.
    wire: Bytes,
}

impl Event {
    /// Makes an event without fields. Receivers dispatch it only once it has [data](Self::data).
    pub const fn new() -> Self {
        Self {
            wire: Bytes::from_static(b"\n"),
        }
    }

    /// Adds data: one `data` line for each line of the text. Empty data is data too.
    ///
    /// Data added to data goes on a line of its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the text contains a carriage return, which receivers would
    /// change into a line feed.
    pub fn data(self, text: impl AsRef<str>) -> Result<Self, Error> {
        let text = text.as_ref();
        refuse(text, b'\r', "event data cannot carry a carriage return")?;
        Ok(self.lines(b"data: ", text))
    }

    /// Sets the event name, in the place of `message`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the name contains a carriage return or a line feed.
    pub fn event(self, name: impl AsRef<str>) -> Result<Self, Error> {
        let name = name.as_ref();
        refuse(name, b'\r', "an event name cannot carry a carriage return")?;
        refuse(name, b'\n', "an event name cannot carry a line feed")?;
        Ok(self.lines(b"event: ", name))
    }

    /// Sets the last event ID of this event and of those after it: what a client sends as
    /// `Last-Event-ID` when it comes back. An empty one clears it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the id contains a carriage return, a line feed, or NUL, which
    /// makes receivers ignore it.
    pub fn id(self, id: impl AsRef<str>) -> Result<Self, Error> {
        let id = id.as_ref();
        refuse(id, b'\r', "an event id cannot carry a carriage return")?;
        refuse(id, b'\n', "an event id cannot carry a line feed")?;
        refuse(id, 0, "an event id cannot carry NUL")?;
        Ok(self.lines(b"id: ", id))
    }

    /// Tells the client how long to wait before it reconnects. Sent in whole milliseconds.
    #[must_use]
    pub fn retry(self, delay: Duration) -> Self {
        self.lines(b"retry: ", &delay.as_millis().to_string())
    }

    /// Adds a comment, which receivers ignore: one comment line for each line of the text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the text contains a carriage return.
    pub fn comment(self, text: impl AsRef<str>) -> Result<Self, Error> {
        let text = text.as_ref();
        refuse(text, b'\r', "a comment cannot carry a carriage return")?;
        Ok(self.lines(b": ", text))
    }

    /// Borrows the encoded event, the empty line at its end included.
    pub fn encoded(&self) -> &Bytes {
        &self.wire
    }

    /// Takes the encoded event out.
    pub fn into_encoded(self) -> Bytes {
        self.wire
    }

    /// An event that was encoded elsewhere, complete with its empty line.
    pub(crate) const fn from_encoded(wire: Bytes) -> Self {
        Self { wire }
    }

    /// Adds a field of one line for each line of the value.
    fn lines(mut self, field: &[u8], value: &str) -> Self {
        self.wire.truncate(self.wire.len() - 1);
        // While the event is being built nobody shares its bytes, and nothing is copied here.
        let mut wire = self
            .wire
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        put_lines(&mut wire, field, value.as_bytes());
        wire.put_u8(b'\n');
        Self {
            wire: wire.freeze(),
        }
    }
}

/// Writes one line for each line of the value: the field with its one space, then the line. The
/// space is always written, so that one that begins the value survives (WHATWG HTML, 9.2.6).
pub(super) fn put_lines(wire: &mut BytesMut, field: &[u8], value: &[u8]) {
    let breaks = memchr_iter(b'\n', value).count();
    wire.reserve((breaks + 1) * (field.len() + 1) + value.len() + 1);
    let mut start = 0;
    for end in memchr_iter(b'\n', value) {
        wire.put_slice(field);
        wire.put_slice(&value[start..=end]);
        start = end + 1;
    }
    wire.put_slice(field);
    wire.put_slice(&value[start..]);
    wire.put_u8(b'\n');
}

fn refuse(value: &str, byte: u8, why: &'static str) -> Result<(), Error> {
    match memchr(byte, value.as_bytes()) {
        Some(_) => Err(Error::with_message(ErrorKind::Invalid, why)),
        None => Ok(()),
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows the length. The content is never printed, so that it cannot end in a log.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({} bytes)", self.wire.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(event: Event) -> String {
        String::from_utf8(event.into_encoded().to_vec()).unwrap()
    }

    #[test]
    fn fields_are_written_in_the_order_they_were_set() {
        let event = Event::new()
            .comment("c")
            .and_then(|event| event.retry(Duration::from_micros(1_500_900)).id("é 1"))
            .and_then(|event| event.event(" named"))
            .and_then(|event| event.data("x"))
            .unwrap();
        assert_eq!(
            wire(event),
            ": c\nretry: 1500\nid: é 1\nevent:  named\ndata: x\n\n"
        );
    }

    #[test]
    fn data_splits_at_line_feeds_only() {
        for (data, expected) in [
            ("", "data: \n\n"),
            ("\n", "data: \ndata: \n\n"),
            ("a\n", "data: a\ndata: \n\n"),
            ("\na\n\nb", "data: \ndata: a\ndata: \ndata: b\n\n"),
            (" a", "data:  a\n\n"),
            (":a\0\u{feff}", "data: :a\0\u{feff}\n\n"),
            ("\u{2028}\u{85}\u{b}", "data: \u{2028}\u{85}\u{b}\n\n"),
        ] {
            assert_eq!(wire(Event::new().data(data).unwrap()), expected, "{data:?}");
        }
    }

    #[test]
    fn what_would_be_altered_or_injected_is_refused() {
        for bad in ["\r", "a\r\nb", "a\r"] {
            assert!(Event::new().data(bad).is_err(), "{bad:?}");
            assert!(Event::new().comment(bad).is_err(), "{bad:?}");
        }
        for bad in ["\r", "\n", "a\ndata: b", "a\r"] {
            assert!(Event::new().event(bad).is_err(), "{bad:?}");
            assert!(Event::new().id(bad).is_err(), "{bad:?}");
        }
        let error = Event::new().id("a\0").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(Event::new().event("a\0").is_ok());
    }

    #[test]
    fn changing_a_clone_leaves_the_original() {
        let one = Event::new().data("one").unwrap();
        let two = one.clone().data("two").unwrap();
        assert_eq!(one.encoded(), "data: one\n\n");
        assert_eq!(two.encoded(), "data: one\ndata: two\n\n");
    }

    #[test]
    fn debug_does_not_print_the_content() {
        let event = Event::new().data("secret").unwrap();
        assert_eq!(format!("{event:?}"), "Event(14 bytes)");
    }
}
