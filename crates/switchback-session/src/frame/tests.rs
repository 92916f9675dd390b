use std::time::Duration;

use proptest::prelude::*;
use switchback_core::{CloseCode, CloseReason};

use super::*;
use crate::{Hello, SessionId};

const ID: &str = "AAECAwQFBgcICQoLDA0ODw";

fn opened() -> Opened {
    Opened {
        session: ID.parse().unwrap(),
        token: "t0k-en_".parse().unwrap(),
        resumed: false,
        why: Some(Why::Expired),
        ended: None,
        received: 0,
        next: 1,
        heartbeat: Duration::from_secs(25),
        timeout: Duration::from_secs(35),
        park: Duration::from_secs(120),
        ack_messages: 128,
        ack_bytes: 65536,
        ack_delay: Duration::from_secs(1),
    }
}

#[test]
fn control_frames_are_what_the_protocol_says() {
    let close = Close {
        reason: CloseReason::new(CloseCode::GOING_AWAY, "bye"),
        sent: 7,
        reconnect: Some(Duration::from_millis(1500)),
    };
    let plain = Close {
        reason: CloseReason::normal(),
        sent: 0,
        reconnect: None,
    };
    let table = [
        (
            Control::Opened(opened()),
            r#"opened {"session":"AAECAwQFBgcICQoLDA0ODw","token":"t0k-en_","resumed":false,"why":"expired","received":0,"next":1,"heartbeat":25000,"timeout":35000,"park":120000,"ack_messages":128,"ack_bytes":65536,"ack_delay":1000}"#,
        ),
        (Control::Select(0), "select 0"),
        (Control::Selected(7), "selected 7"),
        (Control::Ack(9_007_199_254_740_991), "ack 9007199254740991"),
        (Control::Seq(12), "seq 12"),
        (Control::Ping, "ping"),
        (Control::Pong, "pong"),
        (
            Control::Close(close),
            r#"close {"code":1001,"reason":"bye","sent":7,"reconnect":1500}"#,
        ),
        (
            Control::Close(plain),
            r#"close {"code":1000,"reason":"","sent":0}"#,
        ),
    ];
    for (control, text) in table {
        let message = Message::text(format!("\u{1}{text}"));
        assert_eq!(control.encode(), message);
        assert_eq!(Frame::decode(message), Ok(Frame::Control(control)));
    }
}

#[test]
fn members_that_are_not_known_are_ignored_and_reasons_that_are_not_known_are_unknown() {
    let text = r#"opened {"new":[1],"session":"AAECAwQFBgcICQoLDA0ODw","token":"t","resumed":false,"why":"tired","received":0,"next":1,"heartbeat":1,"timeout":1,"park":1,"ack_messages":1,"ack_bytes":1,"ack_delay":1}"#;
    let frame = Frame::decode(Message::text(format!("\u{1}{text}")));
    let Ok(Frame::Control(Control::Opened(opened))) = frame else {
        panic!("{frame:?}");
    };
    assert_eq!(opened.why, Some(Why::Unknown));
}

#[test]
fn messages_are_taken_as_they_are_or_without_the_escape() {
    for (wire, message) in [
        ("", ""),
        ("ping", "ping"),
        ("x\u{1}ping", "x\u{1}ping"),
        ("\u{1}\u{1}", "\u{1}"),
        ("\u{1}\u{1}ping", "\u{1}ping"),
        ("\u{1}\u{1}\u{1}", "\u{1}\u{1}"),
    ] {
        let frame = Frame::decode(wire.into());
        assert_eq!(frame, Ok(Frame::Message(message.into())), "{wire:?}");
        assert_eq!(escape(message.into()), wire.into());
    }
    let binary = Message::binary(&b"\x01ping"[..]);
    assert_eq!(escape(binary.clone()), binary);
    assert_eq!(Frame::decode(binary.clone()), Ok(Frame::Message(binary)));
}

#[test]
fn unknown_words_are_ignored_and_malformed_frames_refused() {
    for text in ["\u{1}zebra", "\u{1}pinging 1", "\u{1}ack-ack", "\u{1}x {"] {
        assert_eq!(Frame::decode(text.into()), Ok(Frame::Unknown), "{text:?}");
    }
    for text in ["\u{1}", "\u{1}Ping", "\u{1} ", "\u{1}\u{2}", "\u{1}é"] {
        let result = Frame::decode(text.into());
        assert_eq!(result, Err(ProtocolError::BadEscape), "{text:?}");
    }
    for text in [
        "ack",
        "ack ",
        "ack -1",
        "ack +1",
        "ack 01",
        "ack 1 ",
        "ack  1",
        "ack 1.0",
        "ack 9007199254740992",
        "ack 99999999999999999999",
        "select",
        "seq x",
        "ping ",
        "pong 1",
        "opened",
        "opened {}",
        "close []",
        "close {\"code\":1005,\"sent\":0}",
        "close {\"code\":1000}",
        "close {\"code\":1000,\"sent\":9007199254740992}",
        "close [1000,\"\",0]",
    ] {
        let result = Frame::decode(Message::text(format!("\u{1}{text}")));
        assert!(
            matches!(result, Err(ProtocolError::BadControl(_))),
            "{text:?}: {result:?}"
        );
    }
    let long = Message::text(format!("\u{1}zebra {}", "x".repeat(MAX_CONTROL)));
    assert_eq!(Frame::decode(long), Err(ProtocolError::ControlTooLarge));
}

