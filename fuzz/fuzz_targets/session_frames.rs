//! Hellos and the frames of an attachment.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use switchback_core::Message;
use switchback_session::{Frame, Hello, escape};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(hello) = text.parse::<Hello>() {
        assert_eq!(hello.to_string(), text, "a hello has one form");
    }
    let message = Message::text(text);
    assert_eq!(
        Frame::decode(escape(message.clone())),
        Ok(Frame::Message(message.clone()))
    );
    if let Ok(Frame::Control(control)) = Frame::decode(message) {
        assert_eq!(Frame::decode(control.encode()), Ok(Frame::Control(control)));
    }
    let binary = Message::binary(Bytes::copy_from_slice(data));
    assert_eq!(Frame::decode(binary.clone()), Ok(Frame::Message(binary)));
});
