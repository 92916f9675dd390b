//! No wake-up is lost and no lock is taken the wrong way round, whatever the order in which an
//! application, its other tasks, the background and the network get hold of a connection.
//!
//! Every wait here is for something that must come; one that is longer than [`PATIENCE`] is a
//! wake-up that was lost. Session heartbeats are set far apart, so that none of them wakes a
//! connection that sleeps by mistake.
//!
//! `SWITCHBACK_STRESS` sets the rounds of each connection, 60 by default.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stderr,
    reason = "a deadlock can be told in no other way"
)]

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use support::{Server, client, echo};
use switchback::{
    Client, CloseReason, Config, Connection, Endpoint, Event, Message, TransportKind,
};
use switchback_core::{Transport, TransportExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

/// Far beyond what a loaded machine needs, and far below every timer that could help out.
const PATIENCE: Duration = Duration::from_secs(20);

fn rounds() -> u64 {
    let rounds = std::env::var("SWITCHBACK_STRESS").ok();
    rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(60)
}

fn config() -> Config {
    Config::new().heartbeat(Duration::from_secs(300), Duration::from_secs(300))
}

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("a wake-up was lost: {what}"),
    }
}

/// A deadlock blocks the threads on which a timeout would run: this one has a thread of its own.
struct Watchdog(Arc<AtomicBool>);

