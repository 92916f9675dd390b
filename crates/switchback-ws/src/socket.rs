use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use switchback_core::{
    CloseCode, CloseReason, Error, ErrorKind, Message, Run, Transport, TransportInfo, TransportKind,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};

use crate::config::{Config, Tuning};
use crate::engine::{Engine, Input, Io};
use crate::heartbeat::{Beat, Heartbeat};
use crate::proto::close::Failure;

/// How long an end waits for the other one to hang up after all is said.
const LINGER: Duration = Duration::from_secs(1);
/// How many control frames are dealt with before other tasks have their turn.
const CONTROL_BUDGET: u32 = 64;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that accepted the handshake. Its frames are not masked.
    Server,
    /// The end that opened the connection. Its frames are masked (RFC 6455, 5.3).
    Client,
}

/// An established WebSocket, on the server or on the client.
///
/// Made by [`upgrade`](crate::upgrade) or [`connect`](crate::connect), used through [`Transport`]
/// and [`TransportExt`](switchback_core::TransportExt). Its methods must be called within a tokio
/// runtime with timers.
///
/// - Pings are answered while the application receives. A peer from which nothing came for the
///   [ping interval](Config::ping_interval) is pinged itself, and given up if it stays silent.
/// - What breaks the protocol or a limit is answered by a close: 1002 for the protocol, 1007 for
///   text that is not UTF-8, 1009 for a message that is too large. Then receiving ends with an
///   error of kind [`Protocol`](ErrorKind::Protocol), [`InvalidUtf8`](ErrorKind::InvalidUtf8) or
///   [`TooLarge`](ErrorKind::TooLarge), after at most a second in which the peer can read the
///   close.
/// - A close without a code (RFC 6455, 7.1.5) has the [reason](Transport::close_reason)
///   [`NO_STATUS`](CloseCode::NO_STATUS).
pub struct WebSocket {
    engine: Engine,
    heartbeat: Heartbeat,
    role: Role,
    info: TransportInfo,
    close_timeout: Duration,
    state: State,
    close_reason: Option<CloseReason>,
}

#[derive(Debug)]
enum State {
    Open,
    Ending(Ending),
    /// All is over: by a clean close, or by a failure of this kind.
    Ended(Option<ErrorKind>),
}

/// The way from open to ended.
#[derive(Debug)]
struct Ending {
    phase: Phase,
    /// Why this is not a clean end.
    error: Option<Error>,
    timer: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Our close was sent, or is about to; the peer's is not here yet.
    AwaitClose,
    /// The last bytes of ours are to be written: a close, or the answer to one.
    Flush,
    /// Our half of the byte stream is to be ended.
    Shutdown,
    /// The peer is to end its half.
    Drain,
    Done,
}

impl WebSocket {
    /// Makes a WebSocket of a byte stream on which the opening handshake was done by other means.
    pub fn from_stream<S>(stream: S, role: Role, config: &Config) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let info = TransportInfo::new(TransportKind::WebSocket);
        Self::new(Box::new(stream), Vec::new(), role, &config.tuning, info)
    }

    pub(crate) fn new(
        io: Box<dyn Io>,
        part: Vec<u8>,
        role: Role,
        tuning: &Tuning,
        info: TransportInfo,
    ) -> Self {
        Self {
            engine: Engine::new(io, part, role, tuning),
            heartbeat: Heartbeat::new(tuning.ping_interval, tuning.ping_timeout),
            role,
            info,
            close_timeout: tuning.limits.close_time(),
            state: State::Open,
            close_reason: None,
        }
    }

    /// Returns which end of the connection this is.
    pub fn role(&self) -> Role {
        self.role
    }

    fn begin_ending(&mut self, phase: Phase, error: Option<Error>) {
        self.heartbeat.stop();
        self.state = State::Ending(Ending {
            phase,
            error,
            timer: Box::pin(sleep(self.close_timeout)),
        });
    }

    /// RFC 6455, 7.1.7: the peer is told why, then the connection ends.
    fn fail(&mut self, cx: &mut Context<'_>, failure: Failure) {
        let phase = match &failure.tell {
            Some(why) => {
                self.engine.close(cx, why);
                Phase::Flush
            }
            None => Phase::Done,
        };
        self.begin_ending(phase, Some(failure.error));
    }

    fn peer_is_silent(&mut self, cx: &mut Context<'_>) {
        // It may be that only the other direction is dead. But nothing is worth waiting for.
        let why = CloseReason::new(CloseCode::TIMED_OUT, "no sign of life");
        self.engine.close(cx, &why);
        let error = Error::with_message(
            ErrorKind::TimedOut,
            "the peer gave no sign of life, not even an answer to a ping",
        );
        self.begin_ending(Phase::Done, Some(error));
    }

    /// Goes on until the connection has ended.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let State::Ending(ending) = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        if ending.phase == Phase::AwaitClose {
            // Whether that is done or not, reading must go on: the peer may not read before it has
            // written. And if it fails, there may still be a close to read.
            let _ = self.engine.poll_flush(cx);
        }
        let mut inputs = 0;
        while ending.phase != Phase::Done {
            match ending.poll(cx, &mut self.engine, self.role, &mut self.close_reason) {
                Poll::Ready(()) => {
                    inputs += 1;
                    if inputs == CONTROL_BUDGET {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Poll::Pending if ending.timer.as_mut().poll(cx).is_ready() => ending.time_out(),
                Poll::Pending => return Poll::Pending,
            }
        }
        let error = ending.error.take();
        self.state = State::Ended(error.as_ref().map(Error::kind));
        self.engine.hang_up();
        Poll::Ready(error.map_or(Ok(()), Err))
    }

    /// What a call is told that came too late.
    fn closed(&self) -> Error {
        let kind = match self.state {
            State::Ended(Some(kind)) => kind,
            _ => ErrorKind::Closed,
        };
        match &self.close_reason {
            Some(reason) => Error::new(kind).with_close(reason.clone()),
            None => Error::new(kind),
        }
    }
}

