//! Responses of HTTP/1.1 (RFC 9112), as far as servers that are measured use it.

use super::Fault;

/// The longest head that is waited for.
const MAX_HEAD: usize = 16 * 1024;

/// The head of a response.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) status: u16,
    text: &'a str,
    pub(super) len: usize,
}

impl<'a> Head<'a> {
    /// `None`: not all of it is here.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Option<Self>, Fault> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            if bytes.len() > MAX_HEAD {
                return Err(Fault::Protocol("a head without end".into()));
            }
            return Ok(None);
        };
        let bad = || Fault::Protocol(format!("not HTTP: {:?}", &bytes[..end.min(80)]));
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| bad())?;
        let status = text
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|status| status.parse().ok())
            .ok_or_else(bad)?;
        Ok(Some(Self {
            status,
            text,
            len: end + 4,
        }))
    }

    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        self.text.split("\r\n").skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn expect(&self, status: u16) -> Result<(), Fault> {
        if self.status == status {
            return Ok(());
        }
        Err(Fault::Protocol(format!("the server said {}", self.text)))
    }

    pub(super) fn body(&self) -> BodyKind {
        let chunked = self
            .header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        match self.header("content-length") {
            _ if chunked => BodyKind::Chunked,
            Some(length) => BodyKind::Length(length.parse().unwrap_or(0)),
            None if matches!(self.status, 204 | 304) => BodyKind::Length(0),
            None => BodyKind::UntilEnd,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    Length(usize),
    Chunked,
    UntilEnd,
}

/// Takes the body of a response apart, however it is cut.
#[derive(Debug)]
pub(super) enum Decoder {
    /// So many bytes are to come.
    Length(usize),
    /// The size of a chunk is to come.
    ChunkSize,
    /// So many bytes of a chunk are to come, and its line end.
    Chunk(usize),
    /// The empty line behind the last chunk is to come.
    Trailer,
    UntilEnd,
    Done,
}

impl Decoder {
    pub(super) fn new(kind: BodyKind) -> Self {
        match kind {
            BodyKind::Length(0) => Self::Done,
            BodyKind::Length(length) => Self::Length(length),
            BodyKind::Chunked => Self::ChunkSize,
            BodyKind::UntilEnd => Self::UntilEnd,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Appends what is body to `body`, and returns how many bytes were used.
    pub(super) fn decode(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, Fault> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self {
                Self::Done => return Ok(used),
                Self::UntilEnd => {
                    body.extend_from_slice(rest);
                    return Ok(bytes.len());
                }
                Self::Length(left) | Self::Chunk(left) if *left > 0 => {
                    let part = (*left).min(rest.len());
                    if part == 0 {
                        return Ok(used);
                    }
                    body.extend_from_slice(&rest[..part]);
                    used += part;
                    *left -= part;
                }
                Self::Length(_) => *self = Self::Done,
                Self::Chunk(_) => {
                    if rest.len() < 2 {
                        return Ok(used);
                    }
                    used += 2;
                    *self = Self::ChunkSize;
                }
                Self::ChunkSize => {
                    let Some(line) = line(rest) else {
                        return Ok(used);
                    };
                    used += line.len() + 2;
                    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                    let size = std::str::from_utf8(digits)
                        .ok()
                        .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok())
                        .ok_or_else(|| Fault::Protocol("a chunk without size".into()))?;
                    *self = match size {
                        0 => Self::Trailer,
                        size => Self::Chunk(size),
                    };
                }
                Self::Trailer => {
                    let Some(line) = line(rest) else {
                        return Ok(used);
                    };
                    used += line.len() + 2;
                    if line.is_empty() {
                        *self = Self::Done;
                    }
                }
            }
        }
    }
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', bytes)?;
    Some(bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]))
        .filter(|line| line.len() + 1 == end)
}

/// Status and body.
pub(super) type Response = (u16, Vec<u8>);

/// Collects whole responses.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    decoder: Option<Decoder>,
    status: u16,
    body: Vec<u8>,
}

impl Exchange {
    /// Takes bytes of a response, and returns how many were used, and the response when it is
    /// complete. `on_head` sees the head.
    pub(super) fn parse(
        &mut self,
        bytes: &[u8],
        on_head: impl FnOnce(&Head<'_>),
    ) -> Result<(usize, Option<Response>), Fault> {
        let mut used = 0;
        if self.decoder.is_none() {
            let Some(head) = Head::parse(bytes)? else {
                return Ok((0, None));
            };
            on_head(&head);
            used = head.len;
            self.status = head.status;
            self.decoder = Some(Decoder::new(head.body()));
        }
        let Some(decoder) = &mut self.decoder else {
            return Ok((used, None));
        };
        used += decoder.decode(&bytes[used..], &mut self.body)?;
        if !decoder.is_done() {
            return Ok((used, None));
        }
        self.decoder = None;
        Ok((used, Some((self.status, std::mem::take(&mut self.body)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_a_chunked_body_however_it_is_cut() {
        let wire = b"5\r\nhello\r\n1;x=y\r\n,\r\n10\r\n0123456789abcdef\r\n0\r\n\r\nnext";
        for cut in 0..wire.len() {
            let mut decoder = Decoder::new(BodyKind::Chunked);
            let mut body = Vec::new();
            let used = decoder.decode(&wire[..cut], &mut body).unwrap();
            let more = decoder.decode(&wire[used..], &mut body).unwrap();
            assert_eq!(body, b"hello,0123456789abcdef", "cut at {cut}");
            assert!(decoder.is_done());
            assert_eq!(&wire[used + more..], b"next");
        }
    }

    #[test]
    fn collects_responses() {
        let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nokHTTP/1.1 204 No Content\r\n\r\n";
        let mut exchange = Exchange::default();
        let mut header = None;
        let (used, done) = exchange
            .parse(wire, |head| header = head.header("x").map(str::to_owned))
            .unwrap();
        assert_eq!(done, Some((200, b"ok".to_vec())));
        assert_eq!(header.as_deref(), Some("y"));
        let (_, done) = exchange.parse(&wire[used..], |_| ()).unwrap();
        assert_eq!(done, Some((204, Vec::new())));
        assert!(exchange.parse(b"SSH-2.0\r\n\r\n", |_| ()).is_err());
    }
}
