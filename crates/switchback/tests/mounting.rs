//! The endpoint mounts into bare hyper, hyper-util, axum and TLS, on HTTP/1.1 and HTTP/2.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use support::{echo, within};
use switchback::{Client, Config, Endpoint, PeerAddr, Principal, TlsAcceptor, TransportKind};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// An endpoint that echoes.
fn endpoint() -> Endpoint {
    let (endpoint, mut incoming) = Endpoint::new(Config::new());
    tokio::spawn(async move {
        while let Some(connection) = incoming.accept().await {
            tokio::spawn(echo(connection));
        }
    });
    endpoint
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Every transport says hello and hears it back.
async fn all_transports_echo(client: impl Fn(TransportKind) -> Client) {
    for kind in TransportKind::ALL {
        let connecting = client(kind);
        let mut connection = within("connect", connecting.connect()).await.unwrap();
        assert_eq!(connection.transport(), Some(kind));
        connection.send("hello").await.unwrap();
        let reply = within("an echo", connection.recv()).await.unwrap().unwrap();
        assert_eq!(reply.as_text(), Some("hello"), "{kind}");
    }
}

fn plain(addr: SocketAddr) -> impl Fn(TransportKind) -> Client {
    move |kind| {
        Client::new(&format!("http://{addr}/rt"))
            .unwrap()
            .transports([kind])
    }
}

#[tokio::test]
async fn bare_hyper() {
    let (listener, addr) = listener().await;
    let endpoint = endpoint();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let endpoint = endpoint.clone();
            let service = service_fn(move |mut request: Request<_>| {
                let endpoint = endpoint.clone();
                request.extensions_mut().insert(PeerAddr(peer));
                async move { Ok::<_, Infallible>(endpoint.handle(request).await) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    all_transports_echo(plain(addr)).await;
}

#[tokio::test]
async fn hyper_util_with_a_tower_service() {
    let (listener, addr) = listener().await;
    let endpoint = endpoint();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(endpoint.clone());
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    all_transports_echo(plain(addr)).await;
}

#[tokio::test]
async fn axum_beside_other_routes() {
    let (listener, addr) = listener().await;
    let app = axum::Router::new()
        .route("/", axum::routing::get(|| async { "home" }))
        .route("/rt", axum::routing::any_service(endpoint()));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    all_transports_echo(plain(addr)).await;
    let home = support::raw(addr, "GET / HTTP/1.1\nHost: x\nConnection: close\n\n").await;
    assert!(home.ends_with("home"), "{home}");
}

#[tokio::test]
async fn tls_on_both_ends() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = signed.cert.pem();
    let key = signed.signing_key.serialize_pem();
    let acceptor = TlsAcceptor::from_pem(pem.as_bytes(), key.as_bytes()).unwrap();
    let (listener, addr) = listener().await;
    let endpoint = endpoint();
    tokio::spawn(async move {
        switchback::serve_tls(listener, acceptor, endpoint)
            .await
            .unwrap();
    });
    // Those who do not speak TLS harm nobody, whether they say something or not.
    let _silent = TcpStream::connect(addr).await.unwrap();
    let mut stranger = TcpStream::connect(addr).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let port = addr.port();
    for scheme in ["https", "wss"] {
        let url = format!("{scheme}://localhost:{port}/rt");
        all_transports_echo(|kind| {
            let client = Client::new(&url).unwrap().transports([kind]);
            client.trust_pem(pem.as_bytes()).unwrap()
        })
        .await;
    }
    // Without the certificate nobody is trusted, and the error says so.
    let url = format!("https://localhost:{port}/rt");
    let error = within("refusal", switchback::connect(&url))
        .await
        .unwrap_err();
    assert_eq!(error.failures().len(), 3, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");

    assert!(TlsAcceptor::from_pem(b"", key.as_bytes()).is_err());
    assert!(TlsAcceptor::from_pem(pem.as_bytes(), b"nonsense").is_err());
}

/// Long-poll and event streams over one HTTP/2 connection, as a browser would.
#[tokio::test]
async fn http2_carries_event_streams_and_long_polls() {
    let (listener, addr) = listener().await;
    let endpoint = endpoint();
    tokio::spawn(async move { switchback::serve(listener, endpoint).await.unwrap() });
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = async |method: Method, target: &str, id: Option<&str>, body: &'static str| {
        let uri = format!("http://{addr}/rt?{target}");
        let mut builder = Request::builder().method(method).uri(uri);
        if let Some(id) = id {
            builder = builder.header("switchback-connection", id);
        }
        let request = builder.body(Full::<Bytes>::from(body)).unwrap();
        within("a response", sender.send_request(request))
            .await
            .unwrap()
    };

    let opened = request(Method::GET, "transport=longpoll", None, "").await;
    let id = opened.headers()["switchback-connection"]
        .to_str()
        .unwrap()
        .to_owned();
    let target = "transport=longpoll&first=1";
    let posted = request(Method::POST, target, Some(&id), "t5:hellob1:x").await;
    assert_eq!(posted.status(), 200);
    let target = "transport=longpoll&cursor=0";
    let polled = request(Method::GET, target, Some(&id), "").await;
    let batch = polled.into_body().collect().await.unwrap().to_bytes();
    assert!(batch.starts_with(b"t5:hello"), "{batch:?}");

    let stream = request(Method::GET, "transport=sse", None, "").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut body = stream.into_body();
    let mut text = String::new();
    while !text.contains("\"connection\":\"") || !text.ends_with("\n\n") {
        let frame = within("an event", body.frame()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    let id = text
        .split("\"connection\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    request(Method::POST, "transport=sse&first=1", Some(&id), "t5:hello").await;
    while !text.contains("data: hello\n\n") {
        let frame = within("an event", body.frame()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    // A WebSocket has no way over HTTP/2 without extended CONNECT, and says so.
    let refused = request(Method::GET, "transport=websocket", None, "").await;
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn a_session_belongs_to_the_principal_that_opened_it() {
    let (endpoint, mut incoming) = Endpoint::new(Config::new());
    let (listener, addr) = listener().await;
    let service = tower_service_with_principal(endpoint.clone());
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });

    let client = Client::new(&format!("http://{addr}/rt"))
        .unwrap()
        .header("x-user", "alice");
    let client = client.unwrap().transports([TransportKind::LongPoll]);
    let (connected, accepted) = tokio::join!(client.connect(), incoming.accept());
    let (_connected, accepted) = (connected.unwrap(), accepted.unwrap());
    assert_eq!(accepted.principal(), Some("alice"));

    // Mallory knows the public id and asks for a race with Alice.
    let hello = format!("1.new.{}.2.1", accepted.id());
    let request = format!(
        "GET /rt?transport=longpoll HTTP/1.1\nHost: x\nx-user: mallory\nSwitchback-Session: {hello}\nConnection: close\n\n"
    );
    let response = support::raw(addr, &request).await;
    assert!(!response.contains("opened"), "{response}");
    assert_eq!(endpoint.connections(), 1);
}

#[tokio::test]
async fn only_who_has_the_token_learns_whose_session_it_is() {
    let (endpoint, _incoming) = Endpoint::new(Config::new());
    let (listener, addr) = listener().await;
    let service = tower_service_with_principal(endpoint.clone());
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    let open = async |user: &str, hello: &str| {
        let request = format!(
            "GET /rt?transport=longpoll HTTP/1.1\nHost: x\nx-user: {user}\nSwitchback-Session: {hello}\nConnection: close\n\n"
        );
        support::raw(addr, &request).await
    };
    let id = "AAECAwQFBgcICQoLDA0ODw";
    let opened = open("alice", &format!("1.new.{id}.1.1")).await;
    let token = opened.split("\"token\":\"").nth(1).unwrap();
    let token = token.split('"').next().unwrap();
    let hello = format!("1.resume.{id}.{token}.2.2.0");
    let answer = open("mallory", &hello).await;
    assert!(answer.contains("\"why\":\"principal\""), "{answer}");
    assert!(!answer.contains(id), "{answer}");
    let guess = open("mallory", &format!("1.resume.{id}.{id}.2.2.0")).await;
    assert!(guess.contains("\"why\":\"unknown\""), "{guess}");
    // It has disturbed nobody.
    let resumed = open("alice", &hello).await;
    assert!(resumed.contains("\"resumed\":true"), "{resumed}");
}

/// What an authentication middleware does.
fn tower_service_with_principal(endpoint: Endpoint) -> axum::Router {
    let identify = |mut request: axum::extract::Request, next: axum::middleware::Next| async {
        let user = request
            .headers()
            .get("x-user")
            .and_then(|user| user.to_str().ok());
        if let Some(principal) = user.map(Principal::new) {
            request.extensions_mut().insert(principal);
        }
        next.run(request).await
    };
    axum::Router::new()
        .route("/rt", axum::routing::any_service(endpoint))
        .layer(axum::middleware::from_fn(identify))
}
