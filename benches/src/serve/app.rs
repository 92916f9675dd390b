//! Which path does what.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Bytes, Incoming};
use switchback::{Body, Config, Endpoint, Limits};
use switchback_longpoll::LongPollServer;
use switchback_sse::{EventBody, EventStream};
use switchback_ws::{Upgrade, WebSocket};
use tower_service::Service;

use super::room::Room;
use super::{echo, member, publish};

/// The largest message, so that echoes of 64 KiB and more can be measured.
const MAX_MESSAGE: usize = 1 << 20;
/// More connections than a process has file descriptors.
const MAX_CONNECTIONS: usize = 1_000_000;

pub(super) type Answer = Response<Either<Body, EventBody>>;

#[derive(Clone)]
pub(super) struct App(Arc<Inner>);

struct Inner {
    room: Arc<Room>,
    echo: Endpoint,
    members: Endpoint,
    polls: LongPollServer,
    websocket: switchback_ws::Config,
}

/// What both endpoints are set up with: the defaults, but for the sizes.
pub(super) fn endpoint_config() -> Config {
    Config::new().limits(limits()).backlog(MAX_CONNECTIONS)
}

fn limits() -> Limits {
    Limits::new().max_message_size(MAX_MESSAGE)
}

impl App {
    pub(super) fn new(room: Arc<Room>, echo: Endpoint, members: Endpoint) -> Self {
        let polls = switchback_longpoll::ServerConfig::new()
            .limits(limits())
            .max_connections(MAX_CONNECTIONS);
        Self(Arc::new(Inner {
            room,
            echo,
            members,
            polls: LongPollServer::new(polls),
            websocket: switchback_ws::Config::new().limits(limits()),
        }))
    }
}

impl Inner {
    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Answer, Infallible> {
        Ok(match request.uri().path() {
            "/ws/echo" => self.websocket(&mut request, echo::websocket),
            "/ws/room" => {
                let room = Arc::clone(&self.room);
                self.websocket(&mut request, move |socket| member::run(socket, room))
            }
            "/ws/publish" => {
                let room = Arc::clone(&self.room);
                self.websocket(&mut request, move |socket| publish::run(socket, room))
            }
            "/rt" => self.echo.handle(request).await.map(Either::Left),
            "/rt/room" => self.members.handle(request).await.map(Either::Left),
            "/sse/room" => {
                let (response, events) = EventStream::new().channel();
                self.room.join_events(events);
                response.map(Either::Right)
            }
            "/poll/room" => {
                let room = Arc::clone(&self.room);
                let accept = |transport| {
                    tokio::spawn(member::run(transport, Arc::clone(&room)));
                };
                let response = self.polls.handle(request, accept).await;
                response.map(|body| Either::Left(body.into()))
            }
            "/publish" if request.method() == Method::POST => self.publish(request).await,
            "/stats" => text(StatusCode::OK, self.stats()),
            _ => text(
                StatusCode::NOT_FOUND,
                "see switchback-bench serve --help\n".to_owned(),
            ),
        })
    }

    fn websocket<F>(
        &self,
        request: &mut Request<Incoming>,
        run: impl FnOnce(WebSocket) -> F + Send + 'static,
    ) -> Answer
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match switchback_ws::upgrade(request, &self.websocket) {
            Ok((response, upgrade)) => {
                tokio::spawn(upgraded(upgrade, run));
                response.map(|()| Either::Left(Body::empty()))
            }
            Err(refusal) => refusal
                .into_response()
                .map(|body| Either::Left(body.into())),
        }
    }

    async fn publish(&self, request: Request<Incoming>) -> Answer {
        let body = match request.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        let reached = self.room.publish(publish::message(body));
        text(StatusCode::OK, reached.to_string())
    }

    fn stats(&self) -> String {
        serde_json::json!({
            "pid": std::process::id(),
            "members": self.room.len(),
            "dropped": self.room.dropped(),
            "echo_connections": self.echo.connections(),
            "room_connections": self.members.connections(),
            "poll_connections": self.polls.connections(),
        })
        .to_string()
    }
}

async fn upgraded<F>(upgrade: Upgrade, run: impl FnOnce(WebSocket) -> F)
where
    F: Future<Output = ()>,
{
    if let Ok(socket) = upgrade.await {
        run(socket).await;
    }
}

fn text(status: StatusCode, text: String) -> Answer {
    let body = Body::from(Full::new(Bytes::from(text)));
    let mut response = Response::new(Either::Left(body));
    *response.status_mut() = status;
    response
}

impl Service<Request<Incoming>> for App {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(Arc::clone(&self.0).answer(request))
    }
}
