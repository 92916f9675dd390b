//! Finds the heads of HTTP/1 requests in what a client sends. No I/O, and no judgement: what is
//! not understood is passed on unseen.

use crate::rule::RequestHead;

/// The longest head that is looked at.
const MAX_HEAD: usize = 64 * 1024;

/// What a client has sent so far, as a position in HTTP/1 (RFC 9112).
#[derive(Debug)]
pub(crate) struct Requests {
    state: State,
    /// The bytes of the current head, or line of a chunked body, so far.
    held: Vec<u8>,
    /// How many of them were passed on before the head was complete.
    passed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of a body are to come.
    Body(u64),
    /// A chunked body (RFC 9112, 7.1): the line with the size of a chunk.
    ChunkSize,
    /// The bytes of a chunk with the line end that follows them.
    Chunk(u64),
    /// Trailers, to the empty line.
    Trailer,
    /// Not HTTP, or no longer: pass everything on.
    Opaque,
}

/// A part of what a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A complete head. `bytes` is what of it was not passed on before, `whole` if that is all.
    Head {
        head: RequestHead,
        bytes: Vec<u8>,
        whole: bool,
    },
    /// Anything else.
    Other(Vec<u8>),
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Head,
            held: Vec::new(),
            passed: 0,
        }
    }

    /// Takes the next part off `input`. `None`: all was taken, and what is missing from it is the
    /// beginning of a head.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Option<Part> {
        if input.is_empty() {
            return None;
        }
        match self.state {
            State::Opaque => Some(Part::Other(take(input, u64::MAX))),
            State::Head => self.head(input),
            State::Body(length) => {
                let bytes = take(input, length);
                self.state = after(length, &bytes, State::Body, State::Head);
                Some(Part::Other(bytes))
            }
            State::Chunk(length) => {
                let bytes = take(input, length);
                self.state = after(length, &bytes, State::Chunk, State::ChunkSize);
                Some(Part::Other(bytes))
            }
            State::ChunkSize | State::Trailer => {
                let (bytes, complete) = line(input);
                self.held.extend_from_slice(&bytes);
                if complete {
                    self.state = self.after_line();
                    self.held.clear();
                } else if self.held.len() > MAX_HEAD {
                    self.state = State::Opaque;
                }
                Some(Part::Other(bytes))
            }
        }
    }

    /// Lets go of the beginning of a head: from now on it cannot be kept from the server.
    pub(crate) fn let_go(&mut self) -> Vec<u8> {
        if self.state != State::Head {
            return Vec::new();
        }
        let bytes = self.held[self.passed..].to_vec();
        self.passed = self.held.len();
        bytes
    }

    /// Says that a request for an upgrade was passed on without it.
    pub(crate) fn no_upgrade(&mut self) {
        self.state = State::Head;
    }

    fn head(&mut self, input: &mut &[u8]) -> Option<Part> {
        while !input.is_empty() {
            let (bytes, complete) = line(input);
            self.held.extend_from_slice(&bytes);
            // Empty lines before a request line are ignored (RFC 9112, 2.2).
            let blank = |&byte: &u8| matches!(byte, b'\r' | b'\n');
            let begin = self.held.iter().position(|byte| !blank(byte));
            let over = self.held.ends_with(b"\n\r\n") || self.held.ends_with(b"\n\n");
            if begin.is_some() && complete && over {
                return Some(self.complete());
            }
            let alien = begin.is_some_and(|begin| !may_be_http(&self.held[begin..]));
            if alien || self.held.len() > MAX_HEAD {
                return Some(self.give_up());
            }
        }
        None
    }

    fn complete(&mut self) -> Part {
        let Some(head) = parse(&self.held) else {
            return self.give_up();
        };
        self.state = if head.method == "CONNECT" || head.lists("connection", "upgrade") {
            State::Opaque
        } else if head.lists("transfer-encoding", "chunked") {
            State::ChunkSize
        } else {
            match head.header("content-length").map(|n| n.trim().parse()) {
                None | Some(Ok(0)) => State::Head,
                Some(Ok(length)) => State::Body(length),
                Some(Err(_)) => State::Opaque,
            }
        };
        let held = std::mem::take(&mut self.held);
        let passed = std::mem::take(&mut self.passed);
        Part::Head {
            head,
            bytes: held[passed..].to_vec(),
            whole: passed == 0,
        }
    }

    fn give_up(&mut self) -> Part {
        let bytes = self.held[self.passed..].to_vec();
        self.state = State::Opaque;
        self.held = Vec::new();
        Part::Other(bytes)
    }

    /// The state after a complete line of a chunked body.
    fn after_line(&self) -> State {
        let text = String::from_utf8_lossy(&self.held);
        let text = text.trim();
        if self.state == State::Trailer {
            return if text.is_empty() {
                State::Head
            } else {
                State::Trailer
            };
        }
        let size = text.split(';').next().unwrap_or_default().trim();
        match u64::from_str_radix(size, 16) {
            Ok(0) => State::Trailer,
            // The line end after the chunk is counted with it.
            Ok(size) => State::Chunk(size.saturating_add(2)),
            Err(_) => State::Opaque,
        }
    }
}

