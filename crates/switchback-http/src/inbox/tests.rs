use std::sync::Arc;
use std::time::Duration;

use http::{Method, header};
use http_body_util::BodyExt;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use switchback_core::{CloseCode, ErrorKind};
use tokio::task::JoinHandle;

use super::*;
use crate::testing::within;

fn request(first: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::POST)
        .uri(format!("/rt?transport=sse&first={first}"))
        .body(Full::new(body.into()))
        .unwrap()
}

async fn answer(response: Response<Full<Bytes>>) -> (u16, Value) {
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn post(inbox: &Inbox, first: u64, body: &str) -> (u16, Value) {
    let request = request(&first.to_string(), body.to_owned());
    answer(within(inbox.post(request)).await).await
}

async fn refused(inbox: &Inbox, request: Request<Full<Bytes>>) -> (u16, String) {
    let (status, body) = answer(within(inbox.post(request)).await).await;
    (status, body["error"].as_str().unwrap().to_owned())
}

fn received(number: u64) -> (u16, Value) {
    (200, json!({ "received": number }))
}

fn delete(inbox: &Inbox, query: &str) -> u16 {
    let uri = format!("/rt?transport=sse{query}");
    let request = Request::delete(uri).body(()).unwrap();
    inbox.delete(&request).status().as_u16()
}

async fn recv(inbox: &Inbox) -> Result<Option<String>, ErrorKind> {
    let message = within(poll_fn(|cx| inbox.poll_recv(cx))).await;
    let message = message.map_err(|error| error.kind())?;
    Ok(message.map(|message| message.into_text().unwrap()))
}

fn try_recv(inbox: &Inbox) -> Option<String> {
    match inbox.poll_recv(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(message) => message.unwrap().map(|text| text.into_text().unwrap()),
        Poll::Pending => None,
    }
}

fn spawn_post(inbox: &Arc<Inbox>, first: u64, body: &'static str) -> JoinHandle<(u16, Value)> {
    let inbox = Arc::clone(inbox);
    tokio::spawn(async move { post(&inbox, first, body).await })
}

/// Room for one message.
fn narrow() -> Arc<Inbox> {
    Arc::new(Inbox::new(&Limits::new().recv_buffer_size(1)))
}

#[tokio::test]
async fn takes_messages_in_order_and_once() {
    let inbox = Inbox::new(&Limits::new());
    assert_eq!(post(&inbox, 1, "").await, received(0));
    assert_eq!(post(&inbox, 1, "t1:at1:b").await, received(2));
    // The response was lost: the same again, and with more.
    assert_eq!(post(&inbox, 1, "t1:at1:b").await, received(2));
    assert_eq!(post(&inbox, 1, "t1:a").await, received(2));
    assert_eq!(post(&inbox, 2, "t1:bt1:c").await, received(3));
    assert_eq!(post(&inbox, 4, "t1:d").await, received(4));
    for text in ["a", "b", "c", "d"] {
        assert_eq!(recv(&inbox).await, Ok(Some(text.to_owned())));
    }
    assert_eq!(try_recv(&inbox), None);
}

#[tokio::test]
async fn refuses() {
    let inbox = Inbox::new(&Limits::new().max_message_size(9).max_batch_messages(2));
    for first in ["", "0", "-1", "01", "x", "9007199254740992"] {
        let refusal = refused(&inbox, request(first, "")).await;
        assert_eq!(refusal, (400, "bad_request".to_owned()), "{first}");
    }
    let without = Request::post("/rt").body(Full::default()).unwrap();
    assert_eq!(refused(&inbox, without).await.0, 400);
    for (first, body, status, word) in [
        ("2", "t1:b", 409, "gap"),
        ("2", "", 409, "gap"),
        ("1", "nonsense", 400, "bad_batch"),
        ("1", "t1:\u{80}", 400, "bad_batch"),
        ("1", "t10:0123456789", 413, "too_large"),
        ("1", "t0:t0:t0:", 413, "too_large"),
    ] {
        let refusal = refused(&inbox, request(first, body)).await;
        assert_eq!(refusal, (status, word.to_owned()), "{first} {body}");
    }
    let long = vec![b'x'; batch::max_body(&inbox.limits) + 1];
    assert_eq!(refused(&inbox, request("1", long)).await.0, 413);
    // Of a refused batch nothing is taken.
    assert_eq!(refused(&inbox, request("1", "t1:at1:")).await.0, 400);
    assert_eq!(post(&inbox, 1, "t1:a").await, received(1));
}

#[tokio::test]
async fn a_receiver_is_woken() {
    let inbox = Arc::new(Inbox::new(&Limits::new()));
    let receiver = tokio::spawn({
        let inbox = Arc::clone(&inbox);
        async move { recv(&inbox).await }
    });
    tokio::task::yield_now().await;
    post(&inbox, 1, "t1:a").await;
    assert_eq!(within(receiver).await.unwrap(), Ok(Some("a".to_owned())));
}

#[tokio::test]
async fn waits_for_room() {
    let inbox = narrow();
    let waiting = spawn_post(&inbox, 1, "t1:at6:longert0:");
    assert_eq!(recv(&inbox).await, Ok(Some("a".to_owned())));
    assert_eq!(recv(&inbox).await, Ok(Some("longer".to_owned())));
    assert_eq!(recv(&inbox).await, Ok(Some(String::new())));
    assert_eq!(within(waiting).await.unwrap(), received(3));
}

#[tokio::test]
async fn is_bounded_in_messages_too() {
    let limits = Limits::new()
        .recv_buffer_size(10 * OVERHEAD)
        .handshake_timeout(Duration::ZERO);
    let inbox = Inbox::new(&limits);
    let many = "t0:".repeat(50);
    assert_eq!(post(&inbox, 1, &many).await, received(10));
}

#[tokio::test(start_paused = true)]
async fn says_what_was_taken_when_there_is_no_room_in_time() {
    let inbox = narrow();
    assert_eq!(post(&inbox, 1, "t1:at1:bt1:c").await, received(1));
    assert_eq!(recv(&inbox).await, Ok(Some("a".to_owned())));
    assert_eq!(post(&inbox, 2, "t1:bt1:c").await, received(2));
    assert_eq!(post(&inbox, 3, "t1:c").await, received(2));
}

#[tokio::test]
async fn a_newer_post_overtakes_one_that_waits_for_room() {
    let inbox = narrow();
    let older = spawn_post(&inbox, 1, "t1:at1:bt1:c");
    while inbox.lock().received == 0 {
        tokio::task::yield_now().await;
    }
    let newer = spawn_post(&inbox, 1, "t1:at1:bt1:c");
    assert_eq!(within(older).await.unwrap(), received(1));
    for text in ["a", "b", "c"] {
        assert_eq!(recv(&inbox).await, Ok(Some(text.to_owned())));
    }
    assert_eq!(within(newer).await.unwrap(), received(3));
    assert_eq!(try_recv(&inbox), None);
}

/// A body that never arrives.
struct Never;

impl Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

fn spawn_reading(inbox: &Arc<Inbox>) -> JoinHandle<(u16, Value)> {
    let inbox = Arc::clone(inbox);
    let request = Request::post("/rt?first=1").body(Never).unwrap();
    tokio::spawn(async move { answer(inbox.post(request).await).await })
}

#[tokio::test]
async fn a_newer_post_overtakes_one_that_is_read() {
    let inbox = Arc::new(Inbox::new(&Limits::new()));
    let older = spawn_reading(&inbox);
    tokio::task::yield_now().await;
    assert_eq!(post(&inbox, 1, "t1:a").await, received(1));
    assert_eq!(within(older).await.unwrap(), received(1));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_refused() {
    let inbox = Arc::new(Inbox::new(&Limits::new()));
    assert_eq!(within(spawn_reading(&inbox)).await.unwrap().0, 408);
}

#[tokio::test]
async fn what_a_cancelled_post_placed_stays() {
    let inbox = narrow();
    {
        let mut posting = std::pin::pin!(inbox.post(request("1", "t1:at1:b")));
        let polled = posting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
    assert_eq!(recv(&inbox).await, Ok(Some("a".to_owned())));
    assert_eq!(post(&inbox, 1, "t1:at1:b").await, received(2));
    assert_eq!(recv(&inbox).await, Ok(Some("b".to_owned())));
    assert_eq!(try_recv(&inbox), None);
}

#[tokio::test]
async fn the_close_comes_behind_the_messages() {
    let inbox = Inbox::new(&Limits::new());
    post(&inbox, 1, "t1:a").await;
    assert_eq!(inbox.close_reason(), None);
    assert_eq!(delete(&inbox, "&code=4100&reason=b%20c%C3%A9"), 204);
    let reason = inbox.close_reason().unwrap();
    assert_eq!((reason.code().as_u16(), reason.reason()), (4100, "b cé"));
    assert_eq!(recv(&inbox).await, Ok(Some("a".to_owned())));
    for _ in 0..2 {
        assert_eq!(recv(&inbox).await, Ok(None));
    }
    // The first close counts, and nothing comes behind it.
    assert_eq!(delete(&inbox, ""), 204);
    inbox.shut(ErrorKind::Reset.into());
    assert_eq!(inbox.close_reason(), Some(reason));
    assert_eq!(recv(&inbox).await, Ok(None));
    let refusal = refused(&inbox, request("2", "t1:b")).await;
    assert_eq!(refusal, (404, "unknown_connection".to_owned()));
}

#[tokio::test]
async fn a_close_wakes_everyone() {
    let inbox = narrow();
    let waiting = spawn_post(&inbox, 1, "t1:at1:b");
    while inbox.lock().received == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(delete(&inbox, ""), 204);
    assert_eq!(within(waiting).await.unwrap(), received(1));

    let idle = narrow();
    let receiver = tokio::spawn({
        let idle = Arc::clone(&idle);
        async move { recv(&idle).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(delete(&idle, ""), 204);
    assert_eq!(within(receiver).await.unwrap(), Ok(None));
}

#[tokio::test]
async fn nothing_comes_behind_the_close() {
    let inbox = narrow();
    let waiting = spawn_post(&inbox, 1, "t1:at1:b");
    while inbox.lock().received == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(delete(&inbox, ""), 204);
    // There is room now, before the POST could look.
    assert_eq!(try_recv(&inbox), Some("a".to_owned()));
    assert_eq!(within(waiting).await.unwrap(), received(1));
    assert_eq!(recv(&inbox).await, Ok(None));
}

#[test]
fn reads_the_close_of_a_delete() {
    for (query, code) in [
        ("", Some(1000)),
        ("&code=1001", Some(1001)),
        ("&code=4999", Some(4999)),
        ("&code=1005", None),
        ("&code=0", None),
        ("&code=66536", None),
        ("&code=", None),
        ("&code=x", None),
    ] {
        let inbox = Inbox::new(&Limits::new());
        let status = delete(&inbox, query);
        assert_eq!(status, if code.is_some() { 204 } else { 400 }, "{query}");
        let reason = inbox.close_reason();
        assert_eq!(reason.map(|reason| reason.code().as_u16()), code, "{query}");
    }
}

#[tokio::test]
async fn the_end_comes_behind_the_messages() {
    let inbox = narrow();
    let waiting = spawn_post(&inbox, 1, "t1:at1:b");
    while inbox.lock().received == 0 {
        tokio::task::yield_now().await;
    }
    inbox.shut(Error::with_message(ErrorKind::TimedOut, "silent"));
    let (status, body) = within(waiting).await.unwrap();
    assert_eq!(
        (status, &body["error"]),
        (404, &json!("unknown_connection"))
    );
    assert_eq!(recv(&inbox).await, Ok(Some("a".to_owned())));
    for _ in 0..3 {
        assert_eq!(recv(&inbox).await, Err(ErrorKind::TimedOut));
    }
    assert_eq!(refused(&inbox, request("2", "")).await.0, 404);
    assert_eq!(delete(&inbox, ""), 204);
    assert_eq!(inbox.close_reason(), None);
}

#[tokio::test]
async fn a_close_of_this_side_is_told() {
    let inbox = Inbox::new(&Limits::new());
    let close = CloseReason::new(CloseCode::GOING_AWAY, "later");
    inbox.shut(Error::new(ErrorKind::Closed).with_close(close));
    let (status, body) = post(&inbox, 1, "t1:a").await;
    assert_eq!(status, 410);
    assert_eq!(
        (&body["error"], &body["code"], &body["reason"]),
        (&json!("closed"), &json!(1001), &json!("later"))
    );
    assert_eq!(recv(&inbox).await, Err(ErrorKind::Closed));
}

#[derive(Clone, Debug)]
enum Step {
    /// A POST that begins so far behind what was received, is polled, and maybe abandoned.
    Post {
        back: u64,
        count: u64,
        keep: bool,
    },
    Poll,
    Recv(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..4, 0_u64..6, any::<bool>()).prop_map(|(back, count, keep)| Step::Post {
            back,
            count,
            keep
        }),
        Just(Step::Poll),
        (1_usize..5).prop_map(Step::Recv),
    ]
}

proptest! {
    /// However POSTs overlap, repeat and are given up: every message once, in order.
    #[test]
    fn every_message_once(steps in vec(step(), 0..60), room in 0_usize..400) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let _guard = runtime.enter();
        let inbox = Inbox::new(&Limits::new().recv_buffer_size(room));
        let mut posts = Vec::new();
        let mut next = 1;
        let mut cx = Context::from_waker(Waker::noop());
        for step in steps {
            match step {
                Step::Post { back, count, keep } => {
                    let first = (inbox.lock().received + 1).saturating_sub(back).max(1);
                    let body: String = (first..first + count)
                        .map(|number| format!("t{}:{number}", number.to_string().len()))
                        .collect();
                    let mut post = Box::pin(inbox.post(request(&first.to_string(), body)));
                    let pending = match post.as_mut().poll(&mut cx) {
                        Poll::Pending => true,
                        Poll::Ready(response) => {
                            prop_assert_eq!(response.status(), 200);
                            false
                        }
                    };
                    if keep && pending {
                        posts.push(post);
                    }
                }
                Step::Poll => posts.retain_mut(|post| post.as_mut().poll(&mut cx).is_pending()),
                Step::Recv(count) => {
                    for _ in 0..count {
                        let Some(text) = try_recv(&inbox) else { break };
                        prop_assert_eq!(text, next.to_string());
                        next += 1;
                    }
                }
            }
            let state = inbox.lock();
            prop_assert!(state.queue.len() <= 1 || state.bytes <= room);
        }
        while let Some(text) = try_recv(&inbox) {
            prop_assert_eq!(text, next.to_string());
            next += 1;
        }
        prop_assert_eq!(inbox.lock().received + 1, next);
        prop_assert_eq!(inbox.lock().bytes, 0);
    }
}

#[test]
fn handlers_can_run_on_any_thread() {
    fn check<T: Send + Sync>(_: &T) {}
    fn check_send<T: Send>(_: &T) {}
    let inbox = Inbox::new(&Limits::new());
    check(&inbox);
    check_send(&inbox.post(request("1", "")));
}

#[tokio::test(start_paused = true)]
async fn takes_late_posts_for_a_while() {
    const SECOND: Duration = Duration::from_secs(1);
    let inbox = Arc::new(Inbox::new(&Limits::new()));
    let begin = Instant::now();
    let receiver = tokio::spawn({
        let inbox = Arc::clone(&inbox);
        async move { (recv(&inbox).await, recv(&inbox).await, begin.elapsed()) }
    });
    tokio::task::yield_now().await;
    assert!(inbox.shut_after(SECOND, ErrorKind::Reset.into()));
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(post(&inbox, 1, "t1:a").await, received(1));
    assert_eq!(inbox.late_until(), Some(begin + SECOND));
    // That did not prolong it, nor does this.
    assert!(inbox.shut_after(SECOND, ErrorKind::Reset.into()));
    let (first, second, elapsed) = within(receiver).await.unwrap();
    assert_eq!(first, Ok(Some("a".to_owned())));
    assert_eq!(second, Err(ErrorKind::Reset));
    assert_eq!(elapsed, SECOND);
    assert_eq!(inbox.late_until(), None);
    assert!(!inbox.shut_after(SECOND, ErrorKind::Reset.into()));
    assert_eq!(post(&inbox, 2, "t1:b").await.0, 404);
    assert_eq!(recv(&inbox).await, Err(ErrorKind::Reset));
}

#[tokio::test(start_paused = true)]
async fn late_posts_are_refused_in_time_though_nobody_receives() {
    let inbox = narrow();
    assert!(inbox.shut_after(Duration::from_secs(1), ErrorKind::Reset.into()));
    let waiting = spawn_post(&inbox, 1, "t1:at1:b");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(post(&inbox, 1, "t1:at1:b").await.0, 404);
    // Whoever receives at last gets what came in time, and the POST that waits its answer.
    assert_eq!(recv(&inbox).await, Ok(Some("a".to_owned())));
    assert_eq!(recv(&inbox).await, Err(ErrorKind::Reset));
    assert_eq!(within(waiting).await.unwrap().0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_late_close_counts_and_so_does_a_shut() {
    let inbox = Inbox::new(&Limits::new());
    assert!(inbox.shut_after(Duration::from_secs(1), ErrorKind::Reset.into()));
    assert_eq!(post(&inbox, 1, "t1:a").await, received(1));
    assert_eq!(delete(&inbox, "&code=1001"), 204);
    assert_eq!(recv(&inbox).await, Ok(Some("a".to_owned())));
    assert_eq!(recv(&inbox).await, Ok(None));
    assert_eq!(inbox.close_reason(), Some(CloseCode::GOING_AWAY.into()));
    assert_eq!(post(&inbox, 2, "t1:b").await.0, 404);

    let inbox = Inbox::new(&Limits::new());
    assert!(inbox.shut_after(Duration::from_secs(1), ErrorKind::Reset.into()));
    inbox.shut(ErrorKind::Closed.into());
    assert_eq!(inbox.late_until(), None);
    assert_eq!(recv(&inbox).await, Err(ErrorKind::Closed));
}
