//! Subscribers of each kind.

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::header::HOST;
use sse_stream::SseStream;

use crate::connection::{Connection, Protocol};
use crate::fan_out::Subscriber;
use crate::{Common, Failure, Requests, Tasks};

pub async fn websocket(
    common: &Common,
    protocol: Protocol,
    mut subscriber: Subscriber,
    tasks: &mut Tasks,
) -> Result<(), Failure> {
    let mut connection = Connection::open(common, common.url.path(), protocol).await?;
    tasks.spawn(async move {
        loop {
            subscriber.message(&connection.next().await?)?;
            connection.acknowledge().await?;
        }
    });
    Ok(())
}

pub async fn events(
    common: &Common,
    mut subscriber: Subscriber,
    tasks: &mut Tasks,
) -> Result<(), Failure> {
    let mut requests = common.http(tasks).await?;
    let request = Request::get(common.url.path())
        .header(HOST, common.host()?)
        .header("accept", "text/event-stream");
    let response = requests.send_request(request.body(Empty::new())?).await?;
    if response.status() != 200 {
        return Err(format!("an event stream was answered {}", response.status()).into());
    }
    tasks.spawn(async move {
        let mut events = SseStream::new(response.into_body());
        while let Some(event) = events.next().await {
            if let Some(data) = event?.data {
                subscriber.message(data.as_bytes())?;
            }
        }
        drop(requests);
        Err("an event stream ended".into())
    });
    Ok(())
}

/// Long-polling with a cursor (`docs/protocol.md`, 2.3).
pub async fn polls(
    common: &Common,
    subscriber: Subscriber,
    tasks: &mut Tasks,
) -> Result<(), Failure> {
    let mut requests = common.http(tasks).await?;
    let (path, host) = (common.url.path().to_owned(), common.host()?.to_owned());
    let opening = Request::get(format!("{path}?transport=longpoll")).header(HOST, &host);
    let response = requests.send_request(opening.body(Empty::new())?).await?;
    let connection = response.headers().get("switchback-connection");
    let connection = connection.ok_or("no Switchback-Connection")?.clone();
    let first = response.into_body().collect().await?.to_bytes();
    let mut poller = Poller {
        requests,
        path,
        host,
        connection,
        cursor: 0,
        subscriber,
    };
    poller.batch(first)?;
    tasks.spawn(poller.run());
    Ok(())
}

struct Poller {
    requests: Requests,
    path: String,
    host: String,
    connection: hyper::header::HeaderValue,
    cursor: u64,
    subscriber: Subscriber,
}

impl Poller {
    async fn run(mut self) -> Result<(), Failure> {
        loop {
            let request = Request::get(format!(
                "{}?transport=longpoll&cursor={}",
                self.path, self.cursor
            ))
            .header(HOST, &self.host)
            .header("switchback-connection", &self.connection)
            .body(Empty::new())?;
            let response = self.requests.send_request(request).await?;
            if response.status() != 200 {
                return Err(format!("a poll was answered {}", response.status()).into());
            }
            let batch = response.into_body().collect().await?.to_bytes();
            self.batch(batch)?;
        }
    }

    /// Records (2.6): `t`, the length, a colon, the text.
    fn batch(&mut self, mut batch: Bytes) -> Result<(), Failure> {
        while !batch.is_empty() {
            let colon = batch
                .iter()
                .position(|byte| *byte == b':')
                .ok_or("a bad batch")?;
            let length: usize = std::str::from_utf8(&batch[1..colon])?.parse()?;
            batch.advance(colon + 1);
            if batch.len() < length {
                return Err("a record that is cut".into());
            }
            self.subscriber.message(&batch.split_to(length))?;
            self.cursor += 1;
        }
        Ok(())
    }
}
