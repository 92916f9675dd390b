use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use switchback_core::CloseCode;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::testing::{Peer, accept, listen, within};
use crate::{Connector, Inbox, Url};

fn poster(url: Url, limits: &Limits) -> Poster {
    let lane = Lane::new(Connector::new(), url);
    Poster::new(lane, TransportKind::Sse, "ID".to_owned(), limits)
}

async fn setup(limits: &Limits) -> (TcpListener, Poster) {
    let (listener, url) = listen("http").await;
    (listener, poster(url, limits))
}

async fn send(poster: &mut Poster, text: &'static str) -> Result<(), ErrorKind> {
    let message = Message::from_static(text);
    let sent = within(poll_fn(|cx| poster.poll_send(cx, &message))).await;
    sent.map_err(|error| error.kind())
}

async fn drive(poster: &mut Poster) -> Result<(), Error> {
    within(poll_fn(|cx| poster.poll_drive(cx))).await
}

async fn close(poster: &mut Poster) -> Result<(), ErrorKind> {
    let why = CloseReason::new(CloseCode::GOING_AWAY, "so long & ok");
    let closed = within(poll_fn(|cx| poster.poll_close(cx, &why))).await;
    closed.map_err(|error| error.kind())
}

/// Reads a request; gives back method, target and body.
async fn seen(peer: &mut Peer<TcpStream>) -> String {
    let seen = peer.request().await.expect("the client has closed");
    assert!(seen.head.contains("\r\nswitchback-connection: id\r\n"));
    format!("{} {}", seen.line, seen.body)
}

fn post(first: u64, body: &str) -> String {
    format!("POST /rt?transport=sse&first={first} {body}")
}

