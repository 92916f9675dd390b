//! hyper, for as long as it works on requests.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION};
use http::{Method, Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper::rt::{Sleep, Timer};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::BoxError;
use super::connection::HEAD_TIMEOUT;
use super::deadline::Deadline;
use super::lent::Lent;
use super::places::Places;
use crate::list;

/// The future of a response.
pub(super) type Responding<S> = TowerToHyperServiceFuture<S, Request<Incoming>>;

/// How long hyper waits on a connection with quick requests before it is dismissed: the next need not
/// build it anew.
pub(super) const QUIET: Duration = Duration::from_millis(250);

/// The connections that may have a hyper that waits: 3 MiB. A crowd would be gigabytes.
static KEPT: Places = Places::new(128);

/// A connection that hyper has nothing to do for.
pub(super) struct Paused<I, F> {
    pub(super) io: I,
    /// The beginning of the next request.
    pub(super) unread: Bytes,
    /// What the client waits for, if for anything.
    pub(super) response: Option<Pin<Box<F>>>,
}

/// Lets hyper work until it waits: for another request, or for the response to one that may take
/// long. `None`: the connection is closed, or upgraded and in other hands.
///
/// With `keep` it may wait for a moment before it is dismissed.
pub(super) async fn exchange<I, S, B>(
    io: Lent<I>,
    service: S,
    keep: bool,
    deadline: &mut Deadline,
) -> Result<Option<Paused<I, Responding<S>>>, BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let progress = Arc::new(Progress::default());
    let unflushed = io.unflushed();
    let requests = Requests {
        service: TowerToHyperService::new(service),
        progress: progress.clone(),
    };
    let connection = http1::Builder::new()
        .timer(HeadWait(progress.clone()))
        // This only has to be something: the deadline below is the one that counts.
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(io), requests)
        .with_upgrades();
    // In a box of its own, which is gone when hyper is.
    let mut connection = Box::new(connection);
    let mut seen = 0;
    let mut kept = None;
    let over = poll_fn(|cx| {
        if let Poll::Ready(over) = Pin::new(&mut *connection).poll(cx) {
            return Poll::Ready(over.map(|()| true).map_err(BoxError::from));
        }
        let state = progress.lock();
        if state.requests != seen {
            seen = state.requests;
            deadline.lift();
        }
        let waits = state.waits && state.requests > 0 || state.response.is_some();
        if waits && !unflushed.load(Ordering::Relaxed) {
            if keep && kept.is_none() {
                kept = KEPT.take();
            }
            if state.for_long || kept.is_none() {
                return Poll::Ready(Ok(false));
            }
            deadline.set_once(QUIET);
            deadline.poll(cx).map(|()| Ok(false))
        } else if state.waits {
            deadline.set_once(HEAD_TIMEOUT);
            let late = || io::Error::new(io::ErrorKind::TimedOut, "a request came too slowly");
            deadline.poll(cx).map(|()| Err(late().into()))
        } else {
            kept = None;
            deadline.lift();
            Poll::Pending
        }
    });
    if over.await? {
        return Ok(None);
    }
    Ok(connection.into_parts().map(|parts| {
        let (io, behind) = parts.io.into_inner().into_parts();
        Paused {
            io,
            unread: join(&parts.read_buf, behind),
            response: progress.lock().response.take(),
        }
    }))
}

/// Puts together what hyper has read, and what it has not.
fn join(read: &[u8], behind: Bytes) -> Bytes {
    if read.is_empty() {
        return behind;
    }
    // A copy: the slice would keep the whole of hyper's buffer.
    [read, &behind].concat().into()
}

/// What the pieces that hyper owns tell of what it does.
struct Progress<F>(Mutex<State<F>>);

struct State<F> {
    /// The response that hyper waits for, if it may be taken away from there.
    response: Option<Pin<Box<F>>>,
    /// It is to be taken away at once.
    for_long: bool,
    /// How many requests there were.
    requests: u64,
    /// Every request is answered, and the head of the next has not come yet.
    waits: bool,
}

impl<F> Progress<F> {
    fn lock(&self) -> MutexGuard<'_, State<F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Default for Progress<F> {
    fn default() -> Self {
        Self(Mutex::new(State {
            response: None,
            for_long: false,
            requests: 0,
            waits: false,
        }))
    }
}

/// The service, as hyper sees it: a response that may take long never comes.
struct Requests<S>
where
    S: Service<Request<Incoming>> + Clone,
{
    service: TowerToHyperService<S>,
    progress: Arc<Progress<Responding<S>>>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Requests<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = MaybeResponding<Responding<S>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let wait = Wait::of(&request);
        let response = self.service.call(request);
        let mut state = self.progress.lock();
        state.requests += 1;
        state.waits = false;
        if wait == Wait::Short {
            return MaybeResponding::Here { response };
        }
        state.for_long = wait == Wait::Long;
        state.response = Some(Box::pin(response));
        MaybeResponding::There {
            progress: self.progress.clone(),
        }
    }
}

pin_project! {
    /// A response: in hyper's hands, or where it may be taken away from hyper.
    #[project = MaybeRespondingProjection]
    enum MaybeResponding<F> {
        Here {
            #[pin]
            response: F,
        },
        There {
            progress: Arc<Progress<F>>,
        },
    }
}

impl<F: Future> Future for MaybeResponding<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let progress = match self.project() {
            MaybeRespondingProjection::Here { response } => return response.poll(cx),
            MaybeRespondingProjection::There { progress } => progress,
        };
        let mut state = progress.lock();
        if state.for_long {
            return Poll::Pending;
        }
        // It is there for as long as hyper asks.
        let output = match &mut state.response {
            Some(response) => ready!(response.as_mut().poll(cx)),
            None => return Poll::Pending,
        };
        state.response = None;
        Poll::Ready(output)
    }
}

/// How long a response may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// As any.
    Short,
    /// It is the answer to a poll.
    Perhaps,
    /// It is an event stream.
    Long,
}

impl Wait {
    fn of<B: Body>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let mut options = headers.get_all(CONNECTION).into_iter();
        let ours = request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && request.body().is_end_stream()
            // Other options, above all `close` and `upgrade`, are hyper's to know about.
            && options.all(|options| options.as_bytes().eq_ignore_ascii_case(b"keep-alive"));
        if !ours {
            Self::Short
        } else if list::contains(headers, &ACCEPT, "text/event-stream") {
            Self::Long
        } else if headers.contains_key(switchback_http::headers::CONNECTION) {
            Self::Perhaps
        } else {
            Self::Short
        }
    }
}

/// hyper's clock. hyper asks it for one thing: to watch over a request head that has not come, from
/// when all before is answered.
struct HeadWait<F>(Arc<Progress<F>>);

impl<F: Send + 'static> Timer for HeadWait<F> {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Self(self.0.clone()))
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Self(self.0.clone()))
    }
}

impl<F: Send + 'static> Sleep for HeadWait<F> {}

impl<F> Future for HeadWait<F> {
    type Output = ();

    /// Called when hyper has to wait for the head. Never ready: [`exchange`] has the deadline.
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.0.lock().waits = true;
        Poll::Pending
    }
}
