use std::convert::Infallible;
use std::future::poll_fn;

use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::*;
use crate::testing::{accept, listen, within};

fn start(lane: &mut Lane, method: Method, target: &str, body: &'static str) {
    lane.start(method, target, HeaderMap::new(), Bytes::from(body));
}

async fn whole(lane: &mut Lane) -> Result<(u16, String), ErrorKind> {
    let response = within(poll_fn(|cx| lane.poll_whole(cx, 100))).await;
    let response = response.map_err(|error| error.kind())?;
    let body = String::from_utf8(response.body().to_vec()).unwrap();
    Ok((response.status().as_u16(), body))
}

async fn get(lane: &mut Lane, target: &str) -> Result<(u16, String), ErrorKind> {
    start(lane, Method::GET, target, "");
    whole(lane).await
}

async fn chunk(lane: &mut Lane) -> Result<Option<Bytes>, ErrorKind> {
    let chunk = within(poll_fn(|cx| lane.poll_chunk(cx))).await;
    chunk.map_err(|error| error.kind())
}

async fn head(lane: &mut Lane) -> Result<u16, ErrorKind> {
    let parts = within(poll_fn(|cx| lane.poll_head(cx))).await;
    let parts = parts.map_err(|error| error.kind())?;
    Ok(parts.status.as_u16())
}

fn ok(body: &str) -> Result<(u16, String), ErrorKind> {
    Ok((200, body.to_owned()))
}

/// Answers with method, target, `Host` and body, and the number of the connection.
async fn echo(listener: tokio::net::TcpListener) {
    for connection in 1.. {
        let stream = TokioIo::new(listener.accept().await.unwrap().0);
        let service = service_fn(move |request: Request<Incoming>| async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let host = parts.headers[header::HOST].to_str().unwrap();
            let text = format!(
                "{connection} {} {} {host} {}",
                parts.method,
                parts.uri,
                String::from_utf8_lossy(&body)
            );
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        });
        tokio::spawn(http1::Builder::new().serve_connection(stream, service));
    }
}

#[tokio::test]
async fn keeps_the_connection() {
    let (listener, url) = listen("http").await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(echo(listener));
    let mut lane = Lane::new(Connector::new(), url);
    assert_eq!(lane.peer_addr(), None);
    for _ in 0..3 {
        start(&mut lane, Method::POST, "/rt?a=b", "hello");
        assert!(!lane.is_idle());
        let body = format!("1 POST /rt?a=b {address} hello");
        assert_eq!(whole(&mut lane).await, ok(&body));
        assert!(lane.is_idle());
        assert_eq!(lane.peer_addr(), Some(address));
    }
    let body = format!("1 DELETE /x {address} ");
    start(&mut lane, Method::DELETE, "/x", "");
    assert_eq!(whole(&mut lane).await, ok(&body));
}

#[tokio::test]
async fn sends_the_caller_s_headers_and_its_own_host() {
    let (listener, url) = listen("http").await;
    let mut lane = Lane::new(Connector::new(), url.clone());
    let mut headers = HeaderMap::new();
    headers.insert("x-a", HeaderValue::from_static("b"));
    headers.insert(header::HOST, HeaderValue::from_static("elsewhere"));
    lane.start(Method::POST, "/rt", headers, Bytes::from("body"));
    let serve = async {
        let mut peer = accept(&listener).await;
        let seen = peer.request().await.unwrap();
        peer.answer("200 OK", "").await;
        seen
    };
    let (seen, answer) = tokio::join!(serve, whole(&mut lane));
    assert_eq!(answer, ok(""));
    assert_eq!(seen.line, "POST /rt");
    assert_eq!(seen.body, "body");
    assert!(seen.head.contains("\r\nx-a: b\r\n"), "{}", seen.head);
    let host = format!("\r\nhost: {}\r\n", url.authority());
    assert!(seen.head.contains(&host), "{}", seen.head);
    assert!(!seen.head.contains("elsewhere"));
}

#[tokio::test]
async fn connects_again_when_the_server_closed_between_requests() {
    let (listener, url) = listen("http").await;
    let serve = tokio::spawn(async move {
        for text in ["one", "two"] {
            let mut peer = accept(&listener).await;
            assert_eq!(peer.request().await.unwrap().line, "GET /rt");
            peer.answer("200 OK", text).await;
        }
        // Both connections were closed by the server, without a word.
    });
    let mut lane = Lane::new(Connector::new(), url);
    assert_eq!(get(&mut lane, "/rt").await, ok("one"));
    assert_eq!(get(&mut lane, "/rt").await, ok("two"));
    within(serve).await.unwrap();
}

