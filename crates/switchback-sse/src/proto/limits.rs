/// What one event of a stream may make a [`Parser`](crate::Parser) store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimits {
    pub(super) data: usize,
    pub(super) name: usize,
}

impl EventLimits {
    /// Up to 1 MiB of data, names and ids of up to 1 KiB.
    pub const fn new() -> Self {
        Self {
            data: 1024 * 1024,
            name: 1024,
        }
    }

    /// Sets the largest data of an event, in bytes as they arrive. Default 1 MiB.
    #[must_use]
    pub const fn max_data(mut self, bytes: usize) -> Self {
        self.data = bytes;
        self
    }

    /// Sets the longest event name and the longest id, in bytes. Default 1 KiB.
    #[must_use]
    pub const fn max_name(mut self, bytes: usize) -> Self {
        self.name = bytes;
        self
    }

    /// Returns the largest data of an event.
    pub const fn data(&self) -> usize {
        self.data
    }

    /// Returns the longest event name and id.
    pub const fn name(&self) -> usize {
        self.name
    }

    /// The longest line other than a comment: the longest value, with room for its field name.
    pub(super) fn line(&self) -> usize {
        self.data.max(self.name).saturating_add(16)
    }
}

impl Default for EventLimits {
    fn default() -> Self {
        Self::new()
    }
}
