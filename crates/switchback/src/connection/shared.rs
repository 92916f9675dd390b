use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use switchback_core::{
    Broadcast, CloseReason, Error, ErrorKind, Listener, Message, Transport, TransportKind,
};
use switchback_session::Remains;
use tokio::sync::watch;

use super::batch::Batch;
use super::driver::{Driver, Received};
use super::outbox::{Bound, Outbox, Rejected};
use super::wake::{ConnectionWaker, TaskId};
use super::{Event, Machine, SendError, State, Watch};
use crate::client::Dials;
use crate::janitor::Janitor;

/// What all handles of one connection share: first what a broadcast touches, then what the
/// application's task does.
#[repr(C)]
pub(crate) struct Shared {
    outbox: Outbox,
    waker: Arc<ConnectionWaker>,
    /// `waker` again, in the form that transports take.
    task: Waker,
    janitor: Arc<Janitor>,
    driver: Mutex<Timed>,
    watch: OnceLock<watch::Sender<State>>,
    this: Weak<Self>,
    settings: Settings,
}

/// What a connection is set up with.
pub(crate) struct Settings {
    pub(crate) id: String,
    pub(crate) plain: bool,
    pub(crate) message_size: usize,
    pub(crate) inbound: usize,
    pub(crate) queue_soft: usize,
    pub(crate) queue_hard: usize,
    /// Told when the connection is parked (with its cost in bytes), goes on, or ends.
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

/// What the endpoint wants to know of its connections.
pub(crate) trait Observer: Send + Sync {
    /// Returns the place among the parked, for [`unparked`](Self::unparked).
    fn parked(&self, connection: &Weak<Shared>, bytes: usize) -> u64;
    fn unparked(&self, place: u64);
    fn ended(&self, id: &str, remains: Option<Remains>);
}

/// The driver and the time for which the janitor has been armed. What the short way touches comes
/// first, as in the driver.
#[repr(C)]
struct Timed {
    /// The short way was open when the driver was driven last, and nobody has changed it since.
    short: bool,
    /// One of the times for which the janitor has been armed has passed.
    due: bool,
    ended: bool,
    /// When somebody looked at the clock last: when what is being read came.
    now: Instant,
    /// The earliest of the times at which the janitor comes, and the others, the earliest last.
    next: Option<Instant>,
    /// The task that waited last.
    task: TaskId,
    driver: Driver,
    armed: Vec<Instant>,
    /// When the janitor looks whether the application has come back.
    later: Option<Instant>,
    /// Among the endpoint's parked sessions.
    place: Option<u64>,
}

/// How soon a connection is looked after whose application is at work, and has not read all there may be.
const LATER: Duration = Duration::from_millis(100);

/// How soon a connection is looked after again whose application does not read.
const PAUSED: Duration = Duration::from_secs(1);

impl Shared {
    pub(crate) fn new(
        machine: Machine,
        dials: Option<Dials>,
        janitor: &Arc<Janitor>,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| {
            let waker = Arc::new(ConnectionWaker::new(this.clone(), janitor.clone()));
            Self {
                driver: Mutex::new(Timed {
                    driver: Driver::new(machine, dials, settings.inbound),
                    next: None,
                    armed: Vec::new(),
                    later: None,
                    due: false,
                    place: None,
                    ended: false,
                    now: Instant::now(),
                    short: false,
                    task: TaskId::default(),
                }),
                outbox: Outbox::new(
                    settings.message_size,
                    settings.queue_soft,
                    settings.queue_hard,
                ),
                task: Waker::from(waker.clone()),
                waker,
                janitor: janitor.clone(),
                settings,
                watch: OnceLock::new(),
                this: this.clone(),
            }
        })
    }

    /// Plugs the only transport of a plain connection in.
    pub(crate) fn plug_plain(&self, transport: Box<dyn Transport>) {
        self.lock().driver.plug_plain(transport);
        self.waker.nudge();
    }

    /// Works on the driver, then drives it: what an endpoint does with a new attachment.
    pub(crate) fn with_driver<R>(&self, work: impl FnOnce(&mut Driver) -> R) -> R {
        let mut timed = self.lock();
        let result = work(&mut timed.driver);
        self.drive_for_others(timed, Instant::now());
        result
    }

