//! What a close code means for the session (`docs/protocol.md`, 3.9).

use switchback_core::CloseCode;

/// What a client does when the server closed the attachment in use with this code and no `close`
/// frame, or the session with a `close` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It is over: to come back would lead to the same end.
    Final,
    /// Come back, with the usual delay.
    Back,
    /// Come back, later than usual: the server is restarting or overloaded.
    Later,
}

/// What a transport's close code says of the session that it carried.
pub(crate) fn of_transport(code: CloseCode) -> Meaning {
    match code {
        CloseCode::SERVICE_RESTART | CloseCode::TRY_AGAIN_LATER => Meaning::Later,
        CloseCode::NORMAL
        | CloseCode::GOING_AWAY
        | CloseCode::NO_STATUS
        | CloseCode::ABNORMAL
        | CloseCode::INTERNAL_ERROR
        | CloseCode::UNKNOWN_SESSION
        | CloseCode::TIMED_OUT
        | CloseCode::SLOW_CONSUMER
        | CloseCode::TRANSPORT_CHANGED => Meaning::Back,
        // 1014 is a gateway's: the server behind it may be well again soon.
        code if code.as_u16() == 1014 => Meaning::Back,
        // The peer would break the same rule again by replaying the same message (1002, 1003,
        // 1007, 1008, 1009), somebody else has the session (4000), or the application said no.
        _ => Meaning::Final,
    }
}

/// What a `close` frame's code says, where it has no `reconnect`.
pub(crate) fn of_session(code: CloseCode) -> Meaning {
    match code {
        CloseCode::GOING_AWAY => Meaning::Back,
        CloseCode::SERVICE_RESTART | CloseCode::TRY_AGAIN_LATER => Meaning::Later,
        _ => Meaning::Final,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_table_says() {
        use Meaning::{Back, Final, Later};
        for (codes, transport, session) in [
            (&[1000][..], Back, Final),
            (&[1001], Back, Back),
            (&[1002, 1003, 1007, 1008, 1009, 1010], Final, Final),
            (&[1011, 1014], Back, Final),
            (&[1012, 1013], Later, Later),
            (&[3000, 3999, 4000, 4005, 4099, 4100, 4999], Final, Final),
            (&[4001, 4002, 4003, 4004], Back, Final),
        ] {
            for code in codes {
                let code = CloseCode::new(*code).unwrap();
                assert_eq!(of_transport(code), transport, "{code}");
                assert_eq!(of_session(code), session, "{code}");
            }
        }
    }
}