#[tokio::test]
async fn sends_again_when_the_server_closed_under_the_request() {
    let (listener, url) = listen("http").await;
    let serve = tokio::spawn(async move {
        let mut first = accept(&listener).await;
        first.request().await.unwrap();
        first.answer("200 OK", "one").await;
        // The second request arrives, and is not answered.
        assert_eq!(first.request().await.unwrap().body, "x");
        drop(first);
        let mut second = accept(&listener).await;
        assert_eq!(second.request().await.unwrap().body, "x");
        second.answer("200 OK", "two").await;
        // And the third on that connection, twice.
        second.request().await.unwrap();
        drop(second);
        let mut third = accept(&listener).await;
        third.request().await.unwrap();
    });
    let mut lane = Lane::new(Connector::new(), url);
    assert_eq!(get(&mut lane, "/rt").await, ok("one"));
    start(&mut lane, Method::POST, "/rt", "x");
    assert_eq!(whole(&mut lane).await, ok("two"));
    // Once again, but only once.
    assert_eq!(get(&mut lane, "/rt").await, Err(ErrorKind::Reset));
    within(serve).await.unwrap();
}

#[tokio::test]
async fn does_not_send_again_on_a_fresh_connection() {
    let (listener, url) = listen("http").await;
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.request().await.unwrap();
    };
    let mut lane = Lane::new(Connector::new(), url);
    let ((), answer) = tokio::join!(serve, get(&mut lane, "/rt"));
    assert_eq!(answer, Err(ErrorKind::Reset));
    assert!(lane.is_idle());
}

#[tokio::test]
async fn honours_connection_close() {
    let (listener, url) = listen("http").await;
    let serve = tokio::spawn(async move {
        let mut first = accept(&listener).await;
        first.request().await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\none";
        first.write(head).await;
        // The client closes its end too.
        assert_eq!(first.request().await, None);
        let mut second = accept(&listener).await;
        second.request().await.unwrap();
        second.answer("200 OK", "two").await;
    });
    let mut lane = Lane::new(Connector::new(), url);
    assert_eq!(get(&mut lane, "/rt").await, ok("one"));
    assert_eq!(get(&mut lane, "/rt").await, ok("two"));
    within(serve).await.unwrap();
}

#[tokio::test]
async fn gives_a_stream_out_chunk_by_chunk() {
    let (listener, url) = listen("http").await;
    let mut lane = Lane::new(Connector::new(), url);
    start(&mut lane, Method::GET, "/rt", "");
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.request().await.unwrap();
        peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        peer
    };
    let (mut peer, status) = tokio::join!(serve, head(&mut lane));
    assert_eq!(status, Ok(200));
    let polled = lane.poll_chunk(&mut Context::from_waker(std::task::Waker::noop()));
    assert!(polled.is_pending());
    for text in ["one", "two"] {
        peer.write(&format!("3\r\n{text}\r\n")).await;
        assert_eq!(chunk(&mut lane).await, Ok(Some(Bytes::from(text))));
    }
    peer.write("0\r\nx-trailer: a\r\n\r\n").await;
    assert_eq!(chunk(&mut lane).await, Ok(None));
    // The connection is kept.
    start(&mut lane, Method::GET, "/again", "");
    let serve = async {
        assert_eq!(peer.request().await.unwrap().line, "GET /again");
        peer.answer("204 No Content", "").await;
    };
    let ((), answer) = tokio::join!(serve, whole(&mut lane));
    assert_eq!(answer, Ok((204, String::new())));
}

#[tokio::test]
async fn tells_a_cut_from_an_end() {
    for (response, kind) in [
        ("", ErrorKind::Reset),
        ("HTTP/1.1 200 OK\r\ncontent-le", ErrorKind::Reset),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
            ErrorKind::Reset,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            ErrorKind::Reset,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            ErrorKind::Protocol,
        ),
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n", ErrorKind::Protocol),
        ("HTTP/1.1 2000 OK\r\n\r\n", ErrorKind::Protocol),
    ] {
        let (listener, url) = listen("http").await;
        let serve = async {
            let mut peer = accept(&listener).await;
            peer.request().await.unwrap();
            peer.write(response).await;
        };
        let mut lane = Lane::new(Connector::new(), url);
        let ((), answer) = tokio::join!(serve, get(&mut lane, "/rt"));
        assert_eq!(answer, Err(kind), "{response:?}");
        assert!(lane.is_idle());
    }
}

