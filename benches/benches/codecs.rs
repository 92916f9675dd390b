//! What it costs to write and read one message of each wire form, without sockets.
//!
//! `cargo bench -p switchback-bench --bench codecs`

#![allow(
    missing_docs,
    reason = "criterion's macros write functions without documentation"
)]

use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use http::Request;
use http_body::Body;
use switchback_core::{Limits, Message, Transport};
use switchback_http::batch;
use switchback_sse::{Parser, ServerConfig, SseServer};
use switchback_ws::{Config, Role, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const SIZES: [usize; 3] = [125, 4 * 1024, 64 * 1024];

fn messages() -> impl Iterator<Item = (String, Message)> {
    SIZES.into_iter().flat_map(|size| {
        let text: String = ('a'..='z').cycle().take(size).collect();
        let binary = Bytes::from(text.clone().into_bytes());
        [
            (format!("text/{size}"), Message::text(text)),
            (format!("binary/{size}"), Message::binary(binary)),
        ]
    })
}

/// A byte stream that gives the same bytes for ever, and takes what is written.
#[derive(Debug, Default)]
struct Canned {
    bytes: Bytes,
    at: usize,
    written: Option<BytesMut>,
}

impl Canned {
    fn repeating(bytes: Bytes) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }
}

impl AsyncRead for Canned {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Poll::Pending;
        }
        let rest = &self.bytes[self.at..];
        let part = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..part]);
        self.at = (self.at + part) % self.bytes.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Canned {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(written) = &mut self.written {
            written.extend_from_slice(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn websocket(c: &mut Criterion) {
    let config = Config::new().ping_interval(None);
    let mut cx = Context::from_waker(Waker::noop());
    let mut group = c.benchmark_group("websocket");
    for (name, message) in messages() {
        let write = |socket: &mut WebSocket, cx: &mut Context<'_>, message: &Message| {
            assert!(socket.poll_send(cx, message).is_ready());
            assert!(socket.poll_flush(cx).is_ready());
        };
        let mut server = WebSocket::from_stream(Canned::default(), Role::Server, &config);
        bench(&mut group, "encode", &name, &message, |message| {
            write(&mut server, &mut cx, message);
        });
        let shared = message.clone().prepare();
        bench(&mut group, "encode-prepared", &name, &shared, |message| {
            write(&mut server, &mut cx, message);
        });
        let frame = masked_frame(&message);
        let mut server = WebSocket::from_stream(Canned::repeating(frame), Role::Server, &config);
        bench(&mut group, "parse", &name, &message, |message| {
            let Poll::Ready(Ok(Some(received))) = server.poll_recv(&mut cx) else {
                panic!("a frame is always there");
            };
            assert_eq!(received.len(), message.len());
            black_box(received);
        });
    }
}

/// A frame as clients write it (RFC 6455, 5.2).
fn masked_frame(message: &Message) -> Bytes {
    let mut frame = vec![if message.is_text() { 0x81 } else { 0x82 }];
    match message.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).unwrap_or(0)),
        length @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend_from_slice(&mask);
    let payload = message.as_bytes().iter().zip(mask.iter().cycle());
    frame.extend(payload.map(|(byte, mask)| byte ^ mask));
    frame.into()
}

fn sse(c: &mut Criterion) {
    let limits = Limits::new().send_buffer_size(1 << 20);
    let server = SseServer::new(ServerConfig::new().limits(limits).keep_alive(None));
    let mut cx = Context::from_waker(Waker::noop());
    let mut group = c.benchmark_group("sse");
    for (name, message) in messages() {
        let Ok((response, mut transport)) = server.open(&Request::new(())) else {
            panic!("there is room for a connection");
        };
        let mut body = pin!(response.into_body());
        assert!(body.as_mut().poll_frame(&mut cx).is_ready());
        let mut write = |message: &Message| {
            assert!(transport.poll_send(&mut cx, message).is_ready());
            assert!(transport.poll_flush(&mut cx).is_ready());
            match body.as_mut().poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                _ => panic!("an event is there"),
            }
        };
        let event = write(&message);
        bench(&mut group, "encode", &name, &message, |message| {
            black_box(write(message));
        });
        let mut parser = Parser::default();
        bench(&mut group, "parse", &name, &message, |_| {
            parser.push(event.clone());
            match parser.next_event() {
                Ok(Some(event)) => black_box(event),
                _ => panic!("an event is there"),
            };
        });
    }
}

fn batches(c: &mut Criterion) {
    let limits = Limits::new();
    let mut group = c.benchmark_group("batch");
    for (name, message) in messages() {
        bench(&mut group, "encode", &name, &message, |message| {
            black_box(batch::record(message));
        });
        let record = batch::record(&message);
        group.bench_function(BenchmarkId::new("parse", &name), |b| {
            b.iter_batched(
                || record.clone(),
                |record| batch::decode(&record, &limits),
                BatchSize::SmallInput,
            );
        });
    }
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    what: &str,
    name: &str,
    message: &Message,
    mut run: impl FnMut(&Message),
) {
    group.throughput(Throughput::Bytes(message.len() as u64));
    group.bench_function(BenchmarkId::new(what, name), |b| b.iter(|| run(message)));
}

criterion_group!(codecs, websocket, sse, batches);
criterion_main!(codecs);
