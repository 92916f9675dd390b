mod choice;
mod ending;
mod hand_over;
mod opening;
mod rate;

use switchback_core::{CloseCode, Message, TransportKind};

use super::*;
use crate::{Control, Opened, Why};
use TransportKind::{LongPoll, Sse, WebSocket};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The same bytes again and again: delays are always the same, and short.
#[derive(Debug)]
struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

/// A session under test and its clock.
struct Bench {
    now: Instant,
    session: ClientSession,
}

impl Bench {
    fn new(config: ClientConfig) -> Self {
        Self::with_memory(Instant::now(), config, None)
    }

    fn with_memory(now: Instant, config: ClientConfig, memory: Option<Memory>) -> Self {
        let session = ClientSession::new(now, config, memory, Box::new(Fixed(0)));
        Self { now, session }
    }

    /// A session that is open on attachment 1, and has selected it.
    fn open(config: ClientConfig) -> Self {
        let mut bench = Self::new(config);
        bench.actions();
        bench.accept(1);
        bench.session.links[0].link.owe_select(None);
        assert_eq!(bench.sends(1), ["^select 0"]);
        bench.events();
        bench.actions();
        bench
    }

    fn opened(&self, attachment: u64) -> Opened {
        Opened {
            session: *self.session.id(),
            token: format!("token{attachment}").parse().unwrap(),
            resumed: self.session.token.is_some(),
            why: None,
            ended: None,
            received: 0,
            next: 1,
            heartbeat: 25 * SECOND,
            timeout: 35 * SECOND,
            park: 120 * SECOND,
            ack_messages: 2,
            ack_bytes: 1000,
            ack_delay: SECOND,
        }
    }

    /// The transport opens and the server accepts it.
    fn accept(&mut self, attachment: u64) {
        let opened = self.opened(attachment);
        self.accept_as(attachment, opened);
    }

    fn accept_as(&mut self, attachment: u64, opened: Opened) {
        self.session.opened(self.now, attachment);
        let opened = Control::Opened(opened).encode();
        let taken = self.session.receive(self.now, attachment, opened);
        assert_eq!(taken, Ok(None));
    }

    fn fail(&mut self, attachment: u64, kind: TransportKind, why: FailureWhy) {
        let failure = Failure::new(kind, why, "no");
        self.session.failed(self.now, attachment, failure);
    }

    fn sends(&mut self, attachment: u64) -> Vec<String> {
        let mut texts = Vec::new();
        self.session.transmit(self.now, attachment, |message| {
            texts.push(message.as_text().unwrap().replace('\u{1}', "^"));
            true
        });
        texts
    }

    fn gets(&mut self, attachment: u64, text: &str) -> Option<Message> {
        let message = Message::text(text.replace('^', "\u{1}"));
        self.session.receive(self.now, attachment, message).unwrap()
    }

    fn detach(&mut self, attachment: u64, clean: Option<u16>) {
        let clean = clean.map(|code| CloseReason::new(CloseCode::new(code).unwrap(), ""));
        self.session.detach(self.now, attachment, clean);
    }

    /// Returns what is to be done: `+` start, `-` cancel, `x` close.
    fn actions(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.session.poll_action())
            .map(|action| match action {
                Action::Start {
                    attachment,
                    kind,
                    hello,
                } => {
                    assert_eq!(hello.attachment(), attachment);
                    format!("+{attachment} {kind}")
                }
                Action::Cancel { attachment } => format!("-{attachment}"),
                Action::Close { attachment, why } => format!("x{attachment} {}", why.code()),
            })
            .collect()
    }

    fn hello(&mut self) -> String {
        match self.session.poll_action() {
            Some(Action::Start { hello, .. }) => hello.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        let until = self.now + time;
        while let Some(at) = self.session.deadline().filter(|at| *at <= until) {
            self.now = at;
            self.session.handle_timeout(at);
        }
        self.now = until;
        self.actions()
    }
}

fn closed(events: &[ClientEvent]) -> Option<(u16, ClosedBy)> {
    match events.last() {
        Some(ClientEvent::Closed { reason, by }) => Some((reason.code().as_u16(), *by)),
        _ => None,
    }
}
