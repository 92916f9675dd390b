//! A small chat, built step by step in `docs/tutorial.md`.
//!
//! `cargo run --example tutorial -- serve`, open http://127.0.0.1:8080, and in other terminals
//! `cargo run --example tutorial -- join ann`.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::response::Html;
use axum::routing::{any_service, get};
use switchback::{
    Client, CloseCode, CloseReason, Config, Connection, Endpoint, Event, Incoming, Message, Sender,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve(TcpListener::bind("127.0.0.1:8080").await?).await,
        ["join", name] => join("http://127.0.0.1:8080/rt", name).await,
        _ => Err("say `serve`, or `join NAME`".into()),
    }
}

async fn serve(listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let (endpoint, incoming) = Endpoint::new(Config::new());
    tokio::spawn(accept(incoming));
    let app = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/rt", any_service(endpoint));
    switchback::serve(listener, app).await?;
    Ok(())
}

async fn accept(mut incoming: Incoming) {
    let room = Arc::new(Room::default());
    let mut number = 0;
    while let Some(connection) = incoming.accept().await {
        number += 1;
        tokio::spawn(talk(connection, number, room.clone()));
    }
}

async fn talk(mut connection: Connection, number: u64, room: Arc<Room>) {
    room.join(number, connection.sender());
    while let Ok(Some(message)) = connection.recv().await {
        if let Some(text) = message.as_text() {
            room.tell_everybody(text);
        }
    }
    room.leave(number);
}

/// Everybody who is here.
#[derive(Default)]
struct Room {
    members: Mutex<HashMap<u64, Sender>>,
}

impl Room {
    fn join(&self, number: u64, member: Sender) {
        self.lock().insert(number, member);
    }

    fn leave(&self, number: u64) {
        self.lock().remove(&number);
    }

    fn tell_everybody(&self, text: &str) {
        // Encoded once, not once for each member.
        let message = Message::text(text).prepare();
        for member in self.lock().values() {
            // Never waits: one slow member must not hold up the others.
            if member.try_send(message.clone()).is_err() {
                member.close(CloseReason::new(CloseCode::SLOW_CONSUMER, "too slow"));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Sender>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PAGE: &str = r#"<!doctype html>
<title>Chat</title>
<input id="line" placeholder="say something, press Enter" size="40" autofocus>
<pre id="log"></pre>
<script>
  const socket = new WebSocket(`ws://${location.host}/rt`);
  socket.onmessage = (event) => document.getElementById("log").append(event.data + "\n");
  document.getElementById("line").onchange = (event) => {
    socket.send("page: " + event.target.value);
    event.target.value = "";
  };
</script>
"#;

async fn join(url: &str, name: &str) -> Result<(), Box<dyn Error>> {
    let mut connection = Client::new(url)?.connect().await?;
    show(&format!("connected by {:?}", connection.transport()));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => connection.send(format!("{name}: {line}")).await?,
                None => break,
            },
            event = connection.next_event() => match event? {
                Some(event) => on_event(&mut connection, event).await?,
                None => break,
            },
        }
    }
    connection.close(CloseReason::normal()).await?;
    Ok(())
}

async fn on_event(connection: &mut Connection, event: Event) -> Result<(), Box<dyn Error>> {
    match event {
        Event::Message(message) => show(message.as_text().unwrap_or("(binary)")),
        Event::Reconnecting => show("... the connection is lost, trying again"),
        Event::Resumed { transport } => show(&format!("... back by {transport}, nothing lost")),
        Event::Moved { transport } => show(&format!("... now by {transport}")),
        Event::StartedAnew { unacknowledged, .. } => {
            show("... back, but the server has forgotten us");
            // It may have them or not. In a chat, twice is better than never.
            for message in unacknowledged {
                connection.send(message).await?;
            }
        }
        _ => {}
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a terminal client prints")]
fn show(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use switchback::TransportKind;
    use tokio::time::timeout;

    use super::*;

    async fn start() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/rt", listener.local_addr().unwrap());
        tokio::spawn(async move { serve(listener).await.unwrap() });
        url
    }

    async fn heard(connection: &mut Connection) -> Option<String> {
        let message = timeout(Duration::from_secs(10), connection.recv())
            .await
            .unwrap()
            .unwrap();
        message.map(|message| message.into_text().unwrap())
    }

    #[tokio::test]
    async fn members_on_all_transports_hear_one_another() {
        let url = start().await;
        let mut members = Vec::new();
        for kind in TransportKind::ALL {
            let client = Client::new(&url).unwrap().transports([kind]);
            let mut member = client.connect().await.unwrap();
            // Told to oneself: then the room knows this member.
            member.send("in").await.unwrap();
            assert_eq!(heard(&mut member).await.as_deref(), Some("in"));
            members.push(member);
        }
        members[2].send("hello").await.unwrap();
        for (member, ins) in members.iter_mut().zip([2, 1, 0]) {
            for _ in 0..ins {
                assert_eq!(heard(member).await.as_deref(), Some("in"));
            }
            assert_eq!(heard(member).await.as_deref(), Some("hello"));
        }
    }
}
