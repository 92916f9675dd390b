//! The body of a POST or the response to a poll.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use switchback_core::Limits;
use switchback_http::batch;

fuzz_target!(|data: &[u8]| {
    let limits = Limits::new().max_message_size(1024).max_batch_messages(50);
    if let Ok(messages) = batch::decode(&Bytes::copy_from_slice(data), &limits) {
        assert!(messages.len() <= 50);
        let mut again = BytesMut::new();
        for message in &messages {
            assert!(message.len() <= 1024);
            again.extend_from_slice(&batch::record(message));
        }
        let decoded = batch::decode(&again.freeze(), &limits);
        assert_eq!(decoded.as_ref().ok(), Some(&messages));
    }
});
