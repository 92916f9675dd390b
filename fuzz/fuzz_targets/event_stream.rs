//! An event stream, in two chunkings that must give the same events.
#![no_main]

use libfuzzer_sys::fuzz_target;
use switchback_sse::Parser;

fn parse<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, String) {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    for chunk in chunks {
        parser.push(chunk.to_vec());
        while let Ok(Some(event)) = parser.next_event() {
            events.push(format!("{event:?}"));
        }
    }
    (events, parser.last_event_id().to_owned())
}

fuzz_target!(|data: &[u8]| {
    let Some((size, stream)) = data.split_first() else {
        return;
    };
    let size = usize::from(*size % 16) + 1;
    assert_eq!(parse(std::iter::once(stream)), parse(stream.chunks(size)));
});
