use switchback_session::Config;

use super::rng::Rng;

/// How likely each fault is, in percent of the transports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) refuse: u64,
    pub(super) swallow: u64,
    pub(super) half_open: u64,
    pub(super) stall: u64,
    pub(super) kill: u64,
    pub(super) hole: u64,
    /// What the client sends is lost from the beginning, while it hears the server.
    pub(super) mute: u64,
    pub(super) astray: u64,
    pub(super) late: u64,
}

impl Faults {
    pub(super) fn random(rng: &mut Rng) -> Self {
        if rng.percent(15) {
            // Everything opens, and nothing lives for long.
            return Self {
                refuse: 5,
                swallow: 5,
                half_open: 10,
                stall: 0,
                kill: 95,
                hole: 10,
                mute: 10,
                astray: 0,
                late: 10,
            };
        }
        let mut likely = || rng.pick(&[0, 0, 10, 40]);
        Self {
            refuse: likely(),
            swallow: likely(),
            half_open: likely(),
            stall: likely(),
            kill: likely(),
            hole: likely(),
            mute: likely(),
            astray: likely() / 4,
            late: likely(),
        }
    }
}

/// Limits and timers, small ones mostly.
pub(super) fn config(rng: &mut Rng) -> Config {
    if rng.percent(20) {
        return Config::new();
    }
    let heartbeat = rng.millis(500, 25_000);
    let answer = rng.millis(1_500, 10_000);
    Config::new()
        .with_replay_messages(rng.index(30) + 1)
        .with_replay_bytes(rng.index(2000) + 1)
        .with_ack_messages(rng.between(1, 12))
        .with_ack_bytes(rng.between(1, 1000))
        .with_ack_delay(rng.millis(0, 1000))
        .with_heartbeat(heartbeat)
        .with_pong_timeout(answer)
        .with_silence(heartbeat + answer)
        .with_park(rng.millis(5_000, 120_000))
        .with_close_timeout(rng.millis(2_500, 6_000))
        .with_max_attachments(rng.index(3) + 2)
}
