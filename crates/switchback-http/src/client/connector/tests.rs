use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testing::{accept, listen, within};

async fn connect(connector: &Connector, url: &Url) -> Error {
    let connected = within(connector.connect(url)).await;
    connected.expect_err("connected")
}

#[tokio::test]
async fn connects_by_tcp() {
    let (listener, url) = listen("ws").await;
    let connector = Connector::new();
    let (mut peer, stream) = tokio::join!(accept(&listener), connector.connect(&url));
    let mut stream = stream.unwrap();
    assert_eq!(stream.peer_addr(), Some(listener.local_addr().unwrap()));
    stream.write_all(b"ab").await.unwrap();
    let mut read = [0; 2];
    within(peer.0.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"ab");
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn without_tls_the_feature_is_named() {
    let (_listener, url) = listen("https").await;
    let error = connect(&Connector::new(), &url).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("feature `tls`"), "{error}");
    assert!(Connector::new().trust_pem(b"").is_err());
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::testing::Peer;

    /// An authority, and a server with a certificate of its for `name`.
    struct Authority {
        pem: String,
        acceptor: TlsAcceptor,
    }

    impl Authority {
        fn new(name: &str) -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let pem = params.self_signed(&key).unwrap().pem();
            let issuer = Issuer::new(params, key);

            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::Pkcs8(key.serialize_der().into()),
                )
                .unwrap();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            let acceptor = TlsAcceptor::from(Arc::new(config));
            Self { pem, acceptor }
        }
    }

    #[tokio::test]
    async fn trusts_a_given_authority() {
        let authority = Authority::new("127.0.0.1");
        let (listener, url) = listen("https").await;
        let serve = async {
            let accepted = authority.acceptor.accept(accept(&listener).await.0);
            let stream = within(accepted).await.unwrap();
            let alpn = stream.get_ref().1.alpn_protocol();
            assert_eq!(alpn, Some(&b"http/1.1"[..]));
            let mut peer = Peer(stream);
            assert_eq!(peer.request().await.unwrap().line, "GET /rt");
            peer.answer("200 OK", "secret").await;
            peer
        };
        let connector = Connector::new().trust_pem(authority.pem.as_bytes());
        let mut lane = crate::Lane::new(connector.unwrap(), url);
        lane.start(
            http::Method::GET,
            "/rt",
            http::HeaderMap::new(),
            bytes::Bytes::new(),
        );
        let whole = std::future::poll_fn(|cx| lane.poll_whole(cx, 100));
        let (_peer, response) = tokio::join!(serve, within(whole));
        assert_eq!(response.unwrap().body(), "secret");
        assert_eq!(lane.peer_addr(), Some(listener.local_addr().unwrap()));
    }

    /// What a client with `connector` says of a server with this certificate.
    async fn refused(authority: &Authority, connector: Connector) -> Error {
        let (listener, url) = listen("wss").await;
        let serve = async {
            let accepted = authority.acceptor.accept(accept(&listener).await.0);
            within(accepted).await.is_err()
        };
        let (_, error) = tokio::join!(serve, connect(&connector, &url));
        assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
        error
    }

    #[tokio::test]
    async fn trusts_no_other() {
        let authority = Authority::new("127.0.0.1");
        let error = refused(&authority, Connector::new()).await;
        assert!(error.to_string().contains("trust_pem"), "{error}");

        let other = Authority::new("127.0.0.1");
        let connector = Connector::new().trust_pem(other.pem.as_bytes()).unwrap();
        refused(&authority, connector).await;
    }

    #[tokio::test]
    async fn wants_the_right_name() {
        let authority = Authority::new("example.org");
        let connector = Connector::new().trust_pem(authority.pem.as_bytes());
        let error = refused(&authority, connector.unwrap()).await;
        assert!(error.to_string().contains("another name"), "{error}");
    }

    #[tokio::test]
    async fn says_that_the_server_speaks_no_tls() {
        let (listener, url) = listen("https").await;
        let serve = async {
            let mut peer = accept(&listener).await;
            peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
            peer
        };
        let connector = Connector::new();
        let (_peer, error) = tokio::join!(serve, connect(&connector, &url));
        assert_eq!(error.kind(), ErrorKind::Tls);
        assert!(error.to_string().contains("does not speak TLS"), "{error}");

        let (listener, url) = listen("https").await;
        let serve = async { drop(accept(&listener).await) };
        let ((), error) = tokio::join!(serve, connect(&connector, &url));
        assert_eq!(error.kind(), ErrorKind::Reset);
    }

    #[tokio::test]
    async fn the_timeout_covers_tls() {
        let (listener, url) = listen("https").await;
        let timeout = Duration::from_millis(1);
        let connector = Connector::new().connect_timeout(timeout);
        let error = connect(&connector, &url).await;
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(listener);
    }

    #[test]
    fn refuses_files_without_certificates() {
        for pem in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            let error = Connector::new().trust_pem(pem.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{pem}");
        }
    }
}
