//! Numbered messages both ways over one connection: none may be lost, doubled or out of order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use switchback::{Client, CloseReason, Connection, Event, Incoming, Message, Watch};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::within;

/// How long no message may come while one should. Far beyond what a loaded machine needs, and
/// below the 35 s after which heartbeats would help out.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many messages a test sends each way: `SWITCHBACK_MESSAGES`, or `default`.
pub(crate) fn messages(default: u64) -> u64 {
    let count = std::env::var("SWITCHBACK_MESSAGES").ok();
    count
        .and_then(|count| count.parse().ok())
        .unwrap_or(default)
}

/// Text and binary of several sizes, with its number. One in a thousand is larger than the buffers
/// that proxies have by default.
fn numbered(number: u64) -> Message {
    let filling = match number % 1000 {
        999 => 20_000,
        _ => usize::try_from(number % 97).unwrap_or(0),
    };
    let text = format!("{number} {}", ".".repeat(filling));
    if number.is_multiple_of(3) {
        Message::binary(text.into_bytes())
    } else {
        Message::text(text)
    }
}

/// The beginning of a message, which is its number, and its length.
fn shown(message: &Message) -> String {
    let bytes = message.as_bytes();
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]);
    format!("{start:?} ({} B)", bytes.len())
}

/// A client and a server that exchange messages, each in a task of its own.
pub(crate) struct Flow {
    name: String,
    messages: u64,
    /// Only messages below this number are sent.
    allowed: watch::Sender<u64>,
    client: Side,
    server: Side,
}

struct Side {
    tally: Arc<Tally>,
    state: Watch,
    task: JoinHandle<()>,
}

/// What one side has done so far.
#[derive(Debug, Default)]
struct Tally {
    sent: AtomicU64,
    received: AtomicU64,
    lost: AtomicU64,
    resumed: AtomicU64,
    moved: AtomicU64,
}

impl Flow {
    /// Connects, and begins with the messages that [`allow`](Self::allow) lets through.
    pub(crate) async fn open(
        name: &str,
        client: &Client,
        incoming: &mut Incoming,
        messages: u64,
    ) -> Self {
        let connected = within(name, client.connect()).await;
        let connected = connected.unwrap_or_else(|error| panic!("{name}: {error}"));
        let accepted = within(name, incoming.accept()).await;
        let allowed = watch::Sender::new(0);
        let limit = || Limit {
            messages,
            allowed: allowed.subscribe(),
        };
        Self {
            name: name.to_owned(),
            messages,
            client: Side::start(connected, |connection, tally| {
                tokio::spawn(connect(connection, limit(), tally))
            }),
            server: Side::start(accepted.unwrap(), |connection, tally| {
                tokio::spawn(serve(connection, limit(), tally))
            }),
            allowed,
        }
    }

    /// Allows both sides to send this many messages in all.
    pub(crate) fn allow(&self, messages: u64) {
        self.allowed.send_replace(messages);
    }

    /// Waits until both sides have received this many messages.
    pub(crate) async fn received(&self, messages: u64) {
        self.until("messages", || {
            let received = |side: &Side| side.tally.received.load(Relaxed) >= messages;
            received(&self.client) && received(&self.server)
        })
        .await;
    }

    /// Returns how often the client has lost its last transport.
    pub(crate) fn lost(&self) -> u64 {
        self.client.tally.lost.load(Relaxed)
    }

    /// Waits until the client has lost its last transport more often than this.
    pub(crate) async fn lost_again(&self, before: u64) {
        self.until("the loss of a silent transport", || self.lost() > before)
            .await;
    }

    /// Waits until the session has moved to another transport while it was open.
    pub(crate) async fn moved(&self) {
        let moved = &self.client.tally.moved;
        self.until("a move", || moved.load(Relaxed) > 0).await;
    }

    /// Waits until both sides have everything and the connection is closed. Returns how often the
    /// client was without a transport and went on.
    pub(crate) async fn finish(self) -> u64 {
        self.until("the end", || {
            self.client.task.is_finished() && self.server.task.is_finished()
        })
        .await;
        let resumed = self.client.tally.resumed.load(Relaxed);
        self.client.task.await.unwrap();
        self.server.task.await.unwrap();
        resumed
    }

    /// Waits; panics with what is known when no message comes meanwhile.
    async fn until(&self, what: &str, happened: impl Fn() -> bool) {
        let received = |side: &Side| side.tally.received.load(Relaxed);
        let failed = |side: &Side| side.task.is_finished() && received(side) < self.messages;
        let mut seen = 0;
        let mut since = Instant::now();
        while !happened() {
            assert!(
                !failed(&self.client) && !failed(&self.server),
                "failed: {self}"
            );
            let now = received(&self.client) + received(&self.server);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            assert!(
                since.elapsed() < PATIENCE,
                "waiting for {what}, no message has come for {PATIENCE:?}: {self}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            messages,
            client,
            server,
            ..
        } = self;
        write!(
            f,
            "{name} of {messages}\n  client: {client}\n  server: {server}"
        )
    }
}

impl Side {
    fn start(
        connection: Connection,
        run: impl FnOnce(Connection, Arc<Tally>) -> JoinHandle<()>,
    ) -> Self {
        let tally = Arc::new(Tally::default());
        Self {
            state: connection.watch(),
            task: run(connection, tally.clone()),
            tally,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.tally, self.state.clone().current())
    }
}

impl Tally {
    fn count(&self, event: &Event) {
        let counter = match event {
            Event::Message(_) => &self.received,
            Event::Reconnecting => &self.lost,
            Event::Resumed { .. } => &self.resumed,
            Event::Moved { .. } => &self.moved,
            _ => return,
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// How many messages one side sends.
struct Limit {
    messages: u64,
    allowed: watch::Receiver<u64>,
}

/// The client closes once it has everything, which delivers what the server misses.
async fn connect(mut connection: Connection, limit: Limit, tally: Arc<Tally>) {
    exchange(&mut connection, "client", limit, &tally).await;
    // What was cut may have been the confirmation. Then the server confirms again.
    connection.close(CloseReason::normal()).await.unwrap();
}

/// The server waits for the client's close: until then the client may miss something.
async fn serve(mut connection: Connection, limit: Limit, tally: Arc<Tally>) {
    exchange(&mut connection, "server", limit, &tally).await;
    while let Some(event) = connection.next_event().await.unwrap() {
        assert!(!matches!(event, Event::Message(_)), "one message too many");
    }
}

/// Sends and receives all messages at the same time.
async fn exchange(connection: &mut Connection, who: &str, limit: Limit, tally: &Arc<Tally>) {
    let Limit {
        messages,
        mut allowed,
    } = limit;
    let sender = connection.sender();
    let sent = tally.clone();
    let sending = tokio::spawn(async move {
        for number in 0..messages {
            if allowed.wait_for(|allowed| number < *allowed).await.is_err() {
                return; // The test has failed.
            }
            sender.send(numbered(number)).await.unwrap();
            sent.sent.fetch_add(1, Relaxed);
        }
    });
    let mut number = 0;
    while number < messages {
        match connection.next_event().await {
            Ok(Some(Event::Message(message))) => {
                let expected = numbered(number);
                assert!(
                    message == expected,
                    "{who}: {} in place of {}",
                    shown(&message),
                    shown(&expected)
                );
                number += 1;
                tally.count(&Event::Message(message));
            }
            Ok(Some(Event::StartedAnew { why, .. })) => panic!("{who} {number}: anew: {why}"),
            Ok(Some(event)) => tally.count(&event),
            other => panic!("{who}: ended after {number} messages: {other:?}"),
        }
    }
    sending.await.unwrap();
}
