//! What a request asks for, and the answer (`docs/protocol.md`, 1).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use switchback_core::TransportKind;
use switchback_http::{Query, Refusal, headers};
use switchback_longpoll::PollResponse;
use switchback_session::Hello;

use super::Inner;
use crate::connection::{KeptHeaders, RequestInfo};
use crate::{Body, PeerAddr, Principal, list};

/// The subprotocol that sessions on WebSocket use.
const PROTOCOL: &str = "switchback";
const HELLO_PREFIX: &str = "switchback.";

/// What becomes of a request.
pub(super) enum Routed {
    Answered(Response<Body>),
    Poll(PollResponse),
    /// A POST, boxed: it is by far the largest, and keeps its request while the body comes.
    Post(Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>),
}

impl Routed {
    pub(super) async fn response(self) -> Response<Body> {
        match self {
            Self::Answered(response) => response,
            Self::Poll(poll) => poll.await.map(Body::from),
            Self::Post(post) => post.await.map(Body::from),
        }
    }
}

impl From<Response<Full<Bytes>>> for Routed {
    fn from(response: Response<Full<Bytes>>) -> Self {
        Self::Answered(response.map(Body::from))
    }
}

impl Inner {
    /// Does what a request asks for, but for what takes time. Most of the request is gone then: its
    /// headers would keep the server's buffer as long as a poll waits.
    pub(super) fn route<B>(self: &Arc<Self>, request: Request<B>) -> Routed
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.dispatch(request).unwrap_or_else(|refusal| {
            tracing::debug!(error = refusal.error(), %refusal, "request refused");
            refusal.into_response().into()
        })
    }

    fn dispatch<B>(self: &Arc<Self>, mut request: Request<B>) -> Result<Routed, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let kind = self.kind(&request)?;
        if !self.offers(kind) {
            return Err(unknown_transport("this transport is not offered here"));
        }
        match kind {
            TransportKind::WebSocket => self.open_websocket(&mut request).map(Routed::Answered),
            TransportKind::Sse => match *request.method() {
                Method::GET => self.open_sse(&request).map(Routed::Answered),
                Method::POST => {
                    let sse = self.sse.clone();
                    Ok(Routed::Post(Box::pin(
                        async move { sse.post(request).await },
                    )))
                }
                Method::DELETE => Ok(self.sse.delete(&request).into()),
                _ => Err(method_not_allowed()),
            },
            TransportKind::LongPoll => match *request.method() {
                Method::GET if request.headers().contains_key(headers::CONNECTION) => {
                    Ok(Routed::Poll(self.longpoll.poll(&request)))
                }
                Method::GET => self.open_longpoll(&request).map(Routed::Answered),
                Method::POST => {
                    let longpoll = self.longpoll.clone();
                    let post = async move { longpoll.post(request).await };
                    Ok(Routed::Post(Box::pin(post)))
                }
                Method::DELETE => Ok(self.longpoll.delete(&request).into()),
                _ => Err(method_not_allowed()),
            },
            _ => Err(unknown_transport("this transport is not offered here")),
        }
    }

    fn kind<B>(&self, request: &Request<B>) -> Result<TransportKind, Refusal> {
        // Whatever else is wrong with a handshake, the WebSocket transport has the better answer.
        if list::contains(request.headers(), &UPGRADE, "websocket") {
            return Ok(TransportKind::WebSocket);
        }
        if let Some(name) = Query::of(request.uri()).get("transport") {
            // A WebSocket is asked for by upgrading, above.
            let kind = name
                .parse()
                .ok()
                .filter(|kind| *kind != TransportKind::WebSocket);
            return kind.ok_or_else(|| {
                unknown_transport("the parameter transport must be sse or longpoll")
            });
        }
        if request.method() == Method::GET
            && list::contains(request.headers(), &ACCEPT, "text/event-stream")
        {
            return Ok(TransportKind::Sse);
        }
        Err(unknown_transport(
            "say which transport: upgrade to WebSocket, or add ?transport=sse or ?transport=longpoll",
        ))
    }

    fn open_websocket<B: Send + 'static>(
        self: &Arc<Self>,
        request: &mut Request<B>,
    ) -> Result<Response<Body>, Refusal> {
        let info = Arc::new(request_info(request));
        let hello = websocket_hello(request)?;
        self.admit(hello.as_ref(), &info)?;
        let config = match hello {
            Some(_) => self.websocket.clone().ping_interval(None),
            None => self.websocket.clone(),
        };
        let (response, upgrade) =
            switchback_ws::upgrade_with(request, &config, |offered| match hello {
                Some(_) => Some(PROTOCOL.to_owned()),
                None => {
                    let known = &self.config.protocols;
                    known
                        .iter()
                        .find(|protocol| offered.contains(&protocol.as_str()))
                        .cloned()
                }
            })?;
        let upgrade = upgrade.with_peer_addr(info.peer_addr);
        let endpoint = self.clone();
        // hyper gives the connection up only after this service has returned its response.
        tokio::spawn(async move {
            match upgrade.await {
                Ok(transport) => endpoint.admit_transport(hello, Box::new(transport), info),
                Err(error) => tracing::debug!(%error, "the upgrade to WebSocket failed"),
            }
        });
        Ok(response.map(|()| Body::empty()))
    }

    fn open_sse<B>(self: &Arc<Self>, request: &Request<B>) -> Result<Response<Body>, Refusal> {
        let hello = header_hello(request)?;
        let info = Arc::new(request_info(request));
        self.admit(hello.as_ref(), &info)?;
        let (response, mut transport) = self.sse.open(request)?;
        transport.set_peer_addr(info.peer_addr);
        self.admit_transport(hello, Box::new(transport), info);
        Ok(response.map(Body::from))
    }

    fn open_longpoll<B>(self: &Arc<Self>, request: &Request<B>) -> Result<Response<Body>, Refusal> {
        let hello = header_hello(request)?;
        let info = Arc::new(request_info(request));
        self.admit(hello.as_ref(), &info)?;
        let (opening, mut transport) = self.longpoll.open(request)?;
        transport.set_peer_addr(info.peer_addr);
        // The session puts its first frame into the transport now, so that it is in this response.
        self.admit_transport(hello, Box::new(transport), info);
        Ok(opening.into_response().map(Body::from))
    }

    /// Says no before anything is opened. A session that is here already may always have another
    /// transport.
    fn admit(&self, hello: Option<&Hello>, info: &RequestInfo) -> Result<(), Refusal> {
        if hello.is_none() && !self.config.plain_clients {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "bad_session",
                "only clients with the session protocol are served here",
            ));
        }
        let is_here = hello.is_some_and(|hello| self.sessions.knows(hello, info));
        if !is_here && self.is_full() {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "no new connections now, try again later",
            )
            .with_header(http::header::RETRY_AFTER, HeaderValue::from_static("5")));
        }
        Ok(())
    }
}

