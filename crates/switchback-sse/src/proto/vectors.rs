//! Event streams and what becomes of them, each in every chunking: the examples of WHATWG HTML,
//! 9.2.6, and the cases of the web platform tests (`eventsource/format-*`), written down anew.

use std::time::Duration;

use super::{EventLimits, MessageEvent, Parser};

/// Name, data, last event ID.
type Seen = (&'static str, &'static str, &'static str);

struct Vector {
    stream: &'static [u8],
    events: &'static [Seen],
    last_event_id: &'static str,
    retry: Option<u64>,
}

const fn vector(stream: &'static str, events: &'static [Seen]) -> Vector {
    raw(stream.as_bytes(), events)
}

const fn raw(stream: &'static [u8], events: &'static [Seen]) -> Vector {
    Vector {
        stream,
        events,
        last_event_id: "",
        retry: None,
    }
}

impl Vector {
    const fn id(mut self, id: &'static str) -> Self {
        self.last_event_id = id;
        self
    }

    const fn retry(mut self, millis: u64) -> Self {
        self.retry = Some(millis);
        self
    }
}

const VECTORS: &[Vector] = &[
    vector("", &[]),
    vector("\n\n\r\r\r\n\r\n", &[]),
    // The examples of the standard.
    vector(
        "data: YHOO\ndata: +2\ndata: 10\n\n",
        &[("message", "YHOO\n+2\n10", "")],
    ),
    vector(
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
        &[
            ("message", "first event", "1"),
            ("message", "second event", ""),
        ],
    ),
    vector(
        "data\n\ndata\ndata\n\ndata:",
        &[("message", "", ""), ("message", "\n", "")],
    ),
    vector(
        "data:test\n\ndata: test\n\n",
        &[("message", "test", ""), ("message", "test", "")],
    ),
    // The ends of lines, mixed.
    vector(
        "data:a\rdata:b\r\ndata:c\n\r\n",
        &[("message", "a\nb\nc", "")],
    ),
    vector("data:a\r\r", &[("message", "a", "")]),
    vector("data:a\r\n\r\n", &[("message", "a", "")]),
    vector(
        "data:a\n\rdata:b\r\n\n",
        &[("message", "a", ""), ("message", "b", "")],
    ),
    vector(
        "data:a\r\n\r\ndata:b\n\n\n",
        &[("message", "a", ""), ("message", "b", "")],
    ),
    vector(
        "data:a\r\r\ndata:b\n\r",
        &[("message", "a", ""), ("message", "b", "")],
    ),
    // Other characters that some take for the end of a line.
    vector(
        "data:a\x0b\x0c\u{85}\u{2028}\u{2029}b\n\n",
        &[("message", "a\x0b\x0c\u{85}\u{2028}\u{2029}b", "")],
    ),
    // The byte order mark: one, at the start of the stream.
    vector("\u{feff}data:a\n\n", &[("message", "a", "")]),
    vector(
        "\u{feff}\u{feff}data:a\n\ndata:b\n\n",
        &[("message", "b", "")],
    ),
    vector(
        "\u{feff}\n\u{feff}data:a\n\ndata:b\n\n",
        &[("message", "b", "")],
    ),
    vector("\n\u{feff}data:a\n\n", &[]),
    vector("data:a\n\n\u{feff}data:b\n\n", &[("message", "a", "")]),
    vector("data:\u{feff}a\n\n", &[("message", "\u{feff}a", "")]),
    vector("\u{feff}:a\ndata:b\n\n", &[("message", "b", "")]),
    raw(b"\xef\xbbdata:a\n\ndata:b\n\n", &[("message", "b", "")]),
    raw(b"\xef\xbb\n\xbfdata:a\n\n", &[]),
    // Comments and unknown fields.
    vector(
        ":\n:: a\n: data:a\ndata:b\n:data:c\n\n",
        &[("message", "b", "")],
    ),
    vector(
        "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\n\n",
        &[("message", "test\n", "")],
    ),
    vector(
        " data:a\ndata :b\nDATA:c\ndate:d\ndata\0:e\nevents:f\ndata:g\n\n",
        &[("message", "g", "")],
    ),
    // One space after the colon goes, and only a space.
    vector(
        "data:\ttest\rdata: \ndata:test\n\n",
        &[("message", "\ttest\n\ntest", "")],
    ),
    vector("data:  a \n\n", &[("message", " a ", "")]),
    vector("data:\u{a0}a\n\n", &[("message", "\u{a0}a", "")]),
    vector("data::a:\n\n", &[("message", ":a:", "")]),
    vector("data:\0a\0\n\n", &[("message", "\0a\0", "")]),
    // Empty data is data; no data is no event.
    vector("data:\n\n", &[("message", "", "")]),
    vector("data: \n\n", &[("message", "", "")]),
    vector("data\n\n", &[("message", "", "")]),
    vector("data:\ndata:\n\n", &[("message", "\n", "")]),
    vector("data:\ndata:a\n\n", &[("message", "\na", "")]),
    vector("event: none\n\ndata:a\n\n", &[("message", "a", "")]),
    // Names.
    vector(
        "event:test\ndata:x\n\ndata:x\n\n",
        &[("test", "x", ""), ("message", "x", "")],
    ),
    vector(
        "event: test\ndata:x\n\nevent:test \ndata:x\n\n",
        &[("test", "x", ""), ("test ", "x", "")],
    ),
    vector("event:a\nevent:b\ndata:x\n\n", &[("b", "x", "")]),
    vector("event:a\nevent:\ndata:x\n\n", &[("message", "x", "")]),
    vector("data:x\nevent:após\0\n\n", &[("após\0", "x", "")]),
    // Ids: kept, changed, cleared, ignored with NUL, counted without data.
    vector(
        "id:1\ndata:a\n\ndata:b\n\n",
        &[("message", "a", "1"), ("message", "b", "1")],
    )
    .id("1"),
    vector(
        "id:1\ndata:a\n\nid\ndata:b\n\n",
        &[("message", "a", "1"), ("message", "b", "")],
    ),
    vector("id:1\nid: 2 \ndata:a\n\n", &[("message", "a", "2 ")]).id("2 "),
    vector(
        "id:1\ndata:a\n\nid:2\0\ndata:b\n\n",
        &[("message", "a", "1"), ("message", "b", "1")],
    )
    .id("1"),
    vector("id:\0\ndata:b\n\n", &[("message", "b", "")]),
    vector("id:9\n\n", &[]).id("9"),
    vector("id:9\n\nevent:x\n\ndata:a\n\n", &[("message", "a", "9")]).id("9"),
    vector("data:a\nid:…\n\n", &[("message", "a", "…")]).id("…"),
    // The reconnection time: digits only, at once, saturating.
    vector("retry:3000\ndata:a\n\n", &[("message", "a", "")]).retry(3000),
    vector(
        "retry: 10\nretry:1000x\nretry:-1\nretry:+1\nretry: \nretry\nretry:1.5\nretry:  7\n",
        &[],
    )
    .retry(10),
    vector("retry:0007\n", &[]).retry(7),
    vector("retry:0\n", &[]).retry(0),
    vector("retry:\u{663}\n\n", &[]),
    vector("retry:99999999999999999999999999\n", &[]).retry(u64::MAX),
    // What is not finished at the end of the stream is dropped.
    vector("data:a\n\ndata:b", &[("message", "a", "")]),
    vector("data:a\n\ndata:b\n", &[("message", "a", "")]),
    vector("data:a\n\nid:4\ndata:b\n", &[("message", "a", "")]),
    vector("retry:5", &[]),
    // What is not UTF-8 is replaced, one U+FFFD for each maximal subpart.
    raw(b"data:\xff\n\n", &[("message", "\u{fffd}", "")]),
    raw(
        b"data:a\xe2\x82\ndata:\xac\n\n",
        &[("message", "a\u{fffd}\n\u{fffd}", "")],
    ),
    raw(
        b"data:\xf0\x9f\x98\x80\xf0\x9f\x98x\n\n",
        &[("message", "\u{1f600}\u{fffd}x", "")],
    ),
    raw(
        b"data:\xed\xa0\x80\xc0\xaf\n\n",
        &[("message", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}", "")],
    ),
    raw(
        b"event:\xff\nid:\xfe\ndata:x\n\n",
        &[("\u{fffd}", "x", "\u{fffd}")],
    )
    .id("\u{fffd}"),
    raw(b"d\xff:a\n\xff\xfe\n\n", &[]),
];

fn drain(parser: &mut Parser, events: &mut Vec<MessageEvent>) {
    while let Some(event) = parser.next_event().unwrap() {
        events.push(event);
    }
}

fn check(vector: &Vector, chunks: &[&'static [u8]]) {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    for chunk in chunks {
        parser.push(*chunk);
        drain(&mut parser, &mut events);
    }
    let seen: Vec<_> = events
        .iter()
        .map(|event| (event.event(), event.data(), event.last_event_id()))
        .collect();
    let stream = String::from_utf8_lossy(vector.stream);
    assert_eq!(seen, vector.events, "{stream:?} as {chunks:?}");
    assert_eq!(parser.last_event_id(), vector.last_event_id, "{stream:?}");
    assert_eq!(
        parser.retry(),
        vector.retry.map(Duration::from_millis),
        "{stream:?}"
    );
}

#[test]
fn whole() {
    for vector in VECTORS {
        check(vector, &[vector.stream]);
    }
}

#[test]
fn byte_by_byte() {
    for vector in VECTORS {
        let chunks: Vec<_> = vector.stream.chunks(1).collect();
        check(vector, &chunks);
    }
}

#[test]
fn in_every_two_parts() {
    for vector in VECTORS {
        for middle in 0..=vector.stream.len() {
            let (first, second) = vector.stream.split_at(middle);
            check(vector, &[first, second]);
            check(vector, &[first, b"", second]);
        }
    }
}

#[test]
fn in_every_three_parts() {
    for vector in VECTORS.iter().filter(|vector| vector.stream.len() < 48) {
        for one in 0..=vector.stream.len() {
            for two in one..=vector.stream.len() {
                let stream = vector.stream;
                check(vector, &[&stream[..one], &stream[one..two], &stream[two..]]);
            }
        }
    }
}

#[test]
fn a_lone_cr_dispatches_without_waiting_for_what_follows() {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    parser.push("data:a\r\r");
    drain(&mut parser, &mut events);
    assert_eq!(events.len(), 1);
    parser.push("data:b\r\n\r");
    drain(&mut parser, &mut events);
    assert_eq!(events.len(), 2);
    // The LF belongs to the CR before, although the event is out already.
    parser.push("\ndata:c\n\n");
    drain(&mut parser, &mut events);
    assert_eq!(events[2].data(), "c");
    assert_eq!(events.len(), 3);
}

#[test]
fn the_id_counts_from_the_end_of_its_event() {
    let mut parser = Parser::new().with_last_event_id("old");
    parser.push("id: new\ndata: x\n");
    assert_eq!(parser.next_event().unwrap(), None);
    assert_eq!(parser.last_event_id(), "old");
    parser.push("\n");
    assert_eq!(parser.next_event().unwrap().unwrap().last_event_id(), "new");
    assert_eq!(parser.last_event_id(), "new");
}

#[test]
fn an_id_from_before_survives_a_reconnection() {
    let mut parser = Parser::new().with_last_event_id("7");
    parser.push("data: x\n\n");
    assert_eq!(parser.next_event().unwrap().unwrap().last_event_id(), "7");
    assert_eq!(parser.last_event_id(), "7");
}

#[test]
fn a_push_before_the_events_were_taken_loses_nothing() {
    let mut parser = Parser::new();
    parser.push("data:a\n\nda");
    parser.push("ta:b\n\n");
    let mut events = Vec::new();
    drain(&mut parser, &mut events);
    let data: Vec<_> = events.iter().map(MessageEvent::data).collect();
    assert_eq!(data, ["a", "b"]);
}

/// The number of events before the error, in any chunking alike.
fn events_before_error(stream: &[u8], limits: EventLimits) -> Option<usize> {
    let mut results = Vec::new();
    for size in [1, 2, 7, stream.len().max(1)] {
        let mut parser = Parser::with_limits(limits);
        let mut events = 0;
        let mut failed = false;
        for chunk in stream.chunks(size) {
            parser.push(chunk.to_vec());
            loop {
                match parser.next_event() {
                    Ok(Some(_)) => events += 1,
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(error.kind(), switchback_core::ErrorKind::TooLarge);
                        assert!(parser.next_event().is_err(), "an error stays");
                        failed = true;
                        break;
                    }
                }
            }
            if failed {
                break;
            }
        }
        results.push(failed.then_some(events));
    }
    results.dedup();
    assert_eq!(results.len(), 1, "the chunking made a difference");
    results[0]
}

#[test]
fn limits_hold_exactly() {
    let limits = EventLimits::new().max_data(8).max_name(4);
    let fits = |stream: &str| events_before_error(stream.as_bytes(), limits).is_none();
    assert!(fits("data:12345678\n\n"));
    assert!(!fits("data:123456789\n\n"));
    assert!(fits("data:123\ndata:4567\n\n"));
    assert!(!fits("data:123\ndata:45678\n\n"));
    assert!(fits(
        "data\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\n\n"
    ));
    assert!(!fits(
        "data\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\n\n"
    ));
    assert!(fits("event:1234\nid:1234\ndata:x\n\n"));
    assert!(!fits("event:12345\n\n"));
    assert!(!fits("id:12345\n\n"));
    assert!(fits("unknown:1234567890123456\n\n"));
    assert!(!fits("unknown:12345678901234567\n\n"));
    assert!(!fits("a line without an end that goes on and on"));
    // Comments are not kept, so they may be of any length.
    assert!(fits(&format!(":{}\n\n", "x".repeat(1000))));
    assert_eq!(
        events_before_error(b"data:a\n\ndata:b\n\ndata:123456789\n\n", limits),
        Some(2)
    );
}
