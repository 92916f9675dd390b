use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::*;

const LONG: Duration = Duration::from_secs(15);

/// A body that gives frames, then fails, hangs or ends.
struct Script {
    frames: VecDeque<Frame<Bytes>>,
    then: Then,
    announced: u64,
}

enum Then {
    End,
    Fail,
    Hang,
}

impl Script {
    fn new(frames: &[&'static str], then: Then) -> Self {
        let frames = frames.iter().map(|&data| Frame::data(Bytes::from(data)));
        Self {
            frames: frames.collect(),
            then,
            announced: 0,
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match (self.frames.pop_front(), &self.then) {
            (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
            (None, Then::End) => Poll::Ready(None),
            (None, Then::Fail) => Poll::Ready(Some(Err("cut"))),
            (None, Then::Hang) => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.announced);
        hint
    }
}

async fn read(body: Script, max: usize) -> Result<Bytes, u16> {
    let read = read_body(body, max, LONG).await;
    read.map_err(|refusal| refusal.status().as_u16())
}

#[tokio::test]
async fn joins_what_arrives() {
    let body = || Script::new(&["ab", "", "cd"], Then::End);
    assert_eq!(read(body(), 4).await, Ok(Bytes::from("abcd")));
    assert_eq!(read(body(), 3).await, Err(413));
    assert_eq!(read(Script::new(&[], Then::End), 0).await, Ok(Bytes::new()));
}

#[tokio::test]
async fn skips_trailers() {
    let mut body = Script::new(&["ab"], Then::End);
    body.frames.push_back(Frame::trailers(HeaderMap::new()));
    assert_eq!(read(body, 4).await, Ok(Bytes::from("ab")));
}

#[tokio::test]
async fn refuses_an_announced_length_before_reading() {
    let mut body = Script::new(&[], Then::Hang);
    body.announced = 5;
    assert_eq!(read(body, 4).await, Err(413));
}

#[tokio::test]
async fn a_cut_body_is_refused() {
    assert_eq!(read(Script::new(&["ab"], Then::Fail), 4).await, Err(400));
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_refused() {
    assert_eq!(read(Script::new(&["ab"], Then::Hang), 4).await, Err(408));
}