impl Watchdog {
    fn start(limit: Duration) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let seen = done.clone();
        std::thread::spawn(move || {
            std::thread::park_timeout(limit);
            if !seen.load(Ordering::Relaxed) {
                eprintln!("deadlock: the test made no progress for {limit:?}");
                std::process::abort();
            }
        });
        Self(done)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Xorshift: the same patterns in every run, interleaved differently in each.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Receives one message, in one of the ways in which applications do that.
async fn receive(connection: &mut Connection, random: &mut Random) -> Message {
    match random.below(6) {
        // Polls a few times and goes away each time, then waits.
        0 => {
            for _ in 0..random.below(4) {
                let mut next = pin!(connection.next_event());
                let polled = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
                if let Poll::Ready(Ok(Some(Event::Message(message)))) = polled {
                    return message;
                }
                tokio::task::yield_now().await;
            }
        }
        // `select!` with something that is ready at once, or soon.
        1 => {
            for _ in 0..random.below(4) {
                tokio::select! {
                    message = connection.recv() => return message.unwrap().unwrap(),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        // Busy elsewhere: the background has to read.
        2 => {
            for _ in 0..random.below(50) {
                tokio::task::yield_now().await;
            }
        }
        // Waits in a state in which other locks are contended.
        3 => drop(connection.state()),
        // Polled more often than woken.
        4 => {
            let mut recv = pin!(connection.recv());
            let mut spurious = random.below(8);
            return soon(
                "a message, polled too often",
                std::future::poll_fn(|cx| {
                    if spurious > 0 {
                        spurious -= 1;
                        cx.waker().wake_by_ref();
                    }
                    recv.as_mut().poll(cx)
                }),
            )
            .await
            .unwrap()
            .unwrap();
        }
        _ => {}
    }
    soon("a message", connection.recv()).await.unwrap().unwrap()
}

/// Sends one message, in one of the ways in which applications do that.
async fn send(connection: &mut Connection, random: &mut Random, text: String) {
    let sender = connection.sender();
    match random.below(4) {
        0 => connection.try_send(text).unwrap(),
        1 => drop(tokio::spawn(async move {
            soon("room, elsewhere", sender.send(text)).await.unwrap();
        })),
        2 => sender.try_send(text).unwrap(),
        _ => soon("room", connection.send(text)).await.unwrap(),
    }
}

/// One message at a time, so that nothing else wakes a connection whose wake-up was lost.
async fn ping_pong(mut connection: Connection, seed: u64) {
    let mut random = Random(seed);
    for round in 0..rounds() {
        let text = format!("{seed} {round}");
        send(&mut connection, &mut random, text.clone()).await;
        let reply = receive(&mut connection, &mut random).await;
        assert_eq!(reply.as_text(), Some(&*text));
    }
    if random.below(2) == 0 {
        soon("the end", connection.close(CloseReason::normal()))
            .await
            .unwrap();
    }
}

/// An echo whose server side receives and sends in random ways, too.
async fn random_echo(mut connection: Connection, seed: u64) {
    let mut random = Random(seed);
    loop {
        // The peer sends the next message only after the answer: waits as `receive` does, but for
        // the end as well.
        for _ in 0..random.below(3) {
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                message = connection.recv() => match message {
                    Ok(Some(message)) => connection.try_send(message).unwrap(),
                    _ => return,
                },
            }
        }
        match connection.recv().await {
            Ok(Some(message)) => {
                let text = message.as_text().unwrap().to_owned();
                send(&mut connection, &mut random, text).await;
            }
            _ => return,
        }
    }
}

async fn no_more(server: &Server) {
    soon("the end of all sessions", async {
        while server.endpoint.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn every_wake_up_reaches_somebody() {
    let _watchdog = Watchdog::start(Duration::from_secs(180));
    let (server, mut incoming) = Server::start(config()).await;
    tokio::spawn(async move {
        let mut seed = 1;
        while let Some(connection) = incoming.accept().await {
            seed += 1;
            tokio::spawn(random_echo(connection, seed));
        }
    });
    let mut tasks = JoinSet::new();
    for seed in 1..=24 {
        let kind = match seed % 6 {
            0 => TransportKind::Sse,
            1 => TransportKind::LongPoll,
            _ => TransportKind::WebSocket,
        };
        let client = client(server.addr, kind);
        tasks.spawn(async move {
            let connection = soon("connect", client.connect()).await.unwrap();
            ping_pong(connection, seed).await;
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    no_more(&server).await;
}

/// Others hold the connection's lock all the time, which makes the unlocked moments long.
///
/// The clients are plain ones: a session would look after itself when an acknowledgement is due,
/// and a lost wake-up would show as a delay of a second only.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn no_wake_up_is_lost_to_contention() {
    let _watchdog = Watchdog::start(Duration::from_secs(180));
    let (server, mut incoming) = Server::start(config()).await;
    tokio::spawn(async move {
        let mut seed = 1;
        while let Some(connection) = incoming.accept().await {
            let sender = connection.sender();
            tokio::spawn(async move {
                while !sender.is_closed() {
                    for _ in 0..20 {
                        sender.is_closed();
                    }
                    tokio::task::yield_now().await;
                }
            });
            seed += 1;
            if seed % 2 == 0 {
                tokio::spawn(echo(connection));
            } else {
                tokio::spawn(random_echo(connection, seed));
            }
        }
    });
    let mut tasks = JoinSet::new();
    for seed in 1..=6 {
        let config = switchback_ws::ClientConfig::new();
        let url = server.url().parse().unwrap();
        let connecting = switchback_ws::connect_to(&url, &config);
        let mut transport = soon("connect", connecting).await.unwrap();
        tasks.spawn(async move {
            let mut random = Random(seed);
            for round in 0..rounds() * 10 {
                transport.send(format!("{round}")).await.unwrap();
                for _ in 0..random.below(3) {
                    tokio::task::yield_now().await;
                }
                let reply = soon("a reply", transport.recv()).await.unwrap().unwrap();
                assert_eq!(reply.as_text(), Some(&*round.to_string()));
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    no_more(&server).await;
}

/// Many tasks wait for room on one connection, and some give up: each gets its turn, and those who
/// wait cost nothing meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_who_waits_for_room_gets_it() {
    const SENDERS: u64 = 200;
    let _watchdog = Watchdog::start(Duration::from_secs(180));
    let (server, mut incoming) = Server::start(config().queue(4 * 1024, 8 * 1024)).await;
    // A client that reads, and acknowledges, only when this test says so.
    let mut slow = attach(&server, "1.new.000000000000000000000A.1.1").await;
    soon("opened", slow.recv()).await.unwrap();
    slow.send("\u{1}select 0").await.unwrap();
    let connection = soon("accept", incoming.accept()).await.unwrap();
    let polls = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for number in 0..SENDERS {
        let (sender, polls) = (connection.sender(), polls.clone());
        tasks.spawn(async move {
            let mut random = Random(number + 1);
            for _ in 0..random.below(4) {
                // Gives up at once.
                let mut send = pin!(sender.send("x".repeat(3000)));
                let given_up = std::future::poll_fn(|cx| Poll::Ready(send.as_mut().poll(cx))).await;
                if let Poll::Ready(result) = given_up {
                    result.unwrap();
                }
            }
            let mut send = pin!(sender.send("y".repeat(3000)));
            soon(
                "room",
                std::future::poll_fn(|cx| {
                    polls.fetch_add(1, Ordering::Relaxed);
                    send.as_mut().poll(cx)
                }),
            )
            .await
            .unwrap();
        });
    }
    // The replay buffer holds 88 of these: the others wait until the client acknowledges.
    for _ in 0..300_000 {
        tokio::task::yield_now().await;
    }
    let (mut seen, mut wanted) = (0, SENDERS);
    while wanted > 0 {
        let message = soon("a message", slow.recv()).await.unwrap().unwrap();
        let text = message.as_text().unwrap();
        if !text.starts_with('\u{1}') {
            seen += 1;
            wanted -= u64::from(text.starts_with('y'));
            slow.send(format!("\u{1}ack {seen}")).await.unwrap();
        }
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    let polls = polls.load(Ordering::Relaxed);
    assert!(
        polls < SENDERS * 20,
        "{polls} polls for {SENDERS} messages: the waiting wake one another"
    );
}

/// The client's end of a session on a bare WebSocket, for hellos and cuts at any time.
async fn attach(server: &Server, hello: &str) -> impl Transport + use<> {
    let protocols = ["switchback".to_owned(), format!("switchback.{hello}")];
    let config = switchback_ws::ClientConfig::new().protocols(protocols);
    let url = server.url().parse().unwrap();
    soon("an upgrade", switchback_ws::connect_to(&url, &config))
        .await
        .unwrap()
}

/// Applications drop their connections while the clients come back: both lock the connection and
/// the background's state.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drop_and_a_resume_at_the_same_time_do_not_lock_up() {
    const SESSIONS: usize = 150;
    let _watchdog = Watchdog::start(Duration::from_secs(120));
    let (server, mut incoming) = Server::start(config()).await;
    let server = Arc::new(server);
    for round in 0..4 {
        let mut sessions = Vec::new();
        for number in 0..SESSIONS {
            let id = format!("{:021}A", round * SESSIONS + number);
            let mut transport = attach(&server, &format!("1.new.{id}.1.1")).await;
            let mut connection = soon("accept", incoming.accept()).await.unwrap();
            let opened = soon("opened", transport.recv()).await.unwrap().unwrap();
            let (_, token) = opened
                .as_text()
                .unwrap()
                .split_once("\"token\":\"")
                .unwrap();
            let token = token.split('"').next().unwrap().to_owned();
            transport.send("\u{1}select 0").await.unwrap();
            drop(transport);
            let event = soon("the cut", connection.next_event()).await.unwrap();
            assert_eq!(event, Some(Event::Reconnecting));
            sessions.push((id, token, connection));
        }
        let mut tasks = JoinSet::new();
        let go = Arc::new(tokio::sync::Semaphore::new(0));
        for (id, token, connection) in sessions {
            let (server, dropping) = (server.clone(), go.clone());
            tokio::spawn(async move {
                let _permit = dropping.acquire().await.unwrap();
                drop(connection);
            });
            let go = go.clone();
            tasks.spawn(async move {
                go.add_permits(1);
                let mut transport = attach(&server, &format!("1.resume.{id}.{token}.2.2.0")).await;
                soon("an answer", transport.recv()).await.unwrap();
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
    }
}

/// A connection that its application has dropped ends, though its peer sends more than anybody
/// takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_connection_ends_under_a_flood() {
    // The client does not come back: what remains ends with the park.
    let config = config().park(Duration::from_secs(1));
    let (server, mut incoming) = Server::start(config).await;
    let mut transport = attach(&server, "1.new.000000000000000000000A.1.1").await;
    soon("opened", transport.recv()).await.unwrap();
    let connection = soon("accept", incoming.accept()).await.unwrap();
    transport.send("\u{1}select 0").await.unwrap();
    drop(connection);
    for number in 0..3000 {
        if transport.send(format!("{number}")).await.is_err() {
            break;
        }
    }
    drop(transport);
    no_more(&server).await;
}

/// Connections that come and go all the time, on both ends, in every state.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_left_of_connections_that_come_and_go() {
    let _watchdog = Watchdog::start(Duration::from_secs(180));
    // Of a client that gives up while it connects, the server may learn nothing: it waits for the
    // next poll, for ten seconds more than the window, and then for a resume.
    let config = config()
        .poll_window(Duration::from_secs(1))
        .park(Duration::from_secs(1));
    let (server, mut incoming) = Server::start(config).await;
    tokio::spawn(async move {
        let mut random = Random(7);
        while let Some(connection) = incoming.accept().await {
            match random.below(4) {
                0 => drop(connection),
                1 => drop(tokio::spawn(async move {
                    let mut connection = connection;
                    let _ = connection.send("farewell").await;
                    let _ = connection.close(CloseReason::normal()).await;
                })),
                2 => drop(tokio::spawn(async move {
                    let sender = connection.sender();
                    let sending = tokio::spawn(async move { sender.send("from elsewhere").await });
                    drop(connection);
                    let _ = sending.await;
                })),
                _ => drop(tokio::spawn(echo(connection))),
            }
        }
    });
    let mut tasks = JoinSet::new();
    for seed in 1..=16 {
        let client = Client::new(&server.url()).unwrap();
        tasks.spawn(async move {
            let mut random = Random(seed);
            for _ in 0..rounds() / 6 {
                let kind = TransportKind::ALL[usize::try_from(random.below(3)).unwrap()];
                let client = client.clone().transports([kind]);
                let mut connecting = pin!(client.connect());
                if random.below(4) == 0 {
                    // Gives up after a few polls.
                    let mut polls = random.below(6);
                    let given_up = std::future::poll_fn(|cx| match connecting.as_mut().poll(cx) {
                        Poll::Ready(result) => Poll::Ready(Some(result)),
                        Poll::Pending if polls == 0 => Poll::Ready(None),
                        Poll::Pending => {
                            polls -= 1;
                            Poll::Pending
                        }
                    });
                    let _ = soon("connect or give up", given_up).await;
                    continue;
                }
                let mut connection = soon("connect", connecting).await.unwrap();
                let _ = connection.try_send("hello");
                if random.below(2) == 0 {
                    let _ = soon("anything", connection.recv()).await;
                }
                if random.below(2) == 0 {
                    let _ = soon("the end", connection.close(CloseReason::normal())).await;
                }
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    no_more(&server).await;
}

/// The acknowledgements that an application waits for in `send` are behind messages that it does not
/// take meanwhile: they have to be read all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_of_many_messages_does_not_wait_for_itself() {
    const REPLIES: usize = 4;
    let (server, mut incoming) = Server::start(config()).await;
    tokio::spawn(async move {
        while let Some(mut connection) = incoming.accept().await {
            tokio::spawn(async move {
                while let Ok(Some(message)) = connection.recv().await {
                    for _ in 0..REPLIES {
                        connection.send(message.clone()).await.unwrap();
                    }
                }
            });
        }
    });
    for kind in TransportKind::ALL {
        for size in [10, 700, 20_000] {
            let count = (2 << 20) / (size + 100);
            let mut connection = client(server.addr, kind).connect().await.unwrap();
            let sender = connection.sender();
            tokio::spawn(async move {
                for number in 0..count {
                    sender.send(format!("{number:0>size$}")).await.unwrap();
                }
            });
            for number in 0..count * REPLIES {
                let what = format!("{kind}: reply {number} of {size} bytes");
                let reply = soon(&what, connection.recv()).await.unwrap().unwrap();
                let expected = (number / REPLIES).to_string();
                let reply = reply.as_text().unwrap();
                assert_eq!(
                    reply.trim_start_matches('0'),
                    expected.trim_start_matches('0')
                );
            }
        }
    }
}

/// More than the sockets hold, to a client that begins to read late: whatever had no room goes as soon as
/// there is some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_no_room_goes_when_there_is_room() {
    const MESSAGES: usize = 1000;
    for past_the_outbox in [true, false] {
        let (endpoint, mut incoming) =
            Endpoint::new(config().replay(5000, 64 << 20).queue(64 << 20, 64 << 20));
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(16 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(switchback::serve(listener, endpoint));
        let accepted = tokio::spawn(async move {
            let mut connection = incoming.accept().await.unwrap();
            let sender = connection.sender();
            for number in 0..MESSAGES {
                let message = Message::text(format!("{number:10000}"));
                if past_the_outbox {
                    connection.send(message).await.unwrap();
                } else {
                    sender.try_send(message).unwrap();
                }
            }
            assert_eq!(connection.recv().await.unwrap(), Some("done".into()));
            // Not dropped before: that would be a close.
            connection
        });
        let client = client(addr, TransportKind::WebSocket);
        let mut connection = client.connect().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        soon("messages that had no room", async {
            for number in 0..MESSAGES {
                let message = connection.recv().await.unwrap().unwrap();
                assert_eq!(message.as_text(), Some(&*format!("{number:10000}")));
            }
        })
        .await;
        connection.send("done").await.unwrap();
        soon("the last message", accepted).await.unwrap();
        serving.abort();
    }
}
