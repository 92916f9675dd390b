//! A terminal client of the chat example: what is typed goes to everybody, what the others say is
//! printed. Messages go to the standard output, everything else to the standard error, so that it
//! works in a pipe too.
//!
//! `cargo run --release --example chat-terminal -- --name Ada`

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a terminal client"
)]

mod transcript;

use std::error::Error;
use std::future::pending;
use std::io::{BufRead, IsTerminal, stdin};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use switchback::{Client, CloseReason, Connection, Event, State, TransportKind};
use switchback_examples::Args;
use switchback_examples::chat::{MAX_NAME, ToClient, ToServer};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use self::transcript::Transcript;

/// How many lines may be under way. More are read when the server has answered.
const MAX_PENDING: usize = 100;

/// How long to wait for the last lines to arrive when the input has ended.
const LAST_WORDS: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let name = default_name();
    let flags = [
        ("--url", "URL", "http://127.0.0.1:8080/rt"),
        ("--name", "NAME", &*name),
        ("--transport", "auto|websocket|sse|longpoll", "auto"),
    ];
    let args = Args::parse("chat-terminal", &flags)?;
    let mut client = Client::new(args.get("--url"))?;
    match args.get("--transport") {
        "auto" => {}
        name => client = client.transports([name.parse::<TransportKind>()?]),
    }

    let mut terminal = Terminal {
        connection: client.connect().await?,
        name: args.get("--name").to_owned(),
        transcript: Transcript::new(!stdin().is_terminal()),
    };
    terminal.begin().await;
    terminal.run().await?;
    terminal.connection.close(CloseReason::normal()).await?;
    Ok(())
}

fn default_name() -> String {
    let name = std::env::var("USER").unwrap_or_default();
    let name: String = name.chars().take(MAX_NAME).collect();
    if name.is_empty() {
        "Somebody".to_owned()
    } else {
        name
    }
}

struct Terminal {
    connection: Connection,
    name: String,
    transcript: Transcript,
}

impl Terminal {
    /// Runs until the input has ended and everything in it was heard, or the server ends it.
    async fn run(&mut self) -> Result<(), Box<dyn Error>> {
        let mut lines = read_lines();
        let mut input_ended = None;
        loop {
            if input_ended.is_some() && self.transcript.pending().len() == 0 {
                return Ok(());
            }
            let may_read = input_ended.is_none() && self.transcript.pending().len() < MAX_PENDING;
            tokio::select! {
                line = lines.recv(), if may_read => match line {
                    Some(line) if line.trim().is_empty() => {}
                    Some(line) => self.say(line).await?,
                    None => input_ended = Some(Instant::now() + LAST_WORDS),
                },
                event = self.connection.next_event() => match event? {
                    Some(event) => self.hear(event).await?,
                    None => return Err(self.end().into()),
                },
                () = at(input_ended) => return Err("the last lines have not arrived".into()),
                interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
            }
        }
    }

    /// Says who is here, on a session that knows nothing of us, and what was not heard yet.
    async fn begin(&mut self) {
        if let State::Open { transport } = self.connection.state() {
            eprintln!("-- open on {transport}");
        }
        // A failure means that the connection has ended, which `next` tells.
        let _ = self
            .send(&ToServer::Join {
                name: self.name.clone(),
            })
            .await;
        let pending: Vec<ToServer> = self.transcript.pending().cloned().collect();
        for said in pending {
            let _ = self.send(&said).await;
        }
    }

    async fn say(&mut self, text: String) -> Result<(), Box<dyn Error>> {
        let said = self.transcript.say(text);
        self.send(&said).await
    }

    async fn send(&mut self, said: &ToServer) -> Result<(), Box<dyn Error>> {
        Ok(self.connection.send(said).await?)
    }

    /// Why the server has ended it. (One that only restarts asks to come back, which happens by
    /// itself.)
    fn end(&self) -> String {
        match self.connection.state() {
            State::Closed(why) => format!("the server has closed the connection: {why}"),
            _ => "the connection has ended".to_owned(),
        }
    }

    async fn hear(&mut self, event: Event) -> Result<(), Box<dyn Error>> {
        match event {
            Event::Message(message) => match ToClient::read(&message) {
                Some(heard) => self.transcript.hear(heard),
                None => eprintln!("-- the server says something that is no chat"),
            },
            Event::Resumed { transport } => eprintln!("-- resumed on {transport}, nothing lost"),
            Event::Moved { transport } => eprintln!("-- moved to {transport}, nothing lost"),
            Event::Reconnecting => eprintln!("-- the connection was lost, reconnecting"),
            Event::StartedAnew { why, .. } => {
                eprintln!("-- the session was lost ({why}), a new one has begun");
                // The transcript has what may not have arrived, with its tags: so nothing is said
                // twice.
                self.begin().await;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Reads the standard input in a thread of its own. It may wait there for a line for ever, and a
/// thread of the runtime would keep the program from ending.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
