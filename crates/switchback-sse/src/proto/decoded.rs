use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

/// An event as a receiver of an event stream dispatches it (WHATWG HTML, 9.2.6).
///
/// It is cheap to clone: clones share the text.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageEvent {
    /// Empty for the default type.
    pub(super) event: ByteString,
    pub(super) data: ByteString,
    pub(super) last_event_id: ByteString,
}

impl MessageEvent {
    /// Returns the event name; `message` where the stream gave none.
    pub fn event(&self) -> &str {
        if self.event.is_empty() {
            "message"
        } else {
            &self.event
        }
    }

    /// Returns the data: the `data` lines, joined by line feeds.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// Returns the last event ID: that of this event, or of the last one before it that had one.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Takes the data out as UTF-8, without a copy.
    pub fn into_data(self) -> Bytes {
        self.data.into_bytes()
    }
}

/// Shows the name and the length of the data. The data is never printed, so that it cannot end
/// in a log.
impl fmt::Debug for MessageEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageEvent")
            .field("event", &self.event())
            .field("data", &format_args!("{} bytes", self.data.len()))
            .field("last_event_id", &self.last_event_id())
            .finish()
    }
}