    /// What the janitor calls. Returns whether there is nothing left to do, ever.
    pub(crate) fn serve(&self, now: Instant) -> bool {
        let mut timed = self.peek();
        let asked = self.waker.served();
        while timed.next.take_if(|at| *at <= now).is_some() {
            timed.next = timed.armed.pop();
            timed.due = true;
        }
        timed.later.take_if(|at| *at <= now);
        let behind = self.waker.is_called() || timed.driver.is_behind();
        let asked = asked || (behind && !self.waker.is_awaited());
        if !asked && !timed.due {
            // It was to look in a moment, and nothing was left for it.
            return timed.driver.is_done();
        }
        self.drive_for_others(timed, now)
    }

    /// Sends what was published. What the janitor does, so that the application's task is left alone.
    pub(crate) fn deliver(&self, now: Instant) {
        let mut timed = self.peek();
        if timed.short && timed.driver.is_well() && !self.outbox.is_closed() {
            let mut cx = Context::from_waker(&self.task);
            if timed.driver.transmit_short(&mut cx, now, &self.outbox)
                && timed.driver.rest_short(&mut cx, now)
            {
                self.arm_ack(&mut timed, now);
                return;
            }
        }
        self.drive_for_others(timed, now);
    }

    /// Polls for what is next: `None` when it is in `batch`, which is empty, and otherwise an event.
    pub(super) fn poll_batch(
        &self,
        cx: &mut Context<'_>,
        batch: &mut Batch,
    ) -> Poll<Option<Result<Option<Event>, Error>>> {
        let mut timed = self.peek();
        // Events that are there are taken without driving, so that the replies to them leave
        // together: the last of these replies flushes.
        if !timed.short
            && let Poll::Ready(event) = timed.driver.take()
        {
            self.leave(&mut timed);
            return Poll::Ready(Some(event));
        }
        match self.recv_short(&mut timed, batch) {
            Received::Messages => {
                self.leave(&mut timed);
                return Poll::Ready(None);
            }
            Received::Drained => {}
            Received::Other => {
                self.drive(&mut timed, Instant::now());
                if let Poll::Ready(event) = timed.driver.take() {
                    self.leave(&mut timed);
                    return Poll::Ready(Some(event));
                }
            }
        }
        // Under the lock: whoever drives next finds the waker.
        self.waker.wait(cx.waker(), &mut timed.task);
        Poll::Pending
    }

    /// The application's task has something to work on, and does not wait. Should it not come back for
    /// what is left to do, or was it called in vain meanwhile, the janitor looks after that.
    #[inline]
    fn leave(&self, timed: &mut Timed) {
        self.waker.stop_waiting();
        if self.waker.is_called() {
            self.waker.nudge_soon();
        } else {
            self.leave_behind(timed);
        }
    }

    /// Has the janitor look after what is left to do: in a moment where something is to be flushed or
    /// decided. What the transport may have waits for longer, because most often the application is back
    /// before that.
    #[inline]
    fn leave_behind(&self, timed: &mut Timed) {
        if !timed.driver.is_behind() {
            return;
        }
        let is_open = timed.short && timed.driver.is_well();
        if timed.driver.has_deferred() || !is_open {
            self.waker.nudge_soon();
        } else if timed.later.is_none() {
            let at = timed.now + LATER;
            timed.later = Some(at);
            self.janitor.arm(at, self.this.clone());
        }
    }

    /// Receives the short way, where that is open.
    fn recv_short(&self, timed: &mut Timed, batch: &mut Batch) -> Received {
        if self.waker.is_called() {
            timed.driver.note_readable(self.waker.begin_awake());
            timed.now = Instant::now();
        } else if !timed.driver.is_behind() {
            // Whatever is under way calls when there is something to do.
            return Received::Drained;
        }
        if !timed.short || !timed.driver.is_well() || self.outbox.is_closed() {
            return Received::Other;
        }
        let now = timed.now;
        let mut cx = Context::from_waker(&self.task);
        if timed.driver.has_sent(&self.outbox)
            && !timed.driver.transmit_short(&mut cx, now, &self.outbox)
        {
            return Received::Other;
        }
        let received = timed.driver.recv_short(&mut cx, now, batch);
        if let Received::Drained = received {
            if !timed.driver.rest_short(&mut cx, now) {
                return Received::Other;
            }
            self.arm_ack(timed, now);
        }
        received
    }

