//! A server's session that a hostile client talks to.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use switchback_core::Message;
use switchback_session::{Config, Entropy, ServerSession, SessionId};

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

fuzz_target!(|data: &[u8]| {
    let mut now = Instant::now();
    let id = SessionId::random(&mut Zeros);
    let mut session = ServerSession::new(now, Config::new(), id);
    for line in data.split(|byte| *byte == b'\n') {
        let Some((operation, rest)) = line.split_first() else {
            continue;
        };
        let Ok(text) = std::str::from_utf8(rest) else {
            continue;
        };
        let attachment = u64::from(*operation >> 4);
        match operation % 8 {
            0 => {
                let text = text.replace('$', &id.to_string());
                if let Ok(hello) = text.parse() {
                    let _ = session.attach(now, &hello, &mut Zeros);
                }
            }
            1..=3 => drop(session.receive(now, attachment, Message::text(text))),
            4 => session.detach(now, attachment, None),
            5 => drop(session.send(Message::text(text))),
            6 => {
                now += Duration::from_millis(u64::from(rest.first().copied().unwrap_or(1)) * 100);
                if session.deadline().is_some_and(|deadline| deadline <= now) {
                    session.handle_timeout(now);
                }
            }
            _ => session.transmit(now, attachment, |_| true),
        }
        while session.poll_event().is_some() {}
        assert!(session.live().count() <= 8, "attachments are bounded");
    }
});
