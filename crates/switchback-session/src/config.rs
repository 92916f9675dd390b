use std::time::Duration;

/// The limits and timers of a session, the same type on both ends.
///
/// What the server sets of acknowledgements, heartbeat, silence and park it tells the client in
/// `opened`; a client's own values of those count only until then.
///
/// | what | default |
/// |---|---|
/// | replay buffer, each way | 4,096 messages or 512 KiB |
/// | acknowledge after | 2,048 messages, 256 KiB or 1 s |
/// | heartbeat; answer within; silence | 25 s; 10 s; 35 s |
/// | heartbeat where networks cut idle connections, at least | 10 s |
/// | park | 120 s |
/// | close timeout | 5 s |
/// | attachments at a time | 4 |
#[derive(Clone, Debug)]
pub struct Config {
    replay_messages: usize,
    replay_bytes: usize,
    ack_messages: u64,
    ack_bytes: u64,
    ack_delay: Duration,
    heartbeat: Duration,
    min_heartbeat: Duration,
    pong_timeout: Duration,
    silence: Duration,
    park: Duration,
    close_timeout: Duration,
    max_attachments: usize,
}

/// The longest time that can be set: about thirty years, so that adding it to the clock never
/// overflows. Longer ones, `Duration::MAX` for one, count as this.
const MAX_TIME: Duration = Duration::from_secs(1_000_000_000);

pub(crate) const fn bounded(time: Duration) -> Duration {
    if time.as_secs() < MAX_TIME.as_secs() {
        time
    } else {
        MAX_TIME
    }
}

impl Config {
    /// Makes the default configuration.
    pub const fn new() -> Self {
        Self {
            replay_messages: 4096,
            replay_bytes: 512 * 1024,
            ack_messages: 2048,
            ack_bytes: 256 * 1024,
            ack_delay: Duration::from_secs(1),
            heartbeat: Duration::from_secs(25),
            min_heartbeat: Duration::from_secs(10),
            pong_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(35),
            park: Duration::from_secs(120),
            close_timeout: Duration::from_secs(5),
            max_attachments: 4,
        }
    }

    /// Sets how many messages wait for their acknowledgement at most; at least 1.
    #[must_use]
    pub const fn with_replay_messages(mut self, messages: usize) -> Self {
        self.replay_messages = if messages == 0 { 1 } else { messages };
        self
    }

    /// Sets from how many bytes on that wait for their acknowledgement no further message is
    /// taken; at least 1. So one message, however large, always finds room in an empty buffer.
    #[must_use]
    pub const fn with_replay_bytes(mut self, bytes: usize) -> Self {
        self.replay_bytes = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// Sets after how many messages to acknowledge; at least 1. Choose half of the peer's
    /// replay buffer.
    #[must_use]
    pub const fn with_ack_messages(mut self, messages: u64) -> Self {
        self.ack_messages = if messages == 0 { 1 } else { messages };
        self
    }

    /// Sets after how many bytes to acknowledge; at least 1. Choose half of the peer's replay
    /// buffer.
    #[must_use]
    pub const fn with_ack_bytes(mut self, bytes: u64) -> Self {
        self.ack_bytes = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// Sets how long after the first unacknowledged message to acknowledge.
    #[must_use]
    pub const fn with_ack_delay(mut self, delay: Duration) -> Self {
        self.ack_delay = bounded(delay);
        self
    }

    /// Sets how often the server sends something at least.
    #[must_use]
    pub const fn with_heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = bounded(interval);
        self
    }

    /// Sets the shortest interval, instead of the [heartbeat](Self::with_heartbeat), to which a
    /// session adapts whose attachments die of silence. The heartbeat itself, or anything longer,
    /// means that it does not adapt.
    #[must_use]
    pub const fn with_min_heartbeat(mut self, interval: Duration) -> Self {
        self.min_heartbeat = bounded(interval);
        self
    }

    /// Sets within how long the client must answer a ping.
    #[must_use]
    pub const fn with_pong_timeout(mut self, timeout: Duration) -> Self {
        self.pong_timeout = bounded(timeout);
        self
    }

    /// Sets after how long without anything from the server a client takes an attachment for dead.
    #[must_use]
    pub const fn with_silence(mut self, timeout: Duration) -> Self {
        self.silence = bounded(timeout);
        self
    }

    /// Sets how long the server keeps a session without an attachment.
    #[must_use]
    pub const fn with_park(mut self, park: Duration) -> Self {
        self.park = bounded(park);
        self
    }

    /// Sets how long a close may make no progress.
    #[must_use]
    pub const fn with_close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = bounded(timeout);
        self
    }

    /// Sets how many attachments a session has at a time; at least 2, because a hand-over needs
    /// two.
    #[must_use]
    pub const fn with_max_attachments(mut self, attachments: usize) -> Self {
        self.max_attachments = if attachments < 2 { 2 } else { attachments };
        self
    }

    /// Returns how many messages wait for their acknowledgement at most.
    pub const fn replay_messages(&self) -> usize {
        self.replay_messages
    }

    /// Returns from how many waiting bytes on no further message is taken.
    pub const fn replay_bytes(&self) -> usize {
        self.replay_bytes
    }

    /// Returns after how many messages to acknowledge.
    pub const fn ack_messages(&self) -> u64 {
        self.ack_messages
    }

    /// Returns after how many bytes to acknowledge.
    pub const fn ack_bytes(&self) -> u64 {
        self.ack_bytes
    }

    /// Returns how long after the first unacknowledged message to acknowledge.
    pub const fn ack_delay(&self) -> Duration {
        self.ack_delay
    }

    /// Returns how often the server sends something at least.
    pub const fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// Returns the shortest interval to which the heartbeat adapts.
    pub const fn min_heartbeat(&self) -> Duration {
        self.min_heartbeat
    }

    /// Returns within how long the client must answer a ping.
    pub const fn pong_timeout(&self) -> Duration {
        self.pong_timeout
    }

    /// Returns after how long a silent attachment is dead.
    pub const fn silence(&self) -> Duration {
        self.silence
    }

    /// Returns how long the server keeps a session without an attachment.
    pub const fn park(&self) -> Duration {
        self.park
    }

    /// Returns how long a close may make no progress.
    pub const fn close_timeout(&self) -> Duration {
        self.close_timeout
    }

    /// Returns how many attachments a session has at a time.
    pub const fn max_attachments(&self) -> usize {
        self.max_attachments
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