async fn acknowledge(peer: &mut Peer<TcpStream>, received: u64) {
    let body = format!(r#"{{"received":{received}}}"#);
    peer.answer("200 OK", &body).await;
}

#[tokio::test]
async fn posts_what_came_together() {
    let (listener, mut poster) = setup(&Limits::new()).await;
    assert!(drive(&mut poster).await.is_ok());
    send(&mut poster, "a").await.unwrap();
    let serve = async {
        let mut peer = accept(&listener).await;
        assert_eq!(seen(&mut peer).await, post(1, "t1:a"));
        peer
    };
    let mut peer = tokio::select! {
        peer = serve => peer,
        _ = drive(&mut poster) => panic!("nothing was acknowledged"),
    };
    // Two more while the first is under way.
    send(&mut poster, "b").await.unwrap();
    send(&mut poster, "").await.unwrap();
    let serve = async {
        acknowledge(&mut peer, 1).await;
        assert_eq!(seen(&mut peer).await, post(2, "t1:bt0:"));
        acknowledge(&mut peer, 3).await;
    };
    let ((), driven) = tokio::join!(serve, drive(&mut poster));
    assert!(driven.is_ok());
}

#[tokio::test]
async fn sends_the_content_type_and_the_caller_s_headers() {
    let (listener, poster) = setup(&Limits::new()).await;
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("me"));
    headers.insert(headers::CONNECTION, HeaderValue::from_static("other"));
    let mut poster = poster.with_headers(headers);
    send(&mut poster, "a").await.unwrap();
    let serve = async {
        let mut peer = accept(&listener).await;
        let head = peer.request().await.unwrap().head;
        acknowledge(&mut peer, 1).await;
        head
    };
    let (head, driven) = tokio::join!(serve, drive(&mut poster));
    assert!(driven.is_ok());
    for line in [
        "content-type: application/x-switchback-batch",
        "authorization: me",
        "switchback-connection: id",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn sends_again_when_the_response_is_lost() {
    let (listener, mut poster) = setup(&Limits::new()).await;
    send(&mut poster, "a").await.unwrap();
    let serve = async {
        for response in ["", "HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"rec"] {
            let mut peer = accept(&listener).await;
            assert_eq!(seen(&mut peer).await, post(1, "t1:a"));
            peer.write(response).await;
        }
        let mut peer = accept(&listener).await;
        assert_eq!(seen(&mut peer).await, post(1, "t1:a"));
        acknowledge(&mut peer, 1).await;
    };
    let ((), driven) = tokio::join!(serve, drive(&mut poster));
    assert!(driven.is_ok());
}

#[tokio::test]
async fn sends_the_rest_when_the_server_has_no_room() {
    let (listener, mut poster) = setup(&Limits::new()).await;
    for text in ["a", "b", "c"] {
        send(&mut poster, text).await.unwrap();
    }
    let serve = async {
        let mut peer = accept(&listener).await;
        assert_eq!(seen(&mut peer).await, post(1, "t1:at1:bt1:c"));
        acknowledge(&mut peer, 1).await;
        for _ in 0..2 {
            assert_eq!(seen(&mut peer).await, post(2, "t1:bt1:c"));
            acknowledge(&mut peer, 1).await;
        }
        assert_eq!(seen(&mut peer).await, post(2, "t1:bt1:c"));
        acknowledge(&mut peer, 3).await;
    };
    let ((), driven) = tokio::join!(serve, drive(&mut poster));
    assert!(driven.is_ok());
}

#[tokio::test]
async fn sends_smaller_batches_when_they_are_too_large() {
    let (listener, mut poster) = setup(&Limits::new()).await;
    for text in ["a", "b", "c"] {
        send(&mut poster, text).await.unwrap();
    }
    let serve = async {
        let mut peer = accept(&listener).await;
        assert_eq!(seen(&mut peer).await, post(1, "t1:at1:bt1:c"));
        peer.answer("413 Payload Too Large", "").await;
        assert_eq!(seen(&mut peer).await, post(1, "t1:a"));
        acknowledge(&mut peer, 1).await;
        assert_eq!(seen(&mut peer).await, post(2, "t1:b"));
        peer.answer("413 Payload Too Large", "").await;
    };
    let ((), driven) = tokio::join!(serve, drive(&mut poster));
    assert_eq!(driven.unwrap_err().kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn fails_when_the_server_refuses() {
    for (status, body, kind) in [
        (
            "404 Not Found",
            r#"{"error":"unknown_connection"}"#,
            ErrorKind::Unknown,
        ),
        (
            "410 Gone",
            r#"{"code":4100,"reason":"bye"}"#,
            ErrorKind::Closed,
        ),
        ("413 Payload Too Large", "", ErrorKind::TooLarge),
        ("409 Conflict", r#"{"error":"gap"}"#, ErrorKind::Protocol),
        ("503 Service Unavailable", "", ErrorKind::Refused),
        ("201 Created", r#"{"received":1}"#, ErrorKind::Protocol),
        ("200 OK", "", ErrorKind::Protocol),
        ("200 OK", "[]", ErrorKind::Protocol),
        ("200 OK", "{}", ErrorKind::Protocol),
        ("200 OK", r#"{"received":-1}"#, ErrorKind::Protocol),
        ("200 OK", r#"{"received":"1"}"#, ErrorKind::Protocol),
        ("200 OK", r#"{"received":2}"#, ErrorKind::Protocol),
        (
            "200 OK",
            r#"{"received":18446744073709551615}"#,
            ErrorKind::Protocol,
        ),
        ("200 OK", &" ".repeat(MAX_ANSWER + 1), ErrorKind::TooLarge),
    ] {
        let (listener, mut poster) = setup(&Limits::new()).await;
        send(&mut poster, "a").await.unwrap();
        let serve = async {
            let mut peer = accept(&listener).await;
            seen(&mut peer).await;
            peer.answer(status, body).await;
            peer
        };
        let (_peer, driven) = tokio::join!(serve, drive(&mut poster));
        let error = driven.unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {body}");
        // It stays failed, and says the same.
        let again = drive(&mut poster).await.unwrap_err();
        assert_eq!(again.kind(), kind);
        assert_eq!(again.to_string(), error.to_string());
        assert_eq!(again.close_reason(), error.close_reason());
        assert_eq!(error.close_reason().is_some(), kind == ErrorKind::Closed);
        assert_eq!(send(&mut poster, "b").await, Err(kind));
        assert_eq!(close(&mut poster).await, Ok(()));
    }
}

#[tokio::test]
async fn fails_when_the_network_does_for_long() {
    let (listener, poster) = setup(&Limits::new()).await;
    let mut poster = poster.with_retry_for(Duration::from_millis(1));
    send(&mut poster, "a").await.unwrap();
    let serve = async {
        for _ in 0..2 {
            seen(&mut accept(&listener).await).await;
        }
    };
    let ((), driven) = tokio::join!(serve, drive(&mut poster));
    let error = driven.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reset);
    assert!(std::error::Error::source(&error).is_some());

    drop(listener);
    let url = poster.lane.url().clone();
    let nobody = super::tests::poster(url, &Limits::new());
    let mut nobody = nobody.with_retry_for(Duration::ZERO);
    send(&mut nobody, "a").await.unwrap();
    let error = drive(&mut nobody).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reset);
}

#[tokio::test]
async fn tries_again_when_no_answer_comes() {
    let limits = Limits::new().handshake_timeout(Duration::from_millis(20));
    let (listener, mut poster) = setup(&limits).await;
    send(&mut poster, "a").await.unwrap();
    let serve = async {
        let mut silent = accept(&listener).await;
        seen(&mut silent).await;
        let mut peer = accept(&listener).await;
        // The connection without an answer was given up.
        assert_eq!(silent.request().await, None);
        assert_eq!(seen(&mut peer).await, post(1, "t1:a"));
        acknowledge(&mut peer, 1).await;
        peer
    };
    let (_peer, driven) = tokio::join!(serve, drive(&mut poster));
    assert!(driven.is_ok());
}

#[tokio::test]
async fn a_malformed_connection_id_is_an_error() {
    let (_listener, url) = listen("http").await;
    let lane = Lane::new(Connector::new(), url);
    let id = "a\r\nb".to_owned();
    let mut poster = Poster::new(lane, TransportKind::Sse, id, &Limits::new());
    assert_eq!(send(&mut poster, "a").await, Err(ErrorKind::Protocol));
    assert_eq!(close(&mut poster).await, Ok(()));
}

#[tokio::test]
async fn takes_no_more_than_the_buffer_holds() {
    let (listener, mut poster) = setup(&Limits::new().send_buffer_size(1)).await;
    send(&mut poster, "a").await.unwrap();
    let serve = async {
        let mut peer = accept(&listener).await;
        for (first, body) in [(1, "t1:a"), (2, "t1:b")] {
            assert_eq!(seen(&mut peer).await, post(first, body));
            acknowledge(&mut peer, first).await;
        }
    };
    let sending = async {
        // Waits, and makes room by itself.
        send(&mut poster, "b").await.unwrap();
        drive(&mut poster).await
    };
    let ((), driven) = tokio::join!(serve, sending);
    assert!(driven.is_ok());
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn wakes_a_sender_although_another_polled_since() {
    let (listener, mut poster) = setup(&Limits::new().send_buffer_size(1)).await;
    send(&mut poster, "a").await.unwrap();
    let serve = async {
        let mut peer = accept(&listener).await;
        seen(&mut peer).await;
        peer
    };
    let mut peer = tokio::select! {
        peer = serve => peer,
        _ = drive(&mut poster) => panic!("nothing was acknowledged"),
    };
    let waker = Arc::new(Count::default());
    let sender = std::task::Waker::from(Arc::clone(&waker));
    let message = Message::from_static("b");
    let mut cx = Context::from_waker(&sender);
    assert!(poster.poll_send(&mut cx, &message).is_pending());
    // Somebody else polls, and loses interest.
    let polled = poster.poll_drive(&mut Context::from_waker(std::task::Waker::noop()));
    assert!(polled.is_pending());
    let before = waker.0.load(Ordering::Relaxed);
    acknowledge(&mut peer, 1).await;
    within(async {
        while waker.0.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(poster.poll_send(&mut cx, &message).is_ready());
}

#[tokio::test]
async fn closes_behind_the_messages() {
    let (listener, mut poster) = setup(&Limits::new()).await;
    send(&mut poster, "a").await.unwrap();
    let delete = "DELETE /rt?transport=sse&code=1001&reason=so%20long%20%26%20ok ";
    let serve = async {
        let mut peer = accept(&listener).await;
        assert_eq!(seen(&mut peer).await, post(1, "t1:a"));
        acknowledge(&mut peer, 1).await;
        assert_eq!(seen(&mut peer).await, delete);
        drop(peer);
        // It was cut: once again.
        let mut peer = accept(&listener).await;
        assert_eq!(seen(&mut peer).await, delete);
        peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        // And that was all.
        peer
    };
    let (mut peer, closed) = tokio::join!(serve, close(&mut poster));
    assert_eq!(closed, Ok(()));
    assert_eq!(close(&mut poster).await, Ok(()));
    assert!(drive(&mut poster).await.is_ok());
    assert_eq!(send(&mut poster, "b").await, Err(ErrorKind::Closed));
    drop(poster);
    assert_eq!(peer.request().await, None);
}

#[tokio::test]
async fn the_answer_to_a_close_may_be_that_it_is_over() {
    for (status, closed) in [
        ("404 Not Found", Ok(())),
        ("410 Gone", Ok(())),
        ("503 Service Unavailable", Err(ErrorKind::Refused)),
        ("200 OK", Err(ErrorKind::Protocol)),
    ] {
        let (listener, mut poster) = setup(&Limits::new()).await;
        let serve = async {
            let mut peer = accept(&listener).await;
            seen(&mut peer).await;
            peer.answer(status, "").await;
            peer
        };
        let (_peer, result) = tokio::join!(serve, close(&mut poster));
        assert_eq!(result, closed, "{status}");
        assert_eq!(close(&mut poster).await, Ok(()));
    }
}

#[tokio::test]
async fn a_close_takes_no_longer_than_it_may() {
    let limits = Limits::new().close_timeout(Duration::from_millis(10));
    let (_listener, mut poster) = setup(&limits).await;
    send(&mut poster, "a").await.unwrap();
    assert_eq!(close(&mut poster).await, Err(ErrorKind::TimedOut));
    assert_eq!(close(&mut poster).await, Ok(()));
    let error = drive(&mut poster).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// What a server on a bad day does with a request.
#[derive(Clone, Copy)]
enum Luck {
    Good,
    LostRequest,
    LostResponse,
}

/// Serves an inbox, with bad luck in the given order and good luck then.
async fn serve(listener: TcpListener, inbox: Arc<Inbox>, luck: &'static [Luck]) {
    let count = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = TokioIo::new(listener.accept().await.unwrap().0);
        let (inbox, count) = (Arc::clone(&inbox), Arc::clone(&count));
        let service = service_fn(move |request: Request<Incoming>| {
            let (inbox, count) = (Arc::clone(&inbox), Arc::clone(&count));
            async move {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let luck = luck.get(number).copied().unwrap_or(Luck::Good);
                if matches!(luck, Luck::LostRequest) {
                    return Err("on purpose");
                }
                let response = match *request.method() {
                    Method::POST => inbox.post(request).await,
                    _ => inbox.delete(&request),
                };
                match luck {
                    Luck::LostResponse => Err("on purpose"),
                    Luck::Good | Luck::LostRequest => Ok(response),
                }
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(stream, service));
    }
}

/// Sends many messages and a close to an inbox over this network; all must arrive, once, in order.
async fn everything_arrives(client: Limits, server: Limits, luck: &'static [Luck]) {
    const MESSAGES: usize = 300;
    let (listener, url) = listen("http").await;
    let inbox = Arc::new(Inbox::new(&server));
    tokio::spawn(serve(listener, Arc::clone(&inbox), luck));
    let sending = async {
        let mut poster = poster(url, &client);
        for number in 0..MESSAGES {
            let message = Message::text(number.to_string());
            within(poll_fn(|cx| poster.poll_send(cx, &message)))
                .await
                .unwrap();
        }
        close(&mut poster).await.unwrap();
    };
    let receiving = async {
        let mut received = Vec::new();
        while let Some(message) = within(poll_fn(|cx| inbox.poll_recv(cx))).await.unwrap() {
            received.push(message.into_text().unwrap());
        }
        received
    };
    let ((), received) = tokio::join!(sending, receiving);
    let expected: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!(received, expected);
    assert_eq!(inbox.close_reason().unwrap().code(), CloseCode::GOING_AWAY);
}

#[tokio::test]
async fn everything_arrives_over_a_good_network() {
    everything_arrives(Limits::new(), Limits::new(), &[]).await;
}

#[tokio::test]
async fn everything_arrives_over_a_bad_network() {
    use Luck::{Good, LostRequest, LostResponse};
    let small = Limits::new().send_buffer_size(1000).recv_buffer_size(700);
    let luck = &[
        Good,
        LostResponse,
        LostRequest,
        Good,
        LostResponse,
        LostResponse,
        Good,
        Good,
        LostRequest,
    ];
    everything_arrives(small.clone(), small, luck).await;
}

#[tokio::test]
async fn everything_arrives_when_the_server_takes_less() {
    let server = Limits::new().max_batch_messages(3).recv_buffer_size(1);
    everything_arrives(Limits::new(), server, &[]).await;
}

#[test]
fn a_poster_may_move_between_threads() {
    fn check<T: Send + Unpin>() {}
    check::<Poster>();
}