/// Removes what asks for an upgrade from a head.
pub(crate) fn without_upgrade(head: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(head.len());
    for line in head.split_inclusive(|&byte| byte == b'\n') {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let asks = matches!(&*name, "upgrade" | "connection" | "http2-settings");
        if !asks && !name.starts_with("sec-websocket-") {
            kept.extend_from_slice(line);
        }
    }
    kept
}

fn parse(head: &[u8]) -> Option<RequestHead> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines().skip_while(|line| line.is_empty());
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if !version.starts_with("HTTP/1.") || words.next().is_some() {
        return None;
    }
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    Some(RequestHead {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
    })
}

/// A request begins with a method: letters and a space. TLS and all that is binary does not.
fn may_be_http(begin: &[u8]) -> bool {
    const LONGEST: usize = 32;
    let method = begin.split(|&byte| byte == b' ').next().unwrap_or_default();
    method.len() <= LONGEST && method.iter().all(u8::is_ascii_uppercase)
}

/// Takes up to `limit` bytes off the input.
fn take(input: &mut &[u8], limit: u64) -> Vec<u8> {
    let length = usize::try_from(limit).map_or(input.len(), |limit| limit.min(input.len()));
    let (bytes, rest) = input.split_at(length);
    *input = rest;
    bytes.to_vec()
}

/// Takes a line with its end off the input, or as much as there is.
fn line(input: &mut &[u8]) -> (Vec<u8>, bool) {
    match input.iter().position(|&byte| byte == b'\n') {
        Some(end) => (take(input, end as u64 + 1), true),
        None => (take(input, u64::MAX), false),
    }
}

/// The state after a part of `length` bytes of which `bytes` have come.
fn after(length: u64, bytes: &[u8], rest: impl Fn(u64) -> State, done: State) -> State {
    match length.saturating_sub(bytes.len() as u64) {
        0 => done,
        left => rest(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\r\nGET /a?b HTTP/1.1\r\nHost: x\r\nAccept: y\r\n\r\n\
        POST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /\
        POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\na\r\nb\r\n\
        0a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n\
        GET /d HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n\
        GET /e HTTP/1.1\r\n\r\n";

    /// Feeds the stream in pieces and returns the targets found and all bytes passed on.
    fn scan(stream: &[u8], piece: usize, let_go: bool) -> (Vec<String>, Vec<u8>) {
        let mut requests = Requests::new();
        let (mut targets, mut passed) = (Vec::new(), Vec::new());
        for mut piece in stream.chunks(piece) {
            while let Some(part) = requests.next(&mut piece) {
                match part {
                    Part::Head { head, bytes, whole } => {
                        assert!(whole || let_go);
                        targets.push(head.target);
                        passed.extend(bytes);
                    }
                    Part::Other(bytes) => passed.extend(bytes),
                }
            }
            if let_go {
                passed.extend(requests.let_go());
            }
        }
        passed.extend(requests.let_go());
        (targets, passed)
    }

    #[test]
    fn finds_every_request_and_passes_every_byte_whatever_the_pieces() {
        for piece in 1..STREAM.len() {
            for let_go in [false, true] {
                let (targets, passed) = scan(STREAM.as_bytes(), piece, let_go);
                assert_eq!(targets, ["/a?b", "/b", "/c", "/d"], "in pieces of {piece}");
                assert_eq!(passed, STREAM.as_bytes(), "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn passes_what_is_not_http() {
        for stream in [
            &b"\x16\x03\x01\x02\x00GET / HTTP/1.1\r\n\r\n"[..],
            b"SSH-2.0-x\r\nGET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        ] {
            for piece in 1..stream.len() {
                let (_, passed) = scan(stream, piece, false);
                assert_eq!(passed, stream);
            }
        }
    }

    #[test]
    fn gives_up_on_an_endless_head() {
        const HEADER: &str = "X-Header: value\r\n";
        let mut requests = Requests::new();
        let mut passed = 0;
        for line in std::iter::once("GET / HTTP/1.1\r\n").chain([HEADER; 10_000]) {
            let mut input = line.as_bytes();
            while let Some(part) = requests.next(&mut input) {
                let Part::Other(bytes) = part else {
                    panic!("no head can be complete");
                };
                passed += bytes.len();
            }
            assert!(requests.held.len() <= MAX_HEAD);
        }
        assert_eq!(passed, 16 + 10_000 * HEADER.len());
    }

    #[test]
    fn strips_the_upgrade() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\nUPGRADE: websocket\r\nconnection: Upgrade\r\n\
            Sec-WebSocket-Key: k\r\nOrigin: y\r\n\r\n";
        assert_eq!(
            without_upgrade(head),
            b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: y\r\n\r\n"
        );
    }
}