#[test]
fn errors_close_with_1002() {
    let reason = ProtocolError::BadEscape.close_reason();
    assert_eq!(reason.code(), CloseCode::PROTOCOL_ERROR);
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![0..10u64, Just(MAX_NUMBER), 0..=MAX_NUMBER]
}

fn durations() -> impl Strategy<Value = Duration> {
    numbers().prop_map(Duration::from_millis)
}

fn ids() -> impl Strategy<Value = SessionId> {
    any::<[u8; 16]>().prop_map(SessionId::from_bytes)
}

fn tokens() -> impl Strategy<Value = crate::Token> {
    "[A-Za-z0-9_-]{1,128}".prop_map(|text| text.parse().unwrap())
}

fn whys() -> impl Strategy<Value = Option<Why>> {
    proptest::sample::select(vec![
        None,
        Some(Why::Unknown),
        Some(Why::Closed),
        Some(Why::Expired),
        Some(Why::Overflow),
        Some(Why::Principal),
    ])
}

fn endeds() -> impl Strategy<Value = Option<Ended>> {
    let ended = (numbers(), numbers()).prop_map(|(received, sent)| Ended { received, sent });
    proptest::option::of(ended)
}

fn closes() -> impl Strategy<Value = Close> {
    let codes = any::<u16>().prop_filter_map("cannot be sent", CloseCode::new);
    (
        codes,
        ".{0,60}",
        numbers(),
        proptest::option::of(durations()),
    )
        .prop_map(|(code, text, sent, reconnect)| Close {
            reason: CloseReason::new(code, text),
            sent,
            reconnect,
        })
}

prop_compose! {
    fn openeds()(
        session in ids(), token in tokens(), resumed: bool,
        (why, ended) in (whys(), endeds()),
        received in numbers(), next in numbers(),
        heartbeat in durations(), timeout in durations(), park in durations(),
        ack_messages in numbers(), ack_bytes in numbers(), ack_delay in durations(),
    ) -> Opened {
        Opened {
            session, token, resumed, why, ended, received, next, heartbeat, timeout, park,
            ack_messages, ack_bytes, ack_delay,
        }
    }
}

fn controls() -> impl Strategy<Value = Control> {
    prop_oneof![
        openeds().prop_map(Control::Opened),
        numbers().prop_map(Control::Select),
        numbers().prop_map(Control::Selected),
        numbers().prop_map(Control::Ack),
        numbers().prop_map(|number| Control::Seq(number.max(1))),
        Just(Control::Ping),
        Just(Control::Pong),
        closes().prop_map(Control::Close),
    ]
}

fn hellos() -> impl Strategy<Value = Hello> {
    let fenced = (1..=MAX_NUMBER).prop_flat_map(|attachment| (Just(attachment), 1..=attachment));
    let resume = proptest::option::of((tokens(), numbers()));
    (ids(), fenced, resume).prop_map(|(session, (attachment, fence), resume)| match resume {
        None => Hello::New {
            session,
            attachment,
            fence,
        },
        Some((token, received)) => Hello::Resume {
            session,
            token,
            attachment,
            fence,
            received,
        },
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(control in controls()) {
        let message = control.encode();
        prop_assert!(message.len() <= MAX_CONTROL);
        prop_assert_eq!(Frame::decode(message), Ok(Frame::Control(control)));
    }

    #[test]
    fn what_is_escaped_is_the_message_again(text in "\u{1}{0,3}.*") {
        let wire = escape(text.clone().into());
        prop_assert_eq!(unescape(wire.clone()), Message::from(text.clone()));
        prop_assert_eq!(Frame::decode(wire), Ok(Frame::Message(text.into())));
    }

    #[test]
    fn hellos_are_parsed_as_written(hello in hellos()) {
        prop_assert_eq!(hello.to_string().parse(), Ok(hello));
    }

    #[test]
    fn garbage_never_panics(text in "\u{1}?(opened|close|ack|select|seq)? ?\\PC*") {
        if let Ok(Frame::Control(control)) = Frame::decode(text.clone().into()) {
            prop_assert_eq!(Frame::decode(control.encode()), Ok(Frame::Control(control)));
        }
        let _ = text.parse::<Hello>();
    }

    #[test]
    fn mangled_frames_never_panic(control in controls(), at: prop::sample::Index, byte: u8) {
        let mut bytes = control.encode().as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = Message::text_from_bytes(bytes.into()) {
            let _ = Frame::decode(message);
        }
    }

    #[test]
    fn mangled_hellos_never_panic(hello in hellos(), at: prop::sample::Index, with: char) {
        let text = hello.to_string();
        let at = at.index(text.len());
        let mangled: String = text.chars().enumerate()
            .map(|(i, c)| if i == at { with } else { c })
            .collect();
        if let Ok(parsed) = mangled.parse::<Hello>() {
            // There is one way to write each.
            prop_assert_eq!(parsed.to_string(), mangled);
        }
    }
}
