use std::sync::{Arc, OnceLock};
use std::{fmt, io};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use switchback_core::{Error, ErrorKind};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Stream;

/// TLS by rustls, always with the provider *ring*: whichever others are in the build, and whatever
/// the process has set as its default.
#[derive(Clone)]
pub(super) struct Tls {
    /// `None`: the usual certificate authorities.
    config: Option<Arc<ClientConfig>>,
}

impl Tls {
    /// Trusts the usual certificate authorities.
    pub(super) fn usual() -> Self {
        Self { config: None }
    }

    /// Trusts the certificates in `pem` and no others.
    pub(super) fn trusting(pem: &[u8]) -> Result<Self, Error> {
        let invalid = |what: &str| Error::with_message(ErrorKind::Invalid, what);
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate
                .map_err(|error| invalid("the CA file is not PEM").with_source(error))?;
            roots.add(certificate).map_err(|error| {
                invalid("a certificate of the CA file is malformed").with_source(error)
            })?;
        }
        if roots.is_empty() {
            return Err(invalid("the CA file has no certificate in it"));
        }
        Ok(Self {
            config: Some(config(roots)?),
        })
    }

    /// Tells whether TLS is there at all.
    #[expect(clippy::unnecessary_wraps, reason = "its twin without TLS fails")]
    #[expect(clippy::unused_self, reason = "its twin without TLS fails")]
    pub(super) fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Shakes hands as the client of the server `host`.
    pub(super) async fn connect(&self, tcp: TcpStream, host: &str) -> Result<Stream, Error> {
        let config = match &self.config {
            Some(config) => Arc::clone(config),
            None => usual_config()?,
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| {
            Error::with_message(ErrorKind::Invalid, "the host of the URL is not a name")
                .with_source(error)
        })?;
        match TlsConnector::from(config).connect(name, tcp).await {
            Ok(stream) => Ok(Stream::tls(stream)),
            Err(error) => Err(explain(error, host)),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.config {
            Some(_) => "Tls(own authorities)",
            None => "Tls(usual authorities)",
        })
    }
}

/// The configuration with the usual authorities, made once.
fn usual_config() -> Result<Arc<ClientConfig>, Error> {
    static USUAL: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = USUAL.get() {
        return Ok(Arc::clone(config));
    }
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let config = config(roots)?;
    Ok(Arc::clone(USUAL.get_or_init(|| config)))
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Tls).with_source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // RFC 7301. HTTP/2 is not spoken here, WebSockets included.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Says what can be done about a failed handshake.
fn explain(error: io::Error, host: &str) -> Error {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let text = match cause {
        Some(rustls::Error::InvalidCertificate(error)) => distrust(error, host),
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("{host} does not speak TLS on this port: is it an http or ws URL?")
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("{host} refused the TLS handshake ({alert:?})")
        }
        Some(_) => format!("the TLS handshake with {host} failed"),
        // Not a matter of TLS but of the network, for all that is known.
        None => {
            let kind = Error::from(io::Error::from(error.kind())).kind();
            let text = format!("{host} cut the TLS handshake: does it speak TLS on this port?");
            return Error::with_message(kind, text).with_source(error);
        }
    };
    Error::with_message(ErrorKind::Tls, text).with_source(error)
}

fn distrust(error: &CertificateError, host: &str) -> String {
    let what = match error {
        CertificateError::UnknownIssuer => {
            "was issued by an authority that is not trusted here: give the authority's \
             certificate to `trust_pem` if it is your own"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another name"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired, or the clock of this machine is wrong"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet, or the clock of this machine is wrong"
        }
        _ => "is not acceptable",
    };
    format!("the certificate of {host} {what}")
}
