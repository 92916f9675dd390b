//! Connections that are cut at any byte of a request or response lose and double nothing.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use support::{Host, soon};
use switchback_longpoll::{
    ClientConfig, CloseReason, Limits, LongPoll, LongPollClient, LongPollServer, Message,
    ServerConfig, Transport, TransportExt,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Forwards to `to`. Cuts the n-th connection after so many bytes in one direction, as long as
/// there are cuts; later connections live.
async fn proxy(to: SocketAddr, cuts: Vec<(usize, usize)>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let count = done.clone();
    tokio::spawn(async move {
        let mut cuts = cuts.into_iter();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let cut = cuts.next();
            let count = count.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(to).await.unwrap();
                let (up, down) = cut.unwrap_or((usize::MAX, usize::MAX));
                let (client_read, client_write) = client.into_split();
                let (server_read, server_write) = server.into_split();
                tokio::select! {
                    () = forward(client_read, server_write, up) => {}
                    () = forward(server_read, client_write, down) => {}
                }
                count.fetch_add(usize::from(cut.is_some()), Ordering::Relaxed);
            });
        }
    });
    (addr, done)
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut budget: usize,
) {
    let mut buffer = [0; 4096];
    while budget > 0 {
        let limit = budget.min(buffer.len());
        match from.read(&mut buffer[..limit]).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
                budget -= read;
            }
        }
    }
}

fn messages(name: &str) -> Vec<Message> {
    (0..150)
        .map(|n| match n % 10 {
            0 => Message::binary(vec![0xff; n * 4]),
            _ => Message::text(format!("{name} {n} \u{feff}\r\n{}", "x".repeat(n))),
        })
        .collect()
}

/// Sends all of `mine`, one at a time, while it receives all of `theirs`.
async fn exchange(transport: &mut impl Transport, mine: Vec<Message>, theirs: &[Message]) {
    let mut unsent = mine.into_iter().peekable();
    let mut received = Vec::new();
    let mut flushed = true;
    std::future::poll_fn(|cx| {
        use std::task::Poll;
        loop {
            let mut progress = false;
            if let Some(message) = unsent.peek()
                && let Poll::Ready(sent) = transport.poll_send(cx, message)
            {
                sent.unwrap();
                unsent.next();
                flushed = false;
                progress = true;
            }
            if !flushed && let Poll::Ready(done) = transport.poll_flush(cx) {
                done.unwrap();
                flushed = true;
            }
            if received.len() < theirs.len()
                && let Poll::Ready(message) = transport.poll_recv(cx)
            {
                received.push(message.unwrap().expect("a message"));
                progress = true;
            }
            if unsent.peek().is_none() && flushed && received.len() == theirs.len() {
                return Poll::Ready(());
            }
            if !progress {
                return Poll::Pending;
            }
        }
    })
    .await;
    assert!(received == theirs);
}

async fn both_ways(server: LongPoll, mut client: LongPollClient) {
    let (up, down) = (messages("up"), messages("down"));
    let serving = {
        let (up, down) = (up.clone(), down.clone());
        let mut server = server;
        tokio::spawn(async move {
            exchange(&mut server, down, &up).await;
            let end = server.recv().await.unwrap();
            (end, server)
        })
    };
    soon(exchange(&mut client, up, &down)).await;
    soon(client.close(CloseReason::normal())).await.unwrap();
    let (end, server) = soon(serving).await.unwrap();
    assert_eq!(end, None);
    assert_eq!(server.close_reason(), Some(&CloseReason::normal()));
}

#[tokio::test]
async fn cut_anywhere() {
    // After so many bytes up and down: in a head, between, in a body. A batch fits through most.
    let cuts: Vec<_> = (0..24)
        .map(|n| (100 + n * 7919 % 2000, 100 + n * 6007 % 2000))
        .collect();
    let total = cuts.len();
    // Small batches, for many requests.
    let limits = Limits::new().max_batch_messages(4);
    let config = ServerConfig::new().limits(limits.clone());
    let mut host = Host::start(LongPollServer::new(config)).await;
    // The opening request is not repeated, so it has a whole connection's worth of bytes.
    let cuts = [vec![(usize::MAX, 2000)], cuts].concat();
    let (addr, done) = proxy(host.addr, cuts).await;
    let url = format!("http://{addr}/rt").parse().unwrap();
    let config = ClientConfig::new().limits(limits);
    let client = soon(LongPollClient::connect(&url, &config)).await.unwrap();
    both_ways(host.accept().await, client).await;
    let done = done.load(Ordering::Relaxed);
    assert!(done >= total / 2, "only {done} connections were cut");
}

#[tokio::test]
async fn responses_that_were_made_and_never_sent() {
    // Every third response is lost with its connection, after the server has acted.
    let server = LongPollServer::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (accept, mut accepted) = tokio::sync::mpsc::channel(1);
    let lost = Arc::new(AtomicUsize::new(0));
    let count = lost.clone();
    tokio::spawn(async move {
        let requests = Arc::new(AtomicUsize::new(0));
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (server, accept) = (server.clone(), accept.clone());
            let (requests, count) = (requests.clone(), count.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let (server, accept) = (server.clone(), accept.clone());
                    let (requests, count) = (requests.clone(), count.clone());
                    async move {
                        let response = server
                            .handle(request, |transport| {
                                let _ = accept.try_send(transport);
                            })
                            .await;
                        if requests.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
                            count.fetch_add(1, Ordering::Relaxed);
                            return Err("lost");
                        }
                        Ok::<_, &str>(response)
                    }
                });
                let _: Result<(), _> = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    });
    let url = format!("http://{addr}/rt").parse().unwrap();
    let client = soon(LongPollClient::connect(&url, &ClientConfig::new()))
        .await
        .unwrap();
    both_ways(soon(accepted.recv()).await.unwrap(), client).await;
    let lost = lost.load(Ordering::Relaxed);
    assert!(lost >= 2, "only {lost} responses were lost");
}
