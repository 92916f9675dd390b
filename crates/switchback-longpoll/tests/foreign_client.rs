//! A client written from `docs/protocol.md` alone, against the server.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod support;

use support::raw::Client;
use support::{Host, soon};
use switchback_longpoll::{CloseCode, CloseReason, LongPollServer, Message, TransportExt};

async fn open(host: &Host) -> (Client, String) {
    let mut client = Client::connect(host.addr).await;
    let opened = client.exchange("GET", "", None, b"").await;
    assert_eq!(opened.status(), 200);
    assert_eq!(opened.text(), "");
    let id = opened.header("Switchback-Connection").unwrap().to_owned();
    (client, id)
}

#[tokio::test]
async fn a_conversation() {
    let mut host = Host::start(LongPollServer::default()).await;
    let (mut polls, id) = open(&host).await;
    let mut posts = Client::connect(host.addr).await;
    let mut transport = host.accept().await;
    let id = Some(id.as_str());

    transport.send("hello").await.unwrap();
    transport
        .send(Message::binary(&b"\x00\xff:"[..]))
        .await
        .unwrap();
    transport.send("").await.unwrap();
    for _ in 0..2 {
        let batch = polls.exchange("GET", "&cursor=0", id, b"").await;
        assert_eq!(batch.status(), 200);
        assert_eq!(batch.body, b"t5:hellob3:\x00\xff:t0:");
        let content_type = batch.header("content-type").unwrap();
        assert_eq!(content_type, "application/x-switchback-batch");
        assert_eq!(batch.header("cache-control"), Some("no-store"));
    }
    polls.ask("GET", "&cursor=3", id, b"").await;

    // The answer to the first POST is lost, say: the client sends it again, and more.
    let received = posts
        .exchange("POST", "&first=1", id, b"t3:oneb2:\r\n")
        .await;
    assert_eq!(
        (received.status(), received.text()),
        (200, r#"{"received":2}"#)
    );
    let received = posts
        .exchange(
            "POST",
            "&first=1",
            id,
            "t3:oneb2:\r\nt4:\u{feff}3".as_bytes(),
        )
        .await;
    assert_eq!(
        (received.status(), received.text()),
        (200, r#"{"received":3}"#)
    );
    for expected in [
        Message::text("one"),
        Message::binary(&b"\r\n"[..]),
        Message::text("\u{feff}3"),
    ] {
        assert_eq!(soon(transport.recv()).await.unwrap(), Some(expected));
    }
    let gap = posts.exchange("POST", "&first=5", id, b"t1:a").await;
    assert_eq!((gap.status(), gap.error().as_str()), (409, "gap"));

    transport.send("late").await.unwrap();
    assert_eq!(polls.answer().await.text(), "t4:late");

    let closing = tokio::spawn(async move {
        let code = CloseCode::new(4200).unwrap();
        transport.close(CloseReason::new(code, "\"done\"")).await
    });
    let closed = polls.exchange("GET", "&cursor=4", id, b"").await;
    assert_eq!((closed.status(), closed.error().as_str()), (410, "closed"));
    assert_eq!(closed.header("cache-control"), Some("no-store"));
    let json: serde_json::Value = serde_json::from_slice(&closed.body).unwrap();
    assert_eq!(json["code"], 4200);
    assert_eq!(json["reason"], "\"done\"");
    soon(closing).await.unwrap().unwrap();
}

#[tokio::test]
async fn overlapping_polls_steal_nothing() {
    let mut host = Host::start(LongPollServer::default()).await;
    let (mut first, id) = open(&host).await;
    let mut second = Client::connect(host.addr).await;
    let mut transport = host.accept().await;
    let id = Some(id.as_str());
    for round in 0..50 {
        let cursor = format!("&cursor={round}");
        first.ask("GET", &cursor, id, b"").await;
        second.ask("GET", &cursor, id, b"").await;
        transport.send(format!("{round}")).await.unwrap();
        let answers = [first.answer().await, second.answer().await];
        // Whichever came first was superseded, or was answered before the other came. Whoever was
        // answered with a batch got the message, and nobody got another one.
        let batch = format!("t{}:{round}", round.to_string().len());
        let mut batches = 0;
        for answer in answers {
            match answer.status() {
                200 => {
                    assert_eq!(answer.text(), batch);
                    batches += 1;
                }
                409 => assert_eq!(answer.error(), "superseded"),
                other => panic!("{other}"),
            }
        }
        assert!(batches >= 1, "round {round}");
    }
}

#[tokio::test]
async fn the_client_closes() {
    let mut host = Host::start(LongPollServer::default()).await;
    let (mut client, id) = open(&host).await;
    let mut transport = host.accept().await;
    let id = Some(id.as_str());
    client.exchange("POST", "&first=1", id, b"t3:bye").await;
    let query = "&code=1001&reason=caf%C3%A9%26co";
    for _ in 0..2 {
        assert_eq!(
            client.exchange("DELETE", query, id, b"").await.status(),
            204
        );
    }
    assert_eq!(
        soon(transport.recv()).await.unwrap(),
        Some(Message::text("bye"))
    );
    assert_eq!(soon(transport.recv()).await.unwrap(), None);
    use switchback_longpoll::Transport;
    let why = transport.close_reason().unwrap();
    assert_eq!((why.code().as_u16(), why.reason()), (1001, "café&co"));
    let poll = client.exchange("GET", "&cursor=0", id, b"").await;
    assert_eq!(poll.error(), "unknown_connection");
}
