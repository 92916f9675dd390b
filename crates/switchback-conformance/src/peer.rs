use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use switchback_core::{CloseReason, Error, Message, Run, Subscription, Transport, TransportExt};

use crate::wake::EndWaker;

/// How many messages an end receives before the other end has its turn.
const RECV_BUDGET: usize = 256;

/// One end of the connection under test, with what it has to do and what it has seen.
///
/// The fields are the script and the log; [`drive`](Peer::drive) does what can be done now.
pub(crate) struct Peer<'a> {
    pub(crate) role: Role,
    transport: Option<Box<dyn Transport + 'a>>,
    wake: Arc<EndWaker>,

    /// To be sent, in order.
    pub(crate) outbox: VecDeque<Message>,
    /// What is published goes before that.
    pub(crate) subscription: Option<Subscription>,
    run: Option<Run>,
    /// What the transport has taken: what the other end must receive.
    pub(crate) taken: Vec<Message>,
    /// Flush after every message, not only after the last one.
    pub(crate) flush_each: bool,
    /// Before each message, begin to send another one and drop that.
    pub(crate) cancel_send: bool,
    /// Whether that was done for the first message of the outbox.
    cancelled: bool,
    pub(crate) send_error: Option<Error>,
    unflushed: bool,

    /// Whether the application reads.
    pub(crate) reading: bool,
    /// Before each receive, begin one and drop it.
    pub(crate) cancel_recv: bool,
    /// Receive so many messages at a time.
    pub(crate) recv_batch: Option<usize>,
    /// What was wrong with receiving many messages at a time.
    pub(crate) bad_batch: Option<&'static str>,
    pub(crate) inbox: Vec<Message>,
    pub(crate) end: Option<End>,

    /// Close for this reason once the outbox is empty.
    pub(crate) closing: Option<CloseReason>,
    pub(crate) closed: Option<Result<(), Error>>,

    /// How often the end was polled.
    pub(crate) polls: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// How receiving ended.
#[derive(Debug)]
pub(crate) enum End {
    /// `Ok(None)`.
    Closed,
    Failed(Error),
}

impl<'a> Peer<'a> {
    pub(crate) fn new(role: Role, transport: impl Transport + 'a) -> Self {
        Self {
            role,
            transport: Some(Box::new(transport)),
            wake: Arc::default(),
            outbox: VecDeque::new(),
            subscription: None,
            run: None,
            taken: Vec::new(),
            flush_each: false,
            cancel_send: false,
            cancelled: false,
            send_error: None,
            unflushed: false,
            reading: true,
            cancel_recv: false,
            recv_batch: None,
            bad_batch: None,
            inbox: Vec::new(),
            end: None,
            closing: None,
            closed: None,
            polls: 0,
        }
    }

    /// Borrows the transport, for a case that calls it directly; `None` once it was dropped.
    pub(crate) fn transport(&mut self) -> Option<&mut (dyn Transport + 'a)> {
        self.transport.as_deref_mut()
    }

    /// Returns what the transport says of the peer's close.
    pub(crate) fn close_reason(&self) -> Option<&CloseReason> {
        self.transport.as_ref()?.close_reason()
    }

    /// Drops the transport without a close.
    pub(crate) fn cut(&mut self) {
        self.transport = None;
    }

    /// Sets the task that is woken for this end, and lets the end be polled once.
    pub(crate) fn begin(&self, task: &Waker) {
        self.wake.register(task);
        self.wake.force();
    }

    /// Does what can be done now, if the end was woken. Registers the task for the rest.
    pub(crate) fn drive(&mut self, task: &Waker) {
        self.wake.register(task);
        if !self.wake.take() {
            return;
        }
        self.polls += 1;
        let waker = Waker::from(self.wake.clone());
        let mut cx = Context::from_waker(&waker);
        self.drive_send(&mut cx);
        self.drive_close(&mut cx);
        self.drive_recv(&mut cx);
    }