fn request_info<B>(request: &Request<B>) -> RequestInfo {
    let extensions = request.extensions();
    // What resumes the session is nobody's business but the endpoint's.
    let secret = [headers::SESSION, SEC_WEBSOCKET_PROTOCOL];
    let all = request.headers().iter();
    RequestInfo {
        // A copy of something valid is valid.
        uri: request.uri().to_string().try_into().unwrap_or_default(),
        headers: KeptHeaders::new(all.filter(|(name, _)| !secret.contains(name))),
        peer_addr: extensions.get::<PeerAddr>().map(|peer| peer.0),
        principal: extensions
            .get::<Principal>()
            .map(|principal| principal.0.clone()),
    }
}

/// The hello among the subprotocols that a client offers (3.2).
fn websocket_hello<B>(request: &Request<B>) -> Result<Option<Hello>, Refusal> {
    let offered = switchback_ws::offered_protocols(request);
    let hello = offered
        .iter()
        .find_map(|protocol| protocol.strip_prefix(HELLO_PREFIX));
    match (offered.contains(&PROTOCOL), hello) {
        (true, Some(hello)) => parse_hello(hello).map(Some),
        (false, None) => Ok(None),
        _ => Err(bad_session(
            "the subprotocol switchback and one with the hello belong together",
        )),
    }
}

/// The hello in the header of a request (3.2).
fn header_hello<B>(request: &Request<B>) -> Result<Option<Hello>, Refusal> {
    let Some(value) = request.headers().get(headers::SESSION) else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .map_err(|_| bad_session("the hello is not ASCII"))?;
    parse_hello(text).map(Some)
}

fn parse_hello(text: &str) -> Result<Hello, Refusal> {
    text.parse()
        .map_err(|error| bad_session(format!("{error}")))
}

fn bad_session(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_session", message)
        .with_header(headers::VERSION, HeaderValue::from_static("1"))
}

fn unknown_transport(message: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "unknown_transport", message)
}

fn method_not_allowed() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "use GET to open, POST to send, DELETE to close",
    )
    .with_header(ALLOW, HeaderValue::from_static("GET, POST, DELETE"))
}