impl Ending {
    /// Takes one step. `Pending`: the byte stream is not ready for it.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        engine: &mut Engine,
        role: Role,
        close_reason: &mut Option<CloseReason>,
    ) -> Poll<()> {
        match self.phase {
            Phase::AwaitClose => match ready!(engine.poll_read(cx, &mut |_| false)) {
                Ok(Input::Close(reason)) => {
                    *close_reason = Some(reason);
                    self.phase = Phase::Flush;
                }
                // An answer all the same.
                Ok(Input::BadClose) => self.phase = Phase::Flush,
                Ok(Input::Messages | Input::Control) => {}
                Err(failure) => {
                    self.error = Some(failure.error);
                    self.phase = Phase::Done;
                }
            },
            Phase::Flush => match ready!(engine.poll_flush(cx)) {
                // RFC 6455, 7.1.1: the server hangs up first, so that the client does not have to
                // keep the port for a while.
                Ok(()) if role == Role::Client && self.error.is_none() => self.drain(),
                Ok(()) => self.phase = Phase::Shutdown,
                Err(_) => self.phase = Phase::Done,
            },
            Phase::Shutdown => match ready!(engine.poll_shutdown(cx)) {
                // The peer may still be sending. Hanging up now would make the operating system
                // reset the connection, and our close with it, before the peer has read that.
                Ok(()) if self.error.is_some() => self.drain(),
                _ => self.phase = Phase::Done,
            },
            Phase::Drain => {
                ready!(engine.poll_drain(cx));
                self.phase = Phase::Done;
            }
            Phase::Done => {}
        }
        Poll::Ready(())
    }

    fn drain(&mut self) {
        self.phase = Phase::Drain;
        let end = (Instant::now() + LINGER).min(self.timer.deadline());
        self.timer.as_mut().reset(end);
    }

    fn time_out(&mut self) {
        if self.phase == Phase::AwaitClose {
            self.error = Some(Error::with_message(
                ErrorKind::TimedOut,
                "the peer did not answer the close in time",
            ));
        }
        self.phase = Phase::Done;
    }
}

impl Transport for WebSocket {
    fn info(&self) -> &TransportInfo {
        &self.info
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        let mut received = None;
        let mut take = |message| {
            received = Some(message);
            false
        };
        ready!(self.poll_recv_each(cx, &mut take))?;
        Poll::Ready(Ok(received))
    }

    fn poll_recv_each(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Message) -> bool,
    ) -> Poll<Result<bool, Error>> {
        let mut controls = 0;
        loop {
            match &self.state {
                State::Open => {}
                State::Ending(_) => return self.poll_end(cx).map_ok(|()| false),
                State::Ended(None) => return Poll::Ready(Ok(false)),
                State::Ended(Some(kind)) => return Poll::Ready(Err((*kind).into())),
            }
            match self.engine.poll_read(cx, take) {
                Poll::Ready(Ok(Input::Messages)) => return Poll::Ready(Ok(true)),
                Poll::Ready(Ok(Input::Control)) => {
                    controls += 1;
                    if controls == CONTROL_BUDGET {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Poll::Ready(Ok(Input::Close(reason))) => {
                    self.close_reason = Some(reason);
                    self.begin_ending(Phase::Flush, None);
                }
                Poll::Ready(Ok(Input::BadClose)) => {
                    let text = "the peer closed with a code that must not be sent";
                    let error = Error::with_message(ErrorKind::Protocol, text);
                    self.begin_ending(Phase::Flush, Some(error));
                }
                Poll::Ready(Err(failure)) => self.fail(cx, failure),
                Poll::Pending => match self.heartbeat.poll(cx, self.engine.signs_of_life()) {
                    Poll::Ready(Beat::Rest) => self.engine.rest(),
                    Poll::Ready(Beat::Ping) => {
                        self.engine.rest();
                        self.engine.ping(cx);
                    }
                    Poll::Ready(Beat::Dead) => self.peer_is_silent(cx),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    fn has_buffered(&self) -> Option<bool> {
        Some(matches!(self.state, State::Open) && self.engine.has_unread())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>> {
        match self.state {
            State::Open => self.engine.poll_write(cx, message),
            State::Ending(_) | State::Ended(_) => Poll::Ready(Err(self.closed())),
        }
    }

    fn poll_send_run(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Poll<Result<(), Error>> {
        match self.state {
            State::Open => self.engine.poll_write_run(cx, run),
            State::Ending(_) | State::Ended(_) => Poll::Ready(Err(self.closed())),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self.state {
            State::Open | State::Ending(_) => self.engine.poll_flush(cx),
            State::Ended(None) => Poll::Ready(Ok(())),
            State::Ended(Some(_)) => Poll::Ready(Err(self.closed())),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>> {
        if let State::Open = self.state {
            self.engine.close(cx, why);
            self.begin_ending(Phase::AwaitClose, None);
        }
        self.poll_end(cx)
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        self.close_reason.as_ref()
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("role", &self.role)
            .field("info", &self.info)
            .field("state", &self.state)
            .field("close_reason", &self.close_reason)
            .finish_non_exhaustive()
    }
}
