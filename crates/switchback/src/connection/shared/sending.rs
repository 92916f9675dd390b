//! What sends: the application's task, past the outbox where nothing is before it, and everybody else.

use std::sync::MutexGuard;
use std::task::Context;
use std::time::Instant;

use switchback_core::{Error, ErrorKind, Message};

use super::{Shared, Timed};
use crate::connection::SendError;
use crate::connection::outbox::{Bound, Rejected};

impl Shared {
    /// Sends for the owner what could not go past the outbox, once there is room.
    pub(in crate::connection) async fn send_own(&self, message: Message) -> Result<(), SendError> {
        self.send(message).await?;
        self.push_out();
        Ok(())
    }

    /// Sends for the owner without waiting.
    pub(in crate::connection) fn try_send_own(
        &self,
        message: Message,
        more: bool,
    ) -> Result<(), SendError> {
        if let Some(message) = self.send_past_outbox(message, more)? {
            self.enqueue(message)?;
            self.push_out();
        }
        Ok(())
    }

    /// Sends for the owner: gives a message to the machine right away where nothing is before it, and
    /// has it written in the owner's task. Gives the message back where something is before it. With
    /// `more` the owner has more to take that it may reply to.
    pub(in crate::connection) fn send_past_outbox(
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
        if timed.driver.read_ahead(&self.outbox) {
            return Ok(Some(message));
        }
        if !timed.short {
            return Ok(self.send_long(timed, message));
        }
        if !timed.driver.is_behind() {
            timed.now = Instant::now();
        }
        let now = timed.now;
        let mut cx = Context::from_waker(&self.task);
        match timed.driver.send_short(&mut cx, now, message) {
            Ok(true) if timed.driver.may_linger(more) => {
                // In case that the application is slow over the next message.
                self.waker.nudge_soon();
            }
            Ok(true) if timed.driver.flush_short(&mut cx) => {}
            Ok(_) => drop(self.drive_for_others(timed, Instant::now())),
            Err(message) => return Ok(Some(message)),
        }
        Ok(None)
    }

    /// Sends for the owner where the short way is closed, and drives unless that is to wait for more.
    #[inline(never)]
    fn send_long(&self, mut timed: MutexGuard<'_, Timed>, message: Message) -> Option<Message> {
        if let Err(message) = timed.driver.send(message) {
            return Some(message);
        }
        if timed.driver.may_defer() {
            self.waker.nudge_soon();
        } else {
            self.drive_for_others(timed, Instant::now());
        }
        None
    }

    /// Queues a message once there is room below the soft limit, and tells the connection's own task
    /// to write it, so that messages which come faster than it runs leave in one write.
    pub(in crate::connection) async fn send(&self, message: Message) -> Result<(), SendError> {
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
    pub(in crate::connection) fn enqueue(&self, message: Message) -> Result<(), SendError> {
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

    fn push_out(&self) {
        // Whoever holds the lock drives, but may have passed the outbox already.
        match self.driver.try_lock() {
            Ok(timed) => drop(self.drive_for_others(timed, Instant::now())),
            Err(_) => self.waker.call(),
        }
    }

    #[inline]
    fn check_size(&self, message: Message) -> Result<Message, SendError> {
        match self.outbox.exceeds(&message) {
            None => Ok(message),
            Some(limit) => Err(oversized(message, limit)),
        }
    }
}

#[cold]
fn oversized(message: Message, limit: u32) -> SendError {
    let len = message.len();
    let text = format!("the message has {len} bytes, the limit is {limit}");
    SendError::new(message, Error::with_message(ErrorKind::TooLarge, text))
}
