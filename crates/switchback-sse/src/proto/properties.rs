//! Properties of encoder and parser, and a comparison with another implementation.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use http_body_util::Full;
use proptest::prelude::*;
use sse_stream::SseStream;
use switchback_core::Message;

use super::{Downstream, Event, EventLimits, MessageEvent, Parser, decode, encode, event_limits};

/// Cuts a stream at pseudo-random places.
fn chunks<'a>(stream: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    let mut cuts = cuts.iter().cycle();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let size = cuts
            .next()
            .copied()
            .unwrap_or(rest.len())
            .clamp(1, rest.len());
        let (chunk, tail) = rest.split_at(size);
        rest = tail;
        Some(chunk)
    })
}

/// All events, and whether an error ended them.
fn parse<'a>(
    chunks: impl Iterator<Item = &'a [u8]>,
    limits: EventLimits,
) -> (Vec<MessageEvent>, bool) {
    let mut parser = Parser::with_limits(limits);
    let mut events = Vec::new();
    for chunk in chunks {
        parser.push(Bytes::copy_from_slice(chunk));
        loop {
            match parser.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(_) => return (events, true),
            }
        }
    }
    (events, false)
}

/// Bytes that are likely to mean something in an event stream.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(&b"data"[..]),
        Just(&b"event"[..]),
        Just(&b"id"[..]),
        Just(&b"retry"[..]),
        Just(&b":"[..]),
        Just(&b" "[..]),
        Just(&b"\n"[..]),
        Just(&b"\n\n"[..]),
        Just(&b"\r"[..]),
        Just(&b"\r\n"[..]),
        Just(&b"\xef\xbb\xbf"[..]),
        Just(&b"\0"[..]),
        Just(&b"x"[..]),
        Just(&b"42"[..]),
        Just("é€😀".as_bytes()),
        Just(&b"\xf0\x9f\x98"[..]),
        Just(&b"\xff"[..]),
    ];
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

/// Text with many of the characters that matter.
fn any_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        Just('\n'),
        Just('\r'),
        Just(' '),
        Just(':'),
        Just('\0'),
        Just('\u{feff}'),
        any::<char>(),
    ];
    prop::collection::vec(character, 0..40).prop_map(String::from_iter)
}

fn without(text: &str, characters: &[char]) -> String {
    text.replace(characters, "")
}

/// What the other implementation makes of a stream.
fn reference(stream: &[u8]) -> Vec<(String, String)> {
    let mut body = SseStream::new(Full::<Bytes>::new(Bytes::copy_from_slice(stream)));
    let mut events = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(event)) = Pin::new(&mut body).poll_next(&mut cx) {
        let event = event.unwrap();
        // It hands out blocks without data too, which the standard does not dispatch.
        if let Some(data) = event.data {
            events.push((event.event.unwrap_or_default(), data));
        }
    }
    events
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_events(
        stream in any_stream(),
        cuts in prop::collection::vec(1_usize..12, 1..8),
        small in any::<bool>(),
    ) {
        let limits = if small {
            EventLimits::new().max_data(12).max_name(3)
        } else {
            EventLimits::new()
        };
        let whole = parse([&stream[..]].into_iter(), limits);
        prop_assert_eq!(parse(chunks(&stream, &cuts), limits), whole);
    }

    #[test]
    fn random_bytes_do_no_harm(
        stream in prop::collection::vec(any::<u8>(), 0..500),
        cuts in prop::collection::vec(1_usize..50, 1..8),
    ) {
        let limits = EventLimits::new().max_data(32).max_name(8);
        let (events, _) = parse(chunks(&stream, &cuts), limits);
        for event in events {
            // Replacing makes at most three bytes of one.
            prop_assert!(event.data().len() <= 3 * limits.data());
        }
    }

    #[test]
    fn what_is_encoded_is_received(
        parts in prop::collection::vec((any_text(), any_text(), any_text(), any::<bool>()), 1..5),
        cuts in prop::collection::vec(1_usize..30, 1..8),
    ) {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        let mut last_id = String::new();
        for (data, name, id, with_id) in parts {
            let data = without(&data, &['\r']);
            let name = without(&name, &['\r', '\n']);
            let mut event = Event::new().comment(&data).unwrap();
            if with_id {
                last_id = without(&id, &['\r', '\n', '\0']);
                event = event.id(&last_id).unwrap();
            }
            event = event.event(&name).unwrap().data(&data).unwrap();
            stream.extend_from_slice(event.encoded());
            let name = if name.is_empty() { "message".to_owned() } else { name };
            expected.push((name, data, last_id.clone()));
        }
        let (events, failed) = parse(chunks(&stream, &cuts), EventLimits::new());
        let seen: Vec<_> = events
            .iter()
            .map(|event| (
                event.event().to_owned(),
                event.data().to_owned(),
                event.last_event_id().to_owned(),
            ))
            .collect();
        prop_assert!(!failed);
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn messages_arrive_bit_for_bit(
        texts in prop::collection::vec(any_text(), 0..4),
        binaries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..4),
        cuts in prop::collection::vec(1_usize..30, 1..8),
    ) {
        let messages: Vec<_> = texts
            .into_iter()
            .map(Message::text)
            .chain(binaries.into_iter().map(Message::binary))
            .collect();
        let stream: Vec<u8> = messages.iter().flat_map(encode).collect();
        let (events, failed) = parse(chunks(&stream, &cuts), event_limits(1000));
        prop_assert!(!failed);
        let seen: Vec<_> = events
            .into_iter()
            .map(|event| decode(event, 1000).unwrap())
            .collect();
        let expected: Vec<_> = messages.into_iter().map(Downstream::Message).collect();
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn agrees_with_another_implementation(stream in any_stream()) {
        let stream = String::from_utf8_lossy(&stream).into_owned();
        let (events, _) = parse([stream.as_bytes()].into_iter(), EventLimits::new());
        let seen: Vec<_> = events
            .iter()
            .map(|event| (event.event().to_owned(), event.data().to_owned()))
            .collect();
        let expected: Vec<_> = reference(stream.as_bytes())
            .into_iter()
            .map(|(name, data)| {
                let name = if name.is_empty() { "message".to_owned() } else { name };
                (name, data)
            })
            .collect();
        prop_assert_eq!(seen, expected);
    }
}

/// Parsing stays linear: a line that arrives in many chunks is not scanned again from its start.
#[test]
fn a_long_line_in_small_chunks() {
    let size = 1 << 20;
    let mut stream = b"data: ".to_vec();
    stream.resize(size, b'x');
    stream.extend_from_slice(b"\n\n");
    let (events, failed) = parse(stream.chunks(16), EventLimits::new());
    assert!(!failed);
    assert_eq!(events[0].data().len(), size - 6);
}