    pub(super) fn stop_waiting(&self) {
        self.waker.abandon();
    }

    /// Sends for the owner what could not go past the outbox, once there is room.
    pub(super) async fn send_own(&self, message: Message) -> Result<(), SendError> {
        self.send(message).await?;
        self.push_out();
        Ok(())
    }

    /// Sends for the owner without waiting.
    pub(super) fn try_send_own(&self, message: Message, more: bool) -> Result<(), SendError> {
        if let Some(message) = self.send_past_outbox(message, more)? {
            self.enqueue(message)?;
            self.push_out();
        }
        Ok(())
    }

    /// Sends for the owner: gives a message to the machine right away where nothing is before it, and
    /// has it written in the owner's task. Gives the message back where something is before it. With
    /// `more` the owner has more to take that it may reply to.
    pub(super) fn send_past_outbox(
        &self,
        message: Message,
        more: bool,
    ) -> Result<Option<Message>, SendError> {
        let message = self.check_size(message)?;
        if !self.outbox.is_idle() {
            return Ok(Some(message));
        }
        let Ok(mut timed) = self.driver.try_lock() else {
            return Ok(Some(message));
        };
        let message = if timed.short {
            let now = timed.now;
            let mut cx = Context::from_waker(&self.task);
            match timed.driver.send_next(&mut cx, now, message, more) {
                Ok(()) => {
                    // In case that the application is slow over the next message.
                    self.waker.nudge_soon();
                    return Ok(None);
                }
                Err(message) => message,
            }
        } else {
            message
        };
        Ok(self.send_with(timed, message, more))
    }

    /// Sends for the owner, and flushes or drives as far as that is due.
    #[inline(never)]
    fn send_with(
        &self,
        mut timed: MutexGuard<'_, Timed>,
        message: Message,
        more: bool,
    ) -> Option<Message> {
        if timed.driver.read_ahead(&self.outbox) {
            return Some(message);
        }
        let done = if timed.short {
            if !timed.driver.is_behind() {
                timed.now = Instant::now();
            }
            let now = timed.now;
            let mut cx = Context::from_waker(&self.task);
            timed.driver.send_short(&mut cx, now, message, more)
        } else {
            let sent = timed.driver.send(message);
            sent.map(|()| timed.driver.may_defer())
        };
        match done {
            Ok(true) => self.leave_behind(&mut timed),
            Ok(false) => drop(self.drive_for_others(timed, Instant::now())),
            Err(message) => return Some(message),
        }
        None
    }

    /// Queues a message once there is room below the soft limit, and tells the connection's own task
    /// to write it, so that messages which come faster than it runs leave in one write.
    pub(super) async fn send(&self, message: Message) -> Result<(), SendError> {
        let Some(mut message) = self.push_soft(self.check_size(message)?)? else {
            return Ok(());
        };
        loop {
            let room = self.outbox.room.notified();
            let mut room = std::pin::pin!(room);
            // Before the next try, so that no room that comes after it is missed.
            room.as_mut().enable();
            // Perhaps it is only full because nobody has driven.
            self.drive_for_others(self.lock(), Instant::now());
            message = match self.push_soft(message)? {
                None => return Ok(()),
                Some(message) => message,
            };
            room.await;
        }
    }

    /// Gives the message back while there is no room below the soft limit.
    fn push_soft(&self, message: Message) -> Result<Option<Message>, SendError> {
        match self.push(message, Bound::Soft) {
            Ok(()) => Ok(None),
            Err((message, Rejected::Full)) => Ok(Some(message)),
            Err((message, Rejected::Closed)) => {
                Err(SendError::new(message, ErrorKind::Closed.into()))
            }
        }
    }

