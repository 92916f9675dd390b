mod spare;

use std::time::Duration;

use switchback_core::{Error, ErrorKind};
use tokio::net::TcpStream;

use self::spare::Spares;
use super::tls::Tls;
use super::{Stream, Url};

/// Opens byte streams to servers: TCP, and TLS where the URL asks for it.
///
/// Trusts the certificate authorities of Mozilla (`webpki-roots`) unless told otherwise. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Connector {
    tls: Tls,
    connect_timeout: Duration,
    spares: Spares,
}

impl Connector {
    /// Makes a connector with the usual certificate authorities and a timeout of 10 s.
    pub fn new() -> Self {
        Self {
            tls: Tls::usual(),
            connect_timeout: Duration::from_secs(10),
            spares: Spares::default(),
        }
    }

    /// Trusts the certificates in this PEM file, and no others.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when there is no certificate in it or a malformed one,
    /// [`ErrorKind::Unsupported`] without the feature `tls`.
    pub fn trust_pem(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.tls = Tls::trusting(pem)?;
        Ok(self)
    }

    /// Sets how long [`connect`](Self::connect) may take, name resolution and TLS included.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connects to the host of a URL. Of several addresses the first that answers is taken.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`]; [`ErrorKind::Refused`] when nobody listens there;
    /// [`ErrorKind::Io`] when the name is unknown or the network is down; [`ErrorKind::Tls`] when
    /// the certificate is not trusted or the server does not speak TLS;
    /// [`ErrorKind::Unsupported`] for TLS without the feature `tls`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the attempt up.
    pub async fn connect(&self, url: &Url) -> Result<Stream, Error> {
        match tokio::time::timeout(self.connect_timeout, self.open(url)).await {
            Ok(opened) => opened,
            Err(_) => Err(Error::with_message(
                ErrorKind::TimedOut,
                format!(
                    "could not connect to {} within {:?}",
                    url.authority(),
                    self.connect_timeout
                ),
            )),
        }
    }

    /// Takes a connection back on which an HTTP exchange is over and which the server keeps open.
    /// A [`Lane`](crate::Lane) to the same server that is opened within 3 s uses it.
    pub fn put_back(&self, url: &Url, stream: Stream) {
        self.spares.put(url, stream);
    }

    /// Like [`connect`](Self::connect), or a connection that was [put back](Self::put_back), if
    /// there is one. The server may have closed that meanwhile.
    pub(crate) async fn connect_or_reuse(&self, url: &Url) -> Result<Stream, Error> {
        match self.spares.take(url) {
            Some(stream) => Ok(stream),
            None => self.connect(url).await,
        }
    }

    async fn open(&self, url: &Url) -> Result<Stream, Error> {
        if url.is_secure() {
            // Before anything is opened: this may be a build without TLS.
            self.tls.check()?;
        }
        let tcp = tcp(url).await.map_err(|error| {
            let text = format!("could not connect to {}", url.authority());
            let kind = Error::from(std::io::Error::from(error.kind())).kind();
            Error::with_message(kind, text).with_source(error)
        })?;
        if url.is_secure() {
            self.tls.connect(tcp, url.host()).await
        } else {
            Ok(Stream::tcp(tcp))
        }
    }
}

async fn tcp(url: &Url) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((url.host(), url.port())).await?;
    // Messages are small and must not wait for each other's acknowledgement (Nagle).
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
