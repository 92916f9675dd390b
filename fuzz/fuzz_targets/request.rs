//! The head of a request: query parameters, ids, and the WebSocket handshake.
#![no_main]

use http::{HeaderValue, Request, Uri};
use libfuzzer_sys::fuzz_target;
use switchback_http::{ConnectionId, Query, Url};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(uri) = text.parse::<Uri>() {
        let query = Query::of(&uri);
        let _ = (query.get("transport"), query.number("cursor"));
    }
    if let Ok(url) = text.parse::<Url>() {
        let _ = url.with_query(&[("reason", text)]);
    }
    if let Ok(id) = text.parse::<ConnectionId>() {
        assert_eq!(id.to_string().parse::<ConnectionId>().ok(), Some(id));
    }
    let mut request = Request::new(());
    let names = [
        "upgrade",
        "connection",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "host",
    ];
    for (name, value) in names.into_iter().zip(data.split(|byte| *byte == b'\n')) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            request.headers_mut().append(name, value);
        }
    }
    let version = HeaderValue::from_static("13");
    request
        .headers_mut()
        .insert("sec-websocket-version", version);
    let _ = switchback_ws::upgrade(&mut request, &switchback_ws::Config::new());
    let _ = switchback_ws::offered_protocols(&request);
});