#[tokio::test]
async fn a_body_to_the_end_of_the_connection_is_whole() {
    let (listener, url) = listen("http").await;
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.request().await.unwrap();
        peer.write("HTTP/1.0 200 OK\r\n\r\nabc").await;
    };
    let mut lane = Lane::new(Connector::new(), url);
    let ((), answer) = tokio::join!(serve, get(&mut lane, "/rt"));
    assert_eq!(answer, ok("abc"));
}

#[tokio::test]
async fn limits_the_body() {
    let long = "x".repeat(101);
    for response in [
        // Before the body is there, by what is announced.
        "HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n65\r\n{long}\r\n"),
        format!("HTTP/1.0 200 OK\r\n\r\n{long}"),
    ] {
        let (listener, url) = listen("http").await;
        let serve = async {
            let mut peer = accept(&listener).await;
            peer.request().await.unwrap();
            peer.write(&response).await;
            // Waits until the client has closed.
            peer.request().await
        };
        let mut lane = Lane::new(Connector::new(), url);
        let (closed, answer) = tokio::join!(serve, get(&mut lane, "/rt"));
        assert_eq!(answer, Err(ErrorKind::TooLarge), "{response}");
        assert_eq!(closed, None);
        assert!(lane.is_idle());
    }
}

#[tokio::test]
async fn limits_the_head() {
    let (listener, url) = listen("http").await;
    let serve = tokio::spawn(async move {
        let mut peer = accept(&listener).await;
        peer.request().await.unwrap();
        let header = format!("x: {}\r\n", "y".repeat(1000));
        let head = format!("HTTP/1.1 200 OK\r\n{}", header.repeat(90));
        peer.write(&head).await;
        peer.request().await
    });
    let mut lane = Lane::new(Connector::new(), url);
    assert_eq!(get(&mut lane, "/rt").await, Err(ErrorKind::Protocol));
    within(serve).await.unwrap();
}

#[tokio::test]
async fn an_abort_closes_the_connection() {
    let (listener, url) = listen("http").await;
    let mut lane = Lane::new(Connector::new(), url);
    start(&mut lane, Method::GET, "/one", "");
    let mut first = {
        let serve = async {
            let mut peer = accept(&listener).await;
            assert_eq!(peer.request().await.unwrap().line, "GET /one");
            peer
        };
        tokio::select! {
            peer = serve => peer,
            _ = poll_fn(|cx| lane.poll_head(cx)) => panic!("answered by nobody"),
        }
    };
    // `start` aborts too.
    start(&mut lane, Method::GET, "/two", "");
    assert_eq!(first.request().await, None);
    let serve = async {
        let mut peer = accept(&listener).await;
        assert_eq!(peer.request().await.unwrap().line, "GET /two");
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")
            .await;
        peer
    };
    let (mut second, status) = tokio::join!(serve, head(&mut lane));
    assert_eq!(status, Ok(200));
    assert_eq!(chunk(&mut lane).await, Ok(Some(Bytes::from("ab"))));
    lane.abort();
    assert!(lane.is_idle());
    assert_eq!(second.request().await, None);
}

#[tokio::test]
async fn dropping_the_lane_closes_the_connection() {
    let (listener, url) = listen("http").await;
    let mut lane = Lane::new(Connector::new(), url);
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.request().await.unwrap();
        peer.answer("200 OK", "").await;
        peer
    };
    let (mut peer, _) = tokio::join!(serve, get(&mut lane, "/rt"));
    drop(lane);
    assert_eq!(peer.request().await, None);
}

#[tokio::test]
async fn answers_misuse_with_errors() {
    let (listener, url) = listen("http").await;
    let mut lane = Lane::new(Connector::new(), url);
    for _ in 0..2 {
        assert_eq!(head(&mut lane).await, Err(ErrorKind::Invalid));
        assert_eq!(chunk(&mut lane).await, Err(ErrorKind::Invalid));
        assert_eq!(whole(&mut lane).await, Err(ErrorKind::Invalid));
    }
    for target in ["", "rt", "http://a/", "/a b", "/\r\n"] {
        assert_eq!(get(&mut lane, target).await, Err(ErrorKind::Invalid));
        assert!(lane.is_idle());
    }
    tokio::spawn(echo(listener));
    start(&mut lane, Method::GET, "/rt", "");
    assert_eq!(chunk(&mut lane).await, Err(ErrorKind::Invalid));
    assert_eq!(head(&mut lane).await, Ok(200));
    assert_eq!(head(&mut lane).await, Err(ErrorKind::Invalid));
    assert!(chunk(&mut lane).await.unwrap().is_some());
    assert_eq!(chunk(&mut lane).await, Ok(None));
    assert_eq!(chunk(&mut lane).await, Err(ErrorKind::Invalid));
}