    /// Queues a message if there is room below the hard limit, and tells as [`send`](Self::send) does.
    pub(super) fn enqueue(&self, message: Message) -> Result<(), SendError> {
        let message = self.check_size(message)?;
        self.push(message, Bound::Hard)
            .map_err(|(message, rejected)| {
                let kind = match rejected {
                    Rejected::Full => ErrorKind::Full,
                    Rejected::Closed => ErrorKind::Closed,
                };
                SendError::new(message, kind.into())
            })
    }

    /// Queues a message, and calls for a drive with the first: those behind it go with it.
    ///
    /// What was published before goes before it, and what is published afterwards does not: nobody
    /// reads until the message is in the outbox, and the lock is released.
    #[inline]
    fn push(&self, message: Message, bound: Bound) -> Result<(), (Message, Rejected)> {
        let ahead = self.outbox.is_subscribed().then(|| {
            let mut timed = self.peek();
            timed.driver.read_ahead(&self.outbox);
            timed
        });
        let pushed = self.outbox.push(message, bound);
        drop(ahead);
        if pushed? {
            self.waker.call();
        }
        Ok(())
    }

    /// Sends what is published from now on.
    pub(super) fn subscribe(&self, broadcast: &Broadcast) -> Result<(), Error> {
        let this = self.this.upgrade().ok_or(ErrorKind::Closed)?;
        self.with_driver(|driver| driver.subscribe(broadcast, this, &self.outbox))
    }

    pub(super) fn unsubscribe(&self, broadcast: &Broadcast) -> bool {
        self.with_driver(|driver| driver.unsubscribe(broadcast, &self.outbox))
    }

    #[inline]
    fn check_size(&self, message: Message) -> Result<Message, SendError> {
        match self.outbox.exceeds(&message) {
            None => Ok(message),
            Some(limit) => Err(oversized(message, limit)),
        }
    }

    fn push_out(&self) {
        // Whoever holds the lock drives, but may have passed the outbox already.
        match self.driver.try_lock() {
            Ok(timed) => drop(self.drive_for_others(timed, Instant::now())),
            Err(_) => self.waker.call(),
        }
    }

    pub(super) fn start_close(&self, why: CloseReason) {
        self.outbox.close(false);
        let mut timed = self.lock();
        let now = Instant::now();
        timed.driver.close(now, why, &self.outbox);
        self.drive_for_others(timed, now);
        self.waker.nudge();
    }

