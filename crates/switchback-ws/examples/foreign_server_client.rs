//! Checks our client against somebody else's server; `tests/e2e` runs it with servers of npm's `ws`
//! and Python's `websockets` and `aiohttp`.
//!
//! The server agrees upon the subprotocol `echo`, echoes every message, and obeys these texts:
//!
//! - `fragments`: answers `one two three` in three frames, with a ping between them;
//! - `ping`: sends a ping, and the text `pong` when that was answered;
//! - `await ping`: answers `pinged` when it has received a ping;
//! - `close 4002 see you`: closes so;
//! - `drop`: drops the TCP connection.
//!
//! `cargo run -p switchback-ws --example foreign_server_client -- --url ws://127.0.0.1:9002`

#![expect(clippy::print_stdout, reason = "it tells how far it came")]

use std::error::Error;
use std::time::Duration;

use switchback_ws::{
    ClientConfig, CloseCode, CloseReason, Limits, Message, Transport, TransportExt, WebSocket,
    connect,
};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Each check ends within this time, or has failed.
const PATIENCE: Duration = Duration::from_secs(15);

const MEBIBYTE: usize = 1 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let mut args = std::env::args().skip(1);
    let (Some("--url"), Some(url)) = (args.next().as_deref(), args.next()) else {
        return Err("usage: foreign_server_client --url URL".into());
    };
    check("subprotocol", subprotocol(&url)).await?;
    check("echo", echo(&url)).await?;
    check("many at once", many(&url)).await?;
    check("fragments", says(&url, "fragments", "one two three")).await?;
    check("ping from the server", says(&url, "ping", "pong")).await?;
    check("ping from the client", ping(&url)).await?;
    check("close by the server", closed_by_server(&url)).await?;
    check("cut by the server", cut_by_server(&url)).await?;
    check("close by the client", close_by_client(&url)).await
}

async fn check(name: &str, passes: impl Future<Output = Result>) -> Result {
    tokio::time::timeout(PATIENCE, passes)
        .await
        .unwrap_or_else(|_| Err("no answer in time".into()))
        .map_err(|error| format!("{name}: {error}"))?;
    println!("{name}: ok");
    Ok(())
}

async fn open(url: &str) -> Result<WebSocket> {
    let limits = Limits::new().max_message_size(2 * MEBIBYTE);
    Ok(connect(url, &ClientConfig::new().limits(limits)).await?)
}

async fn subprotocol(url: &str) -> Result {
    let config = ClientConfig::new().protocols(["unknown", "echo"]);
    let socket = connect(url, &config).await?;
    match socket.info().protocol() {
        Some("echo") => Ok(()),
        other => Err(format!("agreed upon {other:?}").into()),
    }
}

async fn echo(url: &str) -> Result {
    let mut socket = open(url).await?;
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let long: Vec<u8> = (0..MEBIBYTE).map(|i| every_byte[i * 31 % 251]).collect();
    let messages: [Message; 13] = [
        "hello".into(),
        "".into(),
        " leading and trailing ".into(),
        "\r\n\r\n\n\r".into(),
        "\0".into(),
        "\u{feff}BOM".into(),
        "ä€😀\u{10ffff}\u{fffe}".into(),
        "\u{1}\u{1}opened {}".into(),
        "x".repeat(MEBIBYTE).into(),
        Vec::new().into(),
        vec![0_u8].into(),
        every_byte.into(),
        long.into(),
    ];
    for (index, message) in messages.into_iter().enumerate() {
        socket.send(message.clone()).await?;
        socket.flush().await?;
        if socket.recv().await? != Some(message) {
            return Err(format!("message {index} came back different").into());
        }
    }
    Ok(())
}

async fn many(url: &str) -> Result {
    const COUNT: usize = 1000;
    let mut socket = open(url).await?;
    for number in 0..COUNT {
        socket.send(number.to_string()).await?;
    }
    socket.flush().await?;
    for number in 0..COUNT {
        expect(&mut socket, &number.to_string()).await?;
    }
    Ok(())
}

async fn says(url: &str, command: &'static str, answer: &str) -> Result {
    let mut socket = open(url).await?;
    socket.send(command).await?;
    expect(&mut socket, answer).await
}

async fn ping(url: &str) -> Result {
    // A pong that does not come would end the connection before the check after the ping.
    let config = ClientConfig::new()
        .ping_interval(Some(Duration::from_millis(100)))
        .ping_timeout(Duration::from_secs(5));
    let mut socket = connect(url, &config).await?;
    socket.send("await ping").await?;
    expect(&mut socket, "pinged").await?;
    socket.send("still here").await?;
    expect(&mut socket, "still here").await
}

async fn closed_by_server(url: &str) -> Result {
    let mut socket = open(url).await?;
    socket.send("close 4002 see you").await?;
    match socket.recv().await {
        Ok(None) => {}
        other => return Err(format!("not a clean close: {other:?}").into()),
    }
    let reason = socket.close_reason().ok_or("there is no reason")?;
    match (reason.code().as_u16(), reason.reason()) {
        (4002, "see you") => Ok(()),
        other => Err(format!("closed with {other:?}").into()),
    }
}

async fn cut_by_server(url: &str) -> Result {
    let mut socket = open(url).await?;
    socket.send("drop").await?;
    match socket.recv().await {
        Err(_) => Ok(()),
        Ok(message) => Err(format!("a cut looks like {message:?}").into()),
    }
}

/// The server tells whoever runs this what it got.
async fn close_by_client(url: &str) -> Result {
    let mut socket = open(url).await?;
    let code = CloseCode::new(4001).ok_or("4001 may be sent")?;
    socket.close(CloseReason::new(code, "bye ü")).await?;
    Ok(())
}

async fn expect(socket: &mut WebSocket, text: &str) -> Result {
    socket.flush().await?;
    match socket.recv().await? {
        Some(message) if message.as_text() == Some(text) => Ok(()),
        other => Err(format!("expected {text:?}, got {other:?}").into()),
    }
}
