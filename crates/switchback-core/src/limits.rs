use std::time::Duration;

/// What a peer may make this side store or wait for. Every limit is finite.
///
/// ```
/// use switchback_core::Limits;
///
/// let limits = Limits::new().max_message_size(1 << 20);
/// assert_eq!(limits.message_size(), 1 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    message_size: usize,
    batch_messages: usize,
    batch_bytes: usize,
    send_buffer: usize,
    recv_buffer: usize,
    handshake_timeout: Duration,
    close_timeout: Duration,
}

impl Limits {
    /// The defaults of `docs/defaults.md`.
    pub const fn new() -> Self {
        Self {
            message_size: 64 * 1024,
            batch_messages: 100,
            batch_bytes: 512 * 1024,
            send_buffer: 64 * 1024,
            recv_buffer: 64 * 1024,
            handshake_timeout: Duration::from_secs(15),
            close_timeout: Duration::from_secs(5),
        }
    }

    /// Sets the largest inbound message, in bytes of payload. Default 64 KiB.
    #[must_use]
    pub const fn max_message_size(mut self, bytes: usize) -> Self {
        self.message_size = bytes;
        self
    }

    /// Sets the largest number of messages in a batch, at least 1. Default 100.
    #[must_use]
    pub const fn max_batch_messages(mut self, messages: usize) -> Self {
        self.batch_messages = if messages == 0 { 1 } else { messages };
        self
    }

    /// Sets the size above which no further message joins a batch, in bytes. Default 512 KiB.
    ///
    /// A message larger than this travels in a batch of its own, so the largest body accepted is
    /// the larger of this and the message size, plus the framing.
    #[must_use]
    pub const fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Sets how many outbound bytes a transport takes before `poll_send` waits. Default 64 KiB.
    ///
    /// One message is always taken when nothing is buffered, however large.
    #[must_use]
    pub const fn send_buffer_size(mut self, bytes: usize) -> Self {
        self.send_buffer = bytes;
        self
    }

    /// Sets how many inbound bytes a transport holds for a slow application before it stops
    /// reading. Default 64 KiB. One message is always held, however large.
    #[must_use]
    pub const fn recv_buffer_size(mut self, bytes: usize) -> Self {
        self.recv_buffer = bytes;
        self
    }

    /// Sets how long an opening handshake may take. Default 15 s.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets how long a closing handshake may take before the connection is cut. Default 5 s.
    #[must_use]
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Returns the largest inbound message, in bytes.
    pub const fn message_size(&self) -> usize {
        self.message_size
    }

    /// Returns the largest number of messages in a batch.
    pub const fn batch_messages(&self) -> usize {
        self.batch_messages
    }

    /// Returns the size above which no further message joins a batch, in bytes.
    pub const fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// Returns how many outbound bytes are buffered before `poll_send` waits.
    pub const fn send_buffer(&self) -> usize {
        self.send_buffer
    }

    /// Returns how many inbound bytes are held for a slow application.
    pub const fn recv_buffer(&self) -> usize {
        self.recv_buffer
    }

    /// Returns how long an opening handshake may take.
    pub const fn handshake_time(&self) -> Duration {
        self.handshake_timeout
    }

    /// Returns how long a closing handshake may take.
    pub const fn close_time(&self) -> Duration {
        self.close_timeout
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}
