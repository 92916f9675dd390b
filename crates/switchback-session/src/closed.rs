/// What ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClosedBy {
    /// This side: it called `close`, and both have confirmed to have received everything.
    Local,
    /// The peer, and everything that it sent was received.
    Peer,
    /// The peer, by closing the transport and without the closing handshake: what it sent last may
    /// be missing.
    Aborted,
    /// Nobody came back while the session was parked.
    Expired,
    /// The owner gave the session up: too many were parked, or too much was unacknowledged.
    Overflow,
    /// One side broke the protocol.
    ProtocolError,
    /// This side called `close`, and the peer did not confirm in time: what
    /// `take_unacknowledged` gives may not have arrived.
    TimedOut,
    /// Somebody else has resumed this session.
    Superseded,
    /// The server wants no session with this client.
    Refused,
}
