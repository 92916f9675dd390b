//! fastwebsockets on hyper, as its example does: an echo. It has no writes of several frames.

use std::convert::Infallible;

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, WebSocketError, upgrade};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

fn main() -> std::io::Result<()> {
    peers::run(async |listener: TcpListener| {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .with_upgrades()
                    .await;
            });
        }
    })
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    Ok(match upgrade::upgrade(&mut request) {
        Ok((response, socket)) => {
            tokio::spawn(echo(socket));
            response
        }
        Err(_) => {
            let mut response = Response::new(Empty::new());
            *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
            response
        }
    })
}

async fn echo(socket: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = socket.await?;
    socket.set_writev(false);
    socket.set_auto_close(true);
    socket.set_auto_pong(true);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                // Without the mask, which it would send back.
                let frame = Frame::new(true, frame.opcode, None, frame.payload);
                socket.write_frame(frame).await?;
            }
            _ => {}
        }
    }
}
