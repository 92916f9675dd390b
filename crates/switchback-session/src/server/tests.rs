mod attachments;
mod delivery;
mod ending;
mod heartbeat;

use switchback_core::Message;

use super::*;
use crate::{Ended, Frame, ProtocolError, Tally, Why};

const SECOND: Duration = Duration::from_secs(1);

/// Bytes that are easily told apart.
struct Counter(u8);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        bytes.fill(self.0);
    }
}

/// A session under test and its clock.
struct Bench {
    now: Instant,
    session: ServerSession,
    entropy: Counter,
}

/// The next message, to a transport that has room for one.
fn take_one(session: &mut ServerSession, now: Instant, attachment: u64) -> Option<Message> {
    let mut taken = None;
    session.transmit(now, attachment, |message| {
        let room = taken.is_none();
        if room {
            taken = Some(message.clone());
        }
        room
    });
    taken
}

impl Bench {
    fn new(config: Config) -> Self {
        let now = Instant::now();
        let id = SessionId::from_bytes([0; 16]);
        Self {
            now,
            session: ServerSession::new(now, config, id),
            entropy: Counter(0),
        }
    }

    fn hello(&self, rest: &str) -> Hello {
        let id = self.session.id();
        let text = match rest.split_once(' ') {
            Some(("new", numbers)) => format!("1.new.{id}.{numbers}"),
            Some((token, numbers)) => format!("1.resume.{id}.{token}.{numbers}"),
            None => panic!("{rest}"),
        };
        text.parse().unwrap()
    }

    /// Attaches by `new ATTACHMENT.FENCE` or `TOKEN ATTACHMENT.FENCE.RECEIVED`, and returns what
    /// `opened` says.
    fn attach(&mut self, hello: &str) -> Opened {
        let hello = self.hello(hello);
        let number = self
            .session
            .attach(self.now, &hello, &mut self.entropy)
            .unwrap();
        let first = take_one(&mut self.session, self.now, number).unwrap();
        let Ok(Frame::Control(Control::Opened(opened))) = Frame::decode(first.clone()) else {
            panic!("{first:?}");
        };
        opened
    }

    /// Returns what is to be put onto an attachment, `^` for U+0001.
    fn sends(&mut self, attachment: u64) -> Vec<String> {
        let mut texts = Vec::new();
        self.session.transmit(self.now, attachment, |message| {
            texts.push(message.as_text().unwrap().replace('\u{1}', "^"));
            true
        });
        texts
    }

    fn try_gets(&mut self, attachment: u64, text: &str) -> Result<Option<Message>, ProtocolError> {
        let message = Message::text(text.replace('^', "\u{1}"));
        self.session.receive(self.now, attachment, message)
    }

    fn gets(&mut self, attachment: u64, text: &str) -> Option<Message> {
        self.try_gets(attachment, text).unwrap()
    }

    fn events(&mut self) -> Vec<ServerEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
    }
}

fn dropped(events: &[ServerEvent]) -> Vec<(u64, u16)> {
    let dropped = events.iter().filter_map(|event| match event {
        ServerEvent::Drop { attachment, why } => Some((*attachment, why.code().as_u16())),
        _ => None,
    });
    dropped.collect()
}

fn closed(events: &[ServerEvent]) -> Option<(u16, ClosedBy)> {
    match events.last() {
        Some(ServerEvent::Closed { reason, by }) => Some((reason.code().as_u16(), *by)),
        _ => None,
    }
}
