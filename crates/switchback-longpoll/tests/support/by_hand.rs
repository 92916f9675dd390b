//! Requests made by hand and given to a server, without a socket.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::Method;
use switchback_longpoll::{CloseCode, CloseReason, LongPoll, LongPollServer, PollResponse};

use super::{read, request};

/// A connection, opened without messages.
pub fn open(server: &LongPollServer) -> (String, LongPoll) {
    let (opening, transport) = server.open(&request(Method::GET, "", None, "")).unwrap();
    let response = opening.into_response();
    let id = response.headers()["Switchback-Connection"]
        .to_str()
        .unwrap();
    (id.to_owned(), transport)
}

pub fn poll(server: &LongPollServer, id: &str, cursor: u64) -> PollResponse {
    let query = format!("&cursor={cursor}");
    server.poll(&request(Method::GET, &query, Some(id), ""))
}

pub async fn post(
    server: &LongPollServer,
    id: &str,
    first: u64,
    body: &'static str,
) -> (u16, String) {
    let query = format!("&first={first}");
    read(
        server
            .post(request(Method::POST, &query, Some(id), body))
            .await,
    )
    .await
}

pub fn delete(server: &LongPollServer, id: &str) -> u16 {
    let query = "&code=4100&reason=so%20long";
    let response = server.delete(&request(Method::DELETE, query, Some(id), ""));
    response.status().as_u16()
}

pub fn word(answer: &(u16, String)) -> (u16, String) {
    let json: serde_json::Value = serde_json::from_str(&answer.1).unwrap();
    (answer.0, json["error"].as_str().unwrap().to_owned())
}

pub fn refused(status: u16, error: &str) -> (u16, String) {
    (status, error.to_owned())
}

pub fn ok(batch: &str) -> (u16, String) {
    (200, batch.to_owned())
}

/// Polls once, with a waker that does nothing.
pub fn try_now<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

pub fn why() -> CloseReason {
    CloseReason::new(CloseCode::GOING_AWAY, "bye")
}