    /// Waits until the connection has ended and its transports are closed.
    pub(super) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_until(cx, Driver::closed)
    }

    /// The owner went away: delivers what was sent, then ends, in the background.
    pub(super) fn abandon(this: &Arc<Self>, why: CloseReason) {
        this.waker.abandon();
        let done = {
            let mut timed = this.lock();
            timed.driver.discard_inbound();
            timed.driver.is_done()
        };
        if !done {
            this.start_close(why);
            this.janitor.adopt(this.clone());
        }
    }

    /// Ends a connection at once, on behalf of the endpoint.
    pub(crate) fn evict(&self, why: CloseReason) {
        self.with_driver(|driver| driver.evict(Instant::now(), why));
    }

    /// Ends a session at once if it is parked still.
    pub(crate) fn evict_parked(&self, why: CloseReason) {
        self.with_driver(|driver| {
            if matches!(driver.state(), State::Reconnecting { .. }) {
                driver.evict(Instant::now(), why);
            }
        });
    }

    /// Drives until a condition holds. For the application's task.
    pub(crate) fn poll_until<R>(
        &self,
        cx: &mut Context<'_>,
        condition: impl Fn(&mut Driver) -> Option<R>,
    ) -> Poll<R> {
        let mut timed = self.lock();
        self.drive(&mut timed, Instant::now());
        let result = condition(&mut timed.driver);
        match result {
            None => self.waker.wait(cx.waker(), &mut timed.task),
            Some(_) => self.waker.abandon(),
        }
        result.map_or(Poll::Pending, Poll::Ready)
    }

    pub(super) fn wake_network(&self) {
        self.with_driver(|driver| {
            if let Machine::Client(session) = &mut *driver.machine {
                session.wake(Instant::now());
            }
        });
    }

    pub(super) fn state(&self) -> State {
        self.peek().driver.state().clone()
    }

    pub(super) fn transport(&self) -> Option<TransportKind> {
        self.peek().driver.transport()
    }

    pub(super) fn watch(&self) -> Watch {
        let timed = self.peek();
        let sender = self
            .watch
            .get_or_init(|| watch::channel(timed.driver.state().clone()).0);
        let mut receiver = sender.subscribe();
        receiver.mark_unchanged();
        Watch(receiver)
    }

    pub(super) fn is_plain(&self) -> bool {
        self.settings.plain
    }

    pub(super) fn id(&self) -> String {
        match &*self.peek().driver.machine {
            Machine::Server(session) => session.id().to_string(),
            Machine::Client(session) => session.id().to_string(),
            Machine::Plain(_) => String::new(),
        }
    }

    /// Locks the driver to change it.
    fn lock(&self) -> MutexGuard<'_, Timed> {
        let mut timed = self.peek();
        timed.short = false;
        timed
    }

    /// Locks the driver to look at it, to drive it, or to go the short way.
    fn peek(&self) -> MutexGuard<'_, Timed> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives while the application's task may wait for what comes of it. Returns whether the
    /// connection is done.
    fn drive_for_others(&self, mut timed: MutexGuard<'_, Timed>, now: Instant) -> bool {
        self.drive(&mut timed, now);
        let done = timed.driver.is_done();
        if timed.driver.has_inbound() || done {
            self.waker.wake_application();
        }
        done
    }

    /// Drives, then tells the world what changed.
    fn drive(&self, timed: &mut Timed, now: Instant) {
        let readable = self.waker.begin();
        timed.now = now;
        let passed = timed.next.is_none_or(|at| at <= now);
        let due = std::mem::take(&mut timed.due) || passed;
        let mut cx = Context::from_waker(&self.task);
        timed
            .driver
            .drive(&mut cx, now, &self.outbox, readable, due);
        timed.short = timed.driver.is_short();
        self.arm(timed, now);
        if let Some(watch) = self.watch.get() {
            watch.send_if_modified(|state| {
                let changed = state != timed.driver.state();
                if changed {
                    state.clone_from(timed.driver.state());
                }
                changed
            });
        }
        self.observe(timed);
    }

    /// Arms the janitor for an acknowledgement: the only deadline that comes closer on the short way.
    /// Whatever else moves one makes an event, or is told by [`Driver::is_well`].
    #[inline]
    fn arm_ack(&self, timed: &mut Timed, now: Instant) {
        if let Some(at) = timed.driver.machine.ack_deadline()
            && timed.next.is_none_or(|next| at < next)
        {
            self.arm(timed, now);
        }
    }

    fn arm(&self, timed: &mut Timed, now: Instant) {
        let Some(mut deadline) = timed.driver.deadline() else {
            return;
        };
        if deadline <= now {
            deadline = now + PAUSED;
        }
        if timed.next.is_none_or(|next| deadline < next) {
            let later = timed.next.replace(deadline);
            timed.armed.extend(later);
            self.janitor.arm(deadline, self.this.clone());
        }
    }

    fn observe(&self, timed: &mut Timed) {
        let Some(observer) = &self.settings.observer else {
            return;
        };
        if let Some(parked) = timed.driver.park_change.take() {
            if let Some(place) = timed.place.take() {
                observer.unparked(place);
            }
            if parked {
                let bytes = timed.driver.machine.unacknowledged_bytes();
                timed.place = Some(observer.parked(&self.this, bytes));
            }
        }
        if !timed.ended && timed.driver.machine.is_closed() {
            timed.ended = true;
            observer.ended(&self.settings.id, timed.driver.machine.remains());
        }
    }
}

/// There is something to send, and nothing to read.
impl Listener for Shared {
    fn published(self: Arc<Self>) {
        let janitor = self.janitor.clone();
        janitor.deliver(self);
    }
}

#[cold]
fn oversized(message: Message, limit: u32) -> SendError {
    let len = message.len();
    let text = format!("the message has {len} bytes, the limit is {limit}");
    SendError::new(message, Error::with_message(ErrorKind::TooLarge, text))
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.settings.id)
            .finish_non_exhaustive()
    }
}