#[tokio::test]
async fn says_that_nobody_listens() {
    let (listener, url) = listen("http").await;
    drop(listener);
    let mut lane = Lane::new(Connector::new(), url.clone());
    start(&mut lane, Method::GET, "/rt", "");
    let answer = within(poll_fn(|cx| lane.poll_head(cx))).await;
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains(url.authority()), "{error}");
}

/// The answer to a POST may come before the POST was sent to the end.
#[tokio::test]
async fn takes_an_early_answer() {
    let (listener, url) = listen("http").await;
    let serve = tokio::spawn(async move {
        let mut peer = accept(&listener).await;
        let early =
            "HTTP/1.1 413 Payload Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        peer.write(early).await;
        // Everything is read, so that no reset overtakes the answer.
        peer.request().await.map(|seen| seen.body.len())
    });
    let mut lane = Lane::new(Connector::new(), url);
    let long = Bytes::from(vec![b'x'; 5_000_000]);
    lane.start(Method::POST, "/rt", HeaderMap::new(), long);
    assert_eq!(whole(&mut lane).await, Ok((413, "{}".to_owned())));
    drop(lane);
    let _ = within(serve).await.unwrap();
}

#[test]
fn a_lane_may_move_between_threads() {
    fn check<T: Send + Unpin>() {}
    check::<Lane>();
}

#[tokio::test]
async fn connects_during_other_work() {
    let (listener, url) = listen("http").await;
    let mut lane = Lane::new(Connector::new(), url);
    let mut peer = lane.connect_during(accept(&listener)).await;
    // Connected or not by then, it is the same connection; and it carries nothing yet.
    let mut byte = [0];
    let silent = peer.0.try_read(&mut byte).unwrap_err();
    assert_eq!(silent.kind(), std::io::ErrorKind::WouldBlock);
    start(&mut lane, Method::GET, "/a", "");
    let serve = async {
        assert_eq!(peer.request().await.unwrap().line, "GET /a");
        peer.answer("200 OK", "a").await;
    };
    let (_, answer) = tokio::join!(serve, whole(&mut lane));
    assert_eq!(answer, ok("a"));
}

#[tokio::test]
async fn a_connection_that_was_closed_before_its_first_exchange_is_replaced() {
    let (listener, url) = listen("http").await;
    let mut lane = Lane::new(Connector::new(), url);
    let first = lane.connect_during(accept(&listener)).await;
    within(poll_fn(|cx| lane.poll_connecting(cx))).await;
    drop(first);
    let serve = async {
        let mut second = accept(&listener).await;
        assert_eq!(second.request().await.unwrap().line, "GET /a");
        second.answer("200 OK", "a").await;
        second
    };
    let (_second, answer) = tokio::join!(serve, get(&mut lane, "/a"));
    assert_eq!(answer, ok("a"));
}

#[tokio::test]
async fn a_connection_that_fails_beforehand_is_tried_again_by_the_exchange() {
    let (listener, url) = listen("http").await;
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let mut lane = Lane::new(Connector::new(), url);
    lane.connect_during(async {}).await;
    within(poll_fn(|cx| lane.poll_connecting(cx))).await;
    let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
    tokio::spawn(echo(listener));
    let (status, text) = get(&mut lane, "/a").await.unwrap();
    assert_eq!((status, &text[..8]), (200, "1 GET /a"));
}

#[tokio::test]
async fn the_other_work_comes_first_to_a_connection_that_was_put_back() {
    let (listener, url) = listen("http").await;
    let connector = Connector::new();
    let stream = connector.connect(&url).await.unwrap();
    connector.put_back(&url, stream);
    let mut put_back = accept(&listener).await;
    let mut other = Lane::new(connector.clone(), url.clone());
    let mut lane = Lane::new(connector, url);
    let serve = async {
        assert_eq!(put_back.request().await.unwrap().line, "GET /a");
        put_back.answer("200 OK", "a").await;
    };
    let (_, answer) = tokio::join!(serve, lane.connect_during(get(&mut other, "/a")));
    assert_eq!(answer, ok("a"));
}
