//! A small HTTP server.

mod connection;
mod deadline;
mod exchange;
mod lent;
mod places;
mod response;

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

use crate::PeerAddr;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves a tower service, such as an [`Endpoint`](crate::Endpoint) or an axum router, on HTTP/1.1 and
/// HTTP/2 without TLS, until the future is dropped; connections that were accepted before go on.
///
/// A convenience: an endpoint mounts into any hyper server. Each connection has a task, and each
/// request a [`PeerAddr`] among its extensions.
///
/// # Errors
///
/// The listener failed. Errors of single connections, and running out of file descriptors, do not
/// end it.
pub async fn serve<S, B>(listener: TcpListener, service: S) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    loop {
        let (stream, peer) = accept(&listener).await?;
        tokio::spawn(serve_connection(stream, peer, service.clone()));
    }
}

/// The same as [`serve`] with TLS: browsers and other clients come by `https` and `wss`.
///
/// # Errors
///
/// As [`serve`]. A TLS handshake that fails ends its connection alone.
#[cfg(feature = "tls")]
pub async fn serve_tls<S, B>(
    listener: TcpListener,
    tls: crate::TlsAcceptor,
    service: S,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    loop {
        let (stream, peer) = accept(&listener).await?;
        let (tls, service) = (tls.clone(), service.clone());
        tokio::spawn(async move {
            match tls.accept(stream).await {
                Ok(stream) => serve_connection(stream, peer, service).await,
                Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
            }
        });
    }
}

/// Serves one connection: what [`serve`] does with each, for accept loops and listeners of your own.
pub async fn serve_connection<I, S, B>(io: I, peer: PeerAddr, service: S)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = AddPeer { service, peer };
    if let Err(error) = connection::run(io, service).await {
        tracing::debug!(%error, "a connection failed");
    }
}

/// Accepts a connection, however many fail before it.
async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, PeerAddr)> {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Small messages must not wait for the acknowledgement of earlier ones.
                let _ = stream.set_nodelay(true);
                return Ok((stream, PeerAddr(peer)));
            }
            Err(error) => survivable(error)?,
        }
        // Out of file descriptors: others have to close first.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn survivable(error: io::Error) -> io::Result<()> {
    // EMFILE and ENFILE have no kind of their own; they are what remains of the transient errors.
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected => Err(error),
        _ => {
            tracing::warn!(%error, "a connection could not be accepted");
            Ok(())
        }
    }
}

/// Adds the peer's address to every request.
#[derive(Clone, Debug)]
struct AddPeer<S> {
    service: S,
    peer: PeerAddr,
}

impl<S, B> Service<Request<B>> for AddPeer<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.service.call(request)
    }
}