    fn drive_send(&mut self, cx: &mut Context<'_>) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        while self.send_error.is_none() && self.closed.is_none() {
            if self.run.is_none()
                && let Some(subscription) = &mut self.subscription
                && let Poll::Ready(Ok(run)) = subscription.poll_next(cx)
            {
                self.run = Some(run);
            }
            let nothing = self.outbox.is_empty() && self.run.is_none();
            if self.unflushed && (self.flush_each || nothing) {
                match transport.poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.unflushed = false,
                    Poll::Ready(Err(error)) => self.send_error = Some(error),
                    Poll::Pending => return,
                }
                continue;
            }
            if let Some(run) = &mut self.run {
                let mut taken = run.clone();
                let sent = transport.poll_send_run(cx, run);
                taken.truncate(taken.len() - run.len());
                self.unflushed |= !taken.is_empty();
                self.taken.extend(taken);
                match sent {
                    Poll::Ready(Ok(())) => self.run = None,
                    Poll::Ready(Err(error)) => self.send_error = Some(error),
                    Poll::Pending => return,
                }
                continue;
            }
            let Some(message) = self.outbox.front() else {
                return;
            };
            if self.cancel_send && !std::mem::replace(&mut self.cancelled, true) {
                let ghost = begin_send(transport, message.len());
                self.unflushed |= ghost.is_some();
                self.taken.extend(ghost);
            }
            match transport.poll_send(cx, message) {
                Poll::Ready(Ok(())) => {
                    self.taken.extend(self.outbox.pop_front());
                    self.unflushed = true;
                    self.cancelled = false;
                }
                Poll::Ready(Err(error)) => self.send_error = Some(error),
                Poll::Pending => return,
            }
        }
    }

    fn drive_close(&mut self, cx: &mut Context<'_>) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        // A close after a failed send is still a close: it must not hang.
        let all_taken = self.outbox.is_empty() || self.send_error.is_some();
        if let (Some(why), None, true) = (&self.closing, &self.closed, all_taken)
            && let Poll::Ready(result) = transport.poll_close(cx, why)
        {
            self.closed = Some(result);
        }
    }

    fn drive_recv(&mut self, cx: &mut Context<'_>) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        // While this end closes, what arrives is dropped by the transport: nothing to read.
        let closing = self.closing.is_some() && self.outbox.is_empty();
        if !self.reading || closing || self.end.is_some() {
            return;
        }
        for _ in 0..RECV_BUDGET {
            if let Some(limit) = self.recv_batch {
                let mut batch = Batch::new(limit);
                let received = transport.poll_recv_each(cx, &mut |message| batch.take(message));
                self.bad_batch = self.bad_batch.or(batch.fault(&received));
                self.inbox.append(&mut batch.messages);
                match received {
                    Poll::Ready(Ok(true)) => continue,
                    Poll::Ready(Ok(false)) => self.end = Some(End::Closed),
                    Poll::Ready(Err(error)) => self.end = Some(End::Failed(error)),
                    Poll::Pending => {}
                }
                return;
            }
            let mut received = Poll::Pending;
            if self.cancel_recv {
                received = pin!(transport.recv()).poll(&mut Context::from_waker(Waker::noop()));
            }
            if received.is_pending() {
                received = transport.poll_recv(cx);
            }
            match received {
                Poll::Ready(Ok(Some(message))) => self.inbox.push(message),
                Poll::Ready(Ok(None)) => self.end = Some(End::Closed),
                Poll::Ready(Err(error)) => self.end = Some(End::Failed(error)),
                Poll::Pending => return,
            }
            if self.end.is_some() {
                return;
            }
        }
        cx.waker().wake_by_ref();
    }
}

/// What one call of `poll_recv_each` gives.
struct Batch {
    messages: Vec<Message>,
    limit: usize,
}

impl Batch {
    fn new(limit: usize) -> Self {
        Self {
            messages: Vec::new(),
            limit,
        }
    }

    fn take(&mut self, message: Message) -> bool {
        self.messages.push(message);
        self.messages.len() < self.limit
    }

    /// Tells what is wrong with the result of the call.
    fn fault(&self, received: &Poll<Result<bool, Error>>) -> Option<&'static str> {
        let some = !self.messages.is_empty();
        if self.messages.len() > self.limit {
            return Some("a message was given after `take` had returned `false`");
        }
        match received {
            Poll::Ready(Ok(true)) if !some => Some("`Ok(true)` without a message"),
            Poll::Ready(Ok(false)) if some => Some("`Ok(false)` with messages"),
            Poll::Ready(Err(_)) if some => Some("an error with messages"),
            Poll::Pending if some => Some("`Pending` with messages"),
            _ => None,
        }
    }
}

/// Begins to send a message, polls once and drops the send. Returns the message if the transport
/// has taken it: then it must arrive, and otherwise it must not.
fn begin_send(transport: &mut (dyn Transport + '_), length: usize) -> Option<Message> {
    let ghost = Message::binary(vec![0xee; length]);
    let mut send = pin!(transport.send(ghost.clone()));
    // An error is met again, and reported, by the send that follows.
    let _ = send.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    send.is_taken().then_some(ghost)
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

/// Says how far the end got, for the report of a case that hangs.
impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the {} has sent {}, has {} to send{}, has received {}",
            self.role,
            self.taken.len(),
            self.outbox.len(),
            if self.unflushed { " (unflushed)" } else { "" },
            self.inbox.len(),
        )?;
        if self.transport.is_none() {
            f.write_str(", was dropped")?;
        }
        if let Some(error) = &self.send_error {
            write!(f, ", failed to send ({error:?})")?;
        }
        match &self.end {
            Some(End::Closed) => f.write_str(", was told of a clean close")?,
            Some(End::Failed(error)) => write!(f, ", failed to receive ({error:?})")?,
            None => {}
        }
        match (&self.closing, &self.closed) {
            (_, Some(Ok(()))) => f.write_str(", has closed"),
            (_, Some(Err(error))) => write!(f, ", failed to close ({error:?})"),
            (Some(_), None) => f.write_str(", is closing"),
            (None, None) => Ok(()),
        }
    }
}
