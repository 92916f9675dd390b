use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use switchback_core::{Error, ErrorKind};
use tokio::io::{AsyncRead, AsyncWrite};

/// Accepts TLS on a server, by rustls.
///
/// ```no_run
/// use switchback::TlsAcceptor;
///
/// async fn serve(endpoint: switchback::Endpoint) -> Result<(), Box<dyn std::error::Error>> {
///     let tls = TlsAcceptor::from_pem(&std::fs::read("cert.pem")?, &std::fs::read("key.pem")?)?;
///     let listener = tokio::net::TcpListener::bind("127.0.0.1:8443").await?;
///     switchback::serve_tls(listener, tls, endpoint).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct TlsAcceptor(tokio_rustls::TlsAcceptor);

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

impl TlsAcceptor {
    /// Makes an acceptor of a certificate chain and its private key, both in PEM. It offers HTTP/2 and
    /// HTTP/1.1.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`]: one of them is missing or malformed, or they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, Error> {
        let invalid = |what: &str| Error::with_message(ErrorKind::Invalid, what.to_owned());
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid("the certificates are not valid PEM").with_source(error))?;
        if chain.is_empty() {
            return Err(invalid("there is no certificate in the PEM data"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            invalid("there is no private key in the PEM data").with_source(error)
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("TLS cannot be set up").with_source(error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| {
                invalid("the certificate and the private key do not fit").with_source(error)
            })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config).into()))
    }

    /// Does the TLS handshake on a new connection, within 15 s.
    ///
    /// # Errors
    ///
    /// The handshake failed or took too long.
    pub async fn accept<I>(
        &self,
        io: I,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send,
    {
        tokio::time::timeout(HANDSHAKE_TIMEOUT, self.0.accept(io))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").finish_non_exhaustive()
    }
}
