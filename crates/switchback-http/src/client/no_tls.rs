//! What is in place of TLS in a build without the feature `tls`.

use switchback_core::{Error, ErrorKind};
use tokio::net::TcpStream;

use super::Stream;

#[derive(Clone, Debug)]
pub(super) struct Tls;

impl Tls {
    pub(super) fn usual() -> Self {
        Self
    }

    pub(super) fn trusting(_pem: &[u8]) -> Result<Self, Error> {
        Err(unsupported())
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        Err(unsupported())
    }

    pub(super) async fn connect(&self, _tcp: TcpStream, _host: &str) -> Result<Stream, Error> {
        Err(unsupported())
    }
}

fn unsupported() -> Error {
    Error::with_message(
        ErrorKind::Unsupported,
        "https and wss need the cargo feature `tls`, which this build is without",
    )
}
