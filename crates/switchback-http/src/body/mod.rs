use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::StatusCode;
use http_body::Body;

use crate::Refusal;

/// Reads the whole body of a request, at most `max` bytes, in at most `timeout`.
///
/// Memory grows with what arrives, not with what `Content-Length` announces.
///
/// # Errors
///
/// 413 `too_large` when the body is longer than `max`, or says before it is read that it will be;
/// 408 `timed_out`; 400 `bad_request` when the body is cut.
///
/// # Cancel safety
///
/// Not cancel safe: what was read is lost with the future.
pub async fn read_body<B: Body>(body: B, max: usize, timeout: Duration) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(timeout, collect(body, max)).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "timed_out",
            "the body did not arrive in time",
        )),
    }
}

async fn collect<B: Body>(body: B, max: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::too_large(format!("the body is longer than {max} bytes"));
    if usize::try_from(body.size_hint().lower()).map_or(true, |lower| lower > max) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(frame) = frame else {
            return Err(Refusal::bad_request("the body was cut"));
        };
        // What is not data is trailers, which mean nothing here.
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        let len = data.remaining();
        if len > max - whole.len() {
            return Err(too_large());
        }
        if whole.is_empty() && body.is_end_stream() {
            // The usual small body came in one piece, which needs no copy.
            return Ok(data.copy_to_bytes(len));
        }
        whole.put(data);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests;
