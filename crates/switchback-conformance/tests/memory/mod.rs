// A transport that needs no network: two queues between two ends. The simplest one that conforms.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use switchback_core::{
    CloseReason, Error, ErrorKind, Message, Transport, TransportInfo, TransportKind,
};

/// How many bytes a queue takes before the sender waits.
const BOUND: usize = 64 * 1024;

/// One end of the connection.
#[derive(Debug)]
pub(crate) struct Memory {
    info: TransportInfo,
    inbound: Arc<Mutex<Queue>>,
    outbound: Arc<Mutex<Queue>>,
    bound: usize,
    peer_close: Option<CloseReason>,
}

/// The messages on their way in one direction. Payloads do not show in `Debug`, because those of
/// `Message` do not.
#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    end: End,
    /// Wakes the receiver.
    receiver: Option<Waker>,
    /// Wakes the sender, which waits for room or for its close to be seen.
    sender: Option<Waker>,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Open,
    /// The sender has closed. `seen`: the receiver knows, or never will.
    Closed { why: CloseReason, seen: bool },
    /// The sender was dropped without a close.
    Cut,
}

/// Makes a connected pair.
pub(crate) fn pair() -> (Memory, Memory) {
    pair_with_bound(BOUND)
}

/// Makes a connected pair whose queues take so many bytes.
pub(crate) fn pair_with_bound(bound: usize) -> (Memory, Memory) {
    let (up, down) = (Arc::<Mutex<Queue>>::default(), Arc::default());
    let end = |inbound: &Arc<_>, outbound: &Arc<_>| Memory {
        info: TransportInfo::new(TransportKind::WebSocket),
        inbound: Arc::clone(inbound),
        outbound: Arc::clone(outbound),
        bound,
        peer_close: None,
    };
    (end(&up, &down), end(&down, &up))
}

impl Memory {
    /// Tells whether the peer has closed or is gone.
    pub(crate) fn peer_ended(&self) -> bool {
        !matches!(lock(&self.inbound).end, End::Open)
    }

    /// Says why nothing can be sent any more.
    fn refusal(&self) -> Option<Error> {
        if matches!(lock(&self.outbound).end, End::Closed { .. }) {
            return Some(Error::new(ErrorKind::Closed));
        }
        match &lock(&self.inbound).end {
            End::Open => None,
            End::Closed { .. } => Some(Error::new(ErrorKind::Closed)),
            End::Cut => Some(Error::new(ErrorKind::Reset)),
        }
    }
}

impl Transport for Memory {
    fn info(&self) -> &TransportInfo {
        &self.info
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        let mut queue = lock(&self.inbound);
        if let Some(message) = queue.messages.pop_front() {
            queue.bytes -= message.len();
            wake(&mut queue.sender);
            return Poll::Ready(Ok(Some(message)));
        }
        // This end has closed: nothing comes any more, whatever the peer does.
        if let End::Closed { .. } = lock(&self.outbound).end
            && let End::Open = queue.end
        {
            return Poll::Ready(Ok(None));
        }
        match &mut queue.end {
            End::Open => {
                queue.receiver = Some(cx.waker().clone());
                Poll::Pending
            }
            End::Closed { why, seen } => {
                *seen = true;
                self.peer_close = Some(why.clone());
                wake(&mut queue.sender);
                Poll::Ready(Ok(None))
            }
            End::Cut => Poll::Ready(Err(Error::new(ErrorKind::Reset))),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>> {
        if let Some(refusal) = self.refusal() {
            return Poll::Ready(Err(refusal));
        }
        let mut queue = lock(&self.outbound);
        if !queue.messages.is_empty() && queue.bytes + message.len() > self.bound {
            queue.sender = Some(cx.waker().clone());
            // A queue that is full makes room by itself: nobody may flush before that.
            wake(&mut queue.receiver);
            return Poll::Pending;
        }
        queue.bytes += message.len();
        queue.messages.push_back(message.clone());
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        wake(&mut lock(&self.outbound).receiver);
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>> {
        let mut queue = lock(&self.inbound);
        queue.messages.clear();
        queue.bytes = 0;
        wake(&mut queue.sender);
        drop(queue);
        let peer_ended = self.peer_ended();
        let mut queue = lock(&self.outbound);
        if let End::Open = queue.end {
            queue.end = End::Closed {
                why: why.clone(),
                seen: false,
            };
            wake(&mut queue.receiver);
        }
        if peer_ended || matches!(queue.end, End::Closed { seen: true, .. }) {
            return Poll::Ready(Ok(()));
        }
        queue.sender = Some(cx.waker().clone());
        Poll::Pending
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        self.peer_close.as_ref()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mut queue = lock(&self.outbound);
        if let End::Open = queue.end {
            queue.end = End::Cut;
        }
        wake(&mut queue.receiver);
        drop(queue);
        let mut queue = lock(&self.inbound);
        if let End::Closed { seen, .. } = &mut queue.end {
            *seen = true;
        }
        wake(&mut queue.sender);
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
