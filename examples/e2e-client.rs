//! What `tests/e2e` sends through real proxies: numbered messages to the endpoint of the echo example,
//! whose answers are checked for loss, doubles and order. Prints what it saw as one JSON object.
//!
//! `cargo run --example e2e-client -- --url http://127.0.0.1:9001/rt --transport auto --messages 100`
//!
//! With `--cuts N` it falls silent until the transport was cut, and then sends as many again, N times.

#![expect(clippy::print_stdout, reason = "the result is what it is run for")]

use std::error::Error;
use std::time::Duration;

use serde_json::json;
use switchback::{Client, CloseReason, Connection, Event, Message, State, TransportKind};
use switchback_examples::Args;
use tokio::time::timeout;

/// How long nothing may happen while something should.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse(
        "e2e-client",
        &[
            ("--url", "URL", "http://127.0.0.1:9001/rt"),
            ("--transport", "auto|websocket|sse|longpoll", "auto"),
            ("--messages", "N", "100"),
            ("--cuts", "N", "0"),
        ],
    )?;
    let mut client = Client::new(args.get("--url"))?;
    match args.get("--transport") {
        "auto" => {}
        name => client = client.transports([name.parse::<TransportKind>()?]),
    }
    let messages = args.get("--messages").parse()?;
    let cuts = args.get("--cuts").parse()?;

    let connection = timeout(PATIENCE, client.connect())
        .await
        .map_err(|_| "not connected in time")??;
    let mut run = Run::new(connection);
    let outcome = run.all(messages, cuts).await;
    run.print(outcome.as_ref().err().map(AsRef::as_ref));
    outcome
}

struct Run {
    connection: Connection,
    sent: u64,
    received: u64,
    /// Those that were not the next one, as they came.
    wrong: Vec<String>,
    /// Every transport that carried the session, in order.
    transports: Vec<TransportKind>,
    cut: u64,
    resumed: u64,
    anew: u64,
}

impl Run {
    fn new(connection: Connection) -> Self {
        let transports = connection.transport().into_iter().collect();
        Self {
            connection,
            sent: 0,
            received: 0,
            wrong: Vec::new(),
            transports,
            cut: 0,
            resumed: 0,
            anew: 0,
        }
    }

    async fn all(&mut self, messages: u64, cuts: u64) -> Result<(), Box<dyn Error>> {
        self.exchange(messages).await?;
        for cut in 1..=cuts {
            while self.cut < cut {
                self.next().await?;
            }
            // These are sent while there is no transport: they have to wait for the next one.
            self.exchange(messages).await?;
        }
        timeout(PATIENCE, self.connection.close(CloseReason::normal()))
            .await
            .map_err(|_| "not closed in time")??;
        Ok(())
    }

    /// Sends some messages, and receives until all have come back.
    async fn exchange(&mut self, messages: u64) -> Result<(), Box<dyn Error>> {
        let sender = self.connection.sender();
        let first = self.sent;
        self.sent += messages;
        let send_all = async move {
            for number in first..first + messages {
                sender.send(message(number)).await?;
            }
            Ok::<(), Box<dyn Error>>(())
        };
        let receive_all = async {
            while self.received < self.sent && self.wrong.is_empty() {
                self.next().await?;
            }
            Ok(())
        };
        tokio::try_join!(send_all, receive_all)?;
        Ok(())
    }

    async fn next(&mut self) -> Result<(), Box<dyn Error>> {
        let event = timeout(PATIENCE, self.connection.next_event())
            .await
            .map_err(|_| "nothing came in time")??;
        match event {
            Some(Event::Message(got)) => {
                if got == message(self.received) {
                    self.received += 1;
                } else {
                    let start = got.as_bytes().iter().take(16).copied().collect::<Vec<_>>();
                    self.wrong
                        .push(String::from_utf8_lossy(&start).into_owned());
                }
            }
            Some(Event::Resumed { transport }) => {
                self.resumed += 1;
                self.transports.push(transport);
            }
            Some(Event::Moved { transport }) => self.transports.push(transport),
            Some(Event::Reconnecting) => self.cut += 1,
            Some(Event::StartedAnew { .. }) => self.anew += 1,
            Some(_) => {}
            None => return Err("closed by the server".into()),
        }
        Ok(())
    }

    fn print(&self, error: Option<&dyn Error>) {
        let transports: Vec<_> = self.transports.iter().map(|kind| kind.name()).collect();
        let state = match self.connection.state() {
            State::Closed(reason) => format!("closed: {reason}"),
            other => format!("{other:?}"),
        };
        let result = json!({
            "sent": self.sent,
            "received": self.received,
            "wrong": self.wrong,
            "transports": transports,
            "cut": self.cut,
            "resumed": self.resumed,
            "anew": self.anew,
            "state": state,
            "error": error.map(ToString::to_string),
        });
        println!("{result}");
    }
}

/// Text and binary in turn, of different lengths, with what is awkward for event streams.
fn message(number: u64) -> Message {
    let filling = "\r\n data: ü\0 ".repeat(usize::try_from(number % 7).unwrap_or_default());
    let text = format!("{number}:{filling}");
    if number.is_multiple_of(2) {
        Message::text(text)
    } else {
        Message::binary(text.into_bytes())
    }
}
