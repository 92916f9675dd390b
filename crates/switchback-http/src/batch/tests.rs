use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn decode_bytes(body: &[u8], limits: &Limits) -> Result<Vec<Message>, ErrorKind> {
    decode(&Bytes::copy_from_slice(body), limits).map_err(|error| error.kind())
}

#[test]
fn decodes_batches() {
    let limits = Limits::new();
    assert_eq!(decode_bytes(b"", &limits), Ok(vec![]));
    assert_eq!(
        decode_bytes(b"t5:hellob3:\x00\xff:t0:b0:", &limits),
        Ok(vec![
            Message::text("hello"),
            Message::binary(&b"\0\xff:"[..]),
            Message::text(""),
            Message::binary(""),
        ])
    );
    // The length counts bytes, not characters.
    assert_eq!(
        decode_bytes("t2:é".as_bytes(), &limits),
        Ok(vec![Message::text("é")])
    );
    assert_eq!(
        decode_bytes(b"t10:0123456789", &limits),
        Ok(vec![Message::text("0123456789")])
    );
}

#[test]
fn refuses_what_is_no_batch() {
    let limits = Limits::new();
    for body in [
        "t",
        "t1",
        "t1:",
        "t2:a",
        "t:",
        "t:a",
        "x1:a",
        "T1:a",
        "1:a",
        " t1:a",
        "t 1:a",
        "t1 :a",
        "t+1:a",
        "t-1:a",
        "t01:a",
        "t00:",
        "t1;a",
        "t0x1:a",
        "t1:ab",
        "t1:a\n",
        "t00000000001:a",
        "t12345678901:a",
        "t123456789012345678901234567890:a",
        "t1234567890",
    ] {
        let result = decode_bytes(body.as_bytes(), &limits);
        assert_eq!(result, Err(ErrorKind::Protocol), "{body}");
    }
    assert_eq!(
        decode_bytes(b"t1:\xff", &limits),
        Err(ErrorKind::InvalidUtf8)
    );
    // A character must not be split over two records.
    assert_eq!(
        decode_bytes(b"t1:\xc3t1:\xa9", &limits),
        Err(ErrorKind::InvalidUtf8)
    );
}

#[test]
fn keeps_the_limits() {
    let limits = Limits::new().max_message_size(4).max_batch_messages(3);
    assert_eq!(decode_bytes(b"t4:abcd", &limits).map(|m| m.len()), Ok(1));
    // Refused by its head, before the payload is there.
    for body in ["t5:abcde", "b5:", "b9999999999:", "t1:ab4294967297:"] {
        let result = decode_bytes(body.as_bytes(), &limits);
        assert_eq!(result, Err(ErrorKind::TooLarge), "{body}");
    }
    assert_eq!(decode_bytes(b"t0:t0:t0:", &limits).map(|m| m.len()), Ok(3));
    assert_eq!(
        decode_bytes(b"t0:t0:t0:t0:", &limits),
        Err(ErrorKind::TooLarge)
    );
}

#[test]
fn a_small_payload_does_not_keep_a_large_body() {
    let large = "x".repeat(5000);
    let body = Bytes::from(format!("t1:at5000:{large}"));
    let range = body.as_ptr_range();
    let messages = decode(&body, &Limits::new()).unwrap();
    assert!(!range.contains(&messages[0].as_bytes().as_ptr()));
    assert!(range.contains(&messages[1].as_bytes().as_ptr()));
}

#[test]
fn a_prepared_message_is_encoded_once() {
    let message = Message::text("x").prepare();
    assert_eq!(record(&message).as_ptr(), record(&message.clone()).as_ptr());
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        ".{0,20}".prop_map(Message::text),
        vec(any::<u8>(), 0..40).prop_map(Message::binary),
    ]
}

fn concat<'a>(records: impl IntoIterator<Item = &'a Bytes>) -> Bytes {
    let mut body = BytesMut::new();
    for record in records {
        body.put_slice(record);
    }
    body.freeze()
}

proptest! {
    #[test]
    fn decode_undoes_encode(messages in vec(message(), 0..20)) {
        let records: Vec<_> = messages.iter().map(record).collect();
        let decoded = decode(&concat(&records), &Limits::new());
        prop_assert_eq!(decoded.unwrap(), messages);
    }

    #[test]
    fn what_fits_is_accepted(
        messages in vec(message(), 1..20),
        batch_messages in 1_usize..10,
        batch_bytes in 0_usize..200,
    ) {
        let limits = Limits::new()
            .max_message_size(80)
            .max_batch_messages(batch_messages)
            .max_batch_bytes(batch_bytes);
        let records: Vec<_> = messages.iter().map(record).collect();
        let mut rest = &records[..];
        let mut decoded = Vec::new();
        while !rest.is_empty() {
            let (count, len) = fit(rest, &limits);
            prop_assert!(count > 0);
            let body = concat(&rest[..count]);
            prop_assert_eq!(body.len(), len);
            prop_assert!(len <= max_body(&limits));
            decoded.extend(decode(&body, &limits).unwrap());
            rest = &rest[count..];
        }
        prop_assert_eq!(decoded, messages);
    }

    #[test]
    fn garbage_is_bounded(
        body in prop_oneof![
            vec(any::<u8>(), 0..200),
            "([tb][0-9]{0,11}:?[a-z:]{0,6}){0,12}".prop_map(String::into_bytes),
        ],
    ) {
        let limits = Limits::new().max_message_size(5).max_batch_messages(6);
        let body = Bytes::from(body);
        if let Ok(messages) = decode(&body, &limits) {
            prop_assert!(messages.len() <= 6);
            prop_assert!(messages.iter().all(|message| message.len() <= 5));
            // Strict enough that there is one way to write a batch.
            let records: Vec<_> = messages.iter().map(record).collect();
            prop_assert_eq!(concat(&records), body);
        }
    }

    #[test]
    fn a_cut_batch_is_no_batch_or_fewer_messages(
        messages in vec(message(), 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let records: Vec<_> = messages.iter().map(record).collect();
        let body = concat(&records);
        let body = body.slice(..cut.index(body.len()));
        if let Ok(decoded) = decode(&body, &Limits::new()) {
            prop_assert!(decoded.len() < messages.len());
            prop_assert_eq!(&decoded[..], &messages[..decoded.len()]);
        }
    }
}
