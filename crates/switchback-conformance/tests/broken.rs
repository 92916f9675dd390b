//! Transports with one bug each: the suite names the case that the bug breaks.

#![expect(clippy::unwrap_used, reason = "a panic is how these tests fail")]

mod memory;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker, ready};

use memory::Memory;
use switchback_conformance::Suite;
use switchback_core::{
    CloseReason, Error, ErrorKind, Message, Run, Transport, TransportInfo, TransportKind, WireForm,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    InfoOfAnotherKind,
    BinaryBecomesText,
    TrimsLeadingSpaces,
    EatsTheByteOrderMark,
    NormalisesLineEnds,
    LosesEmptyMessages,
    CutsLargeMessages,
    PrintsPayloads,
    ForgetsTheReceiver,
    KeepsOnlyTheLastUnflushed,
    SwapsTwoMessages,
    DoublesOneMessage,
    GivesMoreThanIsWanted,
    LosesWhatIsNotWanted,
    EndsWithMessages,
    SharesItsMask,
    LosesTheEndOfARun,
    RepeatsARunThatHadNoRoom,
    LosesACancelledReceive,
    RemembersACancelledSend,
    HasNoBound,
    Spins,
    ForgetsMessagesAtClose,
    ForgetsTheReason,
    TakesTheLastReason,
    FailsASecondClose,
    FailsACloseThatCrosses,
    FailsACloseWithInbound,
    FailsACloseWhenThePeerIsGone,
    TakesMessagesAfterClose,
    PanicsAfterClose,
    HangsAfterClose,
    CallsACutAClose,
    LosesAnErrorOnceTold,
    SkipsAMessageAtACut,
    WaitsForRoomAfterACut,
}

/// Each bug, and the case that has to find it.
const BUGS: &[(Bug, &str)] = &[
    (Bug::InfoOfAnotherKind, "info"),
    (Bug::BinaryBecomesText, "kinds"),
    (Bug::TrimsLeadingSpaces, "bit_exact"),
    (Bug::EatsTheByteOrderMark, "bit_exact"),
    (Bug::NormalisesLineEnds, "bit_exact"),
    (Bug::LosesEmptyMessages, "bit_exact"),
    (Bug::CutsLargeMessages, "large"),
    (Bug::PrintsPayloads, "debug_hides_payloads"),
    (Bug::ForgetsTheReceiver, "ping_pong"),
    (Bug::KeepsOnlyTheLastUnflushed, "one_flush"),
    (Bug::SwapsTwoMessages, "order"),
    (Bug::DoublesOneMessage, "order"),
    (Bug::GivesMoreThanIsWanted, "batches"),
    (Bug::LosesWhatIsNotWanted, "batches"),
    (Bug::EndsWithMessages, "batches"),
    (Bug::SharesItsMask, "prepared"),
    (Bug::LosesTheEndOfARun, "runs"),
    (Bug::RepeatsARunThatHadNoRoom, "runs"),
    (Bug::LosesACancelledReceive, "cancel_recv"),
    (Bug::RemembersACancelledSend, "cancel_send"),
    (Bug::HasNoBound, "backpressure"),
    (Bug::Spins, "idle"),
    (Bug::ForgetsMessagesAtClose, "close_after_messages"),
    (Bug::ForgetsTheReason, "close_reason"),
    (Bug::TakesTheLastReason, "close_twice"),
    (Bug::FailsASecondClose, "close_twice"),
    (Bug::FailsACloseThatCrosses, "close_both"),
    (Bug::FailsACloseWithInbound, "close_while_peer_sends"),
    (Bug::FailsACloseWhenThePeerIsGone, "close_then_peer_drops"),
    (Bug::TakesMessagesAfterClose, "send_after_close"),
    (Bug::PanicsAfterClose, "send_after_close"),
    (Bug::HangsAfterClose, "send_after_close"),
    (Bug::CallsACutAClose, "drop_is_not_close"),
    (Bug::LosesAnErrorOnceTold, "drop_is_not_close"),
    (Bug::SkipsAMessageAtACut, "drop_after_messages"),
    (Bug::WaitsForRoomAfterACut, "drop_while_peer_sends"),
];

#[test]
fn every_bug_is_found_by_its_case() {
    for &(bug, case) in BUGS {
        let report = run(Some(bug), case).expect_err(&format!("{bug:?} passed {case}"));
        for role in ["server", "client"] {
            let named = format!("case `{case}` from the {role}");
            assert!(report.contains(&named), "{bug:?}: {report}");
        }
    }
}

#[test]
fn every_case_finds_a_bug() {
    let tested: BTreeSet<_> = BUGS.iter().map(|&(_, case)| case).collect();
    let cases: BTreeSet<_> = Suite::cases().collect();
    assert_eq!(tested, cases);
}

/// Otherwise the wrapper, and not the bug, might be what is found.
#[test]
fn without_a_bug_every_case_passes() {
    for case in Suite::cases() {
        run(None, case).unwrap();
    }
}

#[test]
fn a_panic_is_part_of_the_report() {
    let report = run(Some(Bug::PanicsAfterClose), "send_after_close").unwrap_err();
    assert!(
        report.contains("it panicked: polled after close"),
        "{report}"
    );
}

#[test]
fn a_case_that_hangs_says_how_far_it_got() {
    let report = run(Some(Bug::ForgetsTheReceiver), "ping_pong").unwrap_err();
    assert!(report.contains("time ran out before"), "{report}");
    assert!(report.contains("the server has sent 1"), "{report}");
}

/// Runs one case, and returns what the suite said in its panic.
fn run(bug: Option<Bug>, case: &'static str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        // What hangs, hangs at once. A transport that spins keeps the clock from moving.
        .start_paused(bug != Some(Bug::Spins))
        .build()
        .unwrap();
    let suite = Suite::new(async || broken_pair(bug)).only(case);
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(suite.run())))
        .map_err(|panic| *panic.downcast::<String>().unwrap())
}

fn broken_pair(bug: Option<Bug>) -> (Broken, Broken) {
    /// Every connection masks with another byte.
    static MASK: AtomicU8 = AtomicU8::new(0);
    let mask = b'a' + MASK.fetch_add(1, Ordering::Relaxed) % 26;
    let (server, client) = match bug {
        Some(Bug::HasNoBound) => memory::pair_with_bound(usize::MAX),
        _ => memory::pair(),
    };
    (
        Broken::new(server, bug, mask, TransportKind::Sse),
        Broken::new(client, bug, mask, TransportKind::LongPoll),
    )
}

/// A transport that does what its inner one does, but for one bug.
#[derive(Debug)]
struct Broken {
    inner: Memory,
    bug: Option<Bug>,
    info: TransportInfo,
    mask: u8,
    /// How many messages were received.
    received: usize,
    /// A message that was received and not given out yet.
    held: Option<Message>,
    /// Who asked for it.
    asked: Option<Waker>,
    /// The message taken last, not flushed yet.
    unflushed: Option<Message>,
    /// A message that did not fit, but was kept.
    slot: Option<Message>,
    /// The last send had to wait.
    blocked: bool,
    /// A close was begun, and is complete.
    closing: bool,
    closed: bool,
    /// Receiving has failed.
    failed: bool,
    /// What `Debug` prints.
    shown: String,
}

impl Broken {
    fn new(inner: Memory, bug: Option<Bug>, mask: u8, kind: TransportKind) -> Self {
        Self {
            inner,
            bug,
            info: TransportInfo::new(kind),
            mask,
            received: 0,
            held: None,
            asked: None,
            unflushed: None,
            slot: None,
            blocked: false,
            closing: false,
            closed: false,
            failed: false,
            shown: String::new(),
        }
    }

    /// What becomes of a message on its way to the application.
    fn decode(&self, message: Message) -> Message {
        let bytes = message.bytes().clone();
        let text = message.as_text().unwrap_or_default();
        match self.bug {
            Some(Bug::BinaryBecomesText) => Message::text_from_bytes(bytes).unwrap_or(message),
            Some(Bug::TrimsLeadingSpaces) if message.is_text() => {
                Message::text(text.trim_start_matches(' '))
            }
            Some(Bug::EatsTheByteOrderMark) if message.is_text() => {
                Message::text(text.strip_prefix('\u{feff}').unwrap_or(text))
            }
            Some(Bug::NormalisesLineEnds) if message.is_text() => {
                Message::text(text.replace("\r\n", "\n").replace('\r', "\n"))
            }
            Some(Bug::CutsLargeMessages) if bytes.len() > 70_000 => {
                Message::binary(bytes.slice(..70_000))
            }
            Some(Bug::SharesItsMask) => match bytes.split_last() {
                Some((&mask, rest)) if mask == self.mask => {
                    Message::from_bytes(message.kind(), bytes.slice(..rest.len())).unwrap()
                }
                _ => message,
            },
            _ => message,
        }
    }

    /// What becomes of a message on its way to the network.
    fn encode(&self, message: &Message) -> Message {
        if self.bug != Some(Bug::SharesItsMask) {
            return message.clone();
        }
        let encoded = message.encoded(WireForm::WebSocketFrame, |message| {
            [message.as_bytes(), &[self.mask]].concat().into()
        });
        Message::from_bytes(message.kind(), encoded).unwrap()
    }

    /// Receives a message, and gives a number of them out in another order or not at all.
    fn recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        if let Some(message) = self.held.take() {
            if self.bug == Some(Bug::LosesACancelledReceive)
                && !self
                    .asked
                    .take()
                    .is_some_and(|asked| asked.will_wake(cx.waker()))
            {
                return self.inner.poll_recv(cx);
            }
            return Poll::Ready(Ok(Some(message)));
        }
        if self.bug == Some(Bug::SkipsAMessageAtACut) && !self.failed && self.inner.peer_ended() {
            self.failed = true;
            let _skipped = self.inner.poll_recv(cx);
        }
        let Some(message) = ready!(self.inner.poll_recv(cx))? else {
            return Poll::Ready(Ok(None));
        };
        self.received += 1;
        match self.bug {
            Some(Bug::LosesEmptyMessages) if message.is_empty() => self.recv(cx),
            Some(Bug::DoublesOneMessage) if self.received == 7000 => {
                self.held = Some(message.clone());
                Poll::Ready(Ok(Some(message)))
            }
            Some(Bug::SwapsTwoMessages) if self.received == 7000 => {
                let next = self.inner.poll_recv(cx);
                self.held = Some(message);
                if next.is_pending() {
                    self.recv(cx)
                } else {
                    next
                }
            }
            Some(Bug::LosesACancelledReceive) => {
                self.held = Some(message);
                self.asked = Some(cx.waker().clone());
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(Ok(Some(message))),
        }
    }
}

impl Transport for Broken {
    fn info(&self) -> &TransportInfo {
        match self.bug {
            Some(Bug::InfoOfAnotherKind) => &self.info,
            _ => self.inner.info(),
        }
    }

    fn poll_recv_each(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Message) -> bool,
    ) -> Poll<Result<bool, Error>> {
        let mut given = false;
        loop {
            match self.poll_recv(cx) {
                Poll::Ready(Ok(Some(message))) => {
                    given = true;
                    if take(message) {
                        continue;
                    }
                    if self.bug == Some(Bug::GivesMoreThanIsWanted) {
                        continue;
                    }
                    if self.bug == Some(Bug::LosesWhatIsNotWanted) {
                        let _lost = self.poll_recv(cx);
                    }
                    return Poll::Ready(Ok(true));
                }
                Poll::Ready(Ok(None)) if self.bug == Some(Bug::EndsWithMessages) => {
                    return Poll::Ready(Ok(false));
                }
                // An end is told again the next time.
                _ if given => return Poll::Ready(Ok(true)),
                other => return other.map_ok(|_| false),
            }
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        let forgotten = &mut Context::from_waker(Waker::noop());
        let cx = match self.bug {
            Some(Bug::ForgetsTheReceiver) => forgotten,
            _ => cx,
        };
        match self.bug {
            Some(Bug::PanicsAfterClose) if self.closed => panic!("polled after close"),
            Some(Bug::HangsAfterClose) if self.closed => return Poll::Pending,
            Some(Bug::LosesAnErrorOnceTold) if self.failed => return Poll::Pending,
            Some(Bug::WaitsForRoomAfterACut) if self.blocked && self.inner.peer_ended() => {
                return Poll::Pending;
            }
            Some(Bug::ForgetsMessagesAtClose) if self.inner.peer_ended() => {
                while let Poll::Ready(Ok(Some(_))) = self.inner.poll_recv(cx) {}
            }
            _ => {}
        }
        match self.recv(cx) {
            Poll::Ready(Ok(Some(message))) => Poll::Ready(Ok(Some(self.decode(message)))),
            Poll::Ready(Err(_)) if self.bug == Some(Bug::CallsACutAClose) => Poll::Ready(Ok(None)),
            Poll::Ready(Err(error)) => {
                self.failed = true;
                Poll::Ready(Err(error))
            }
            Poll::Pending if self.bug == Some(Bug::Spins) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &Message) -> Poll<Result<(), Error>> {
        match self.bug {
            Some(Bug::TakesMessagesAfterClose) if self.closed => return Poll::Ready(Ok(())),
            Some(Bug::WaitsForRoomAfterACut) if self.blocked && self.inner.peer_ended() => {
                return Poll::Pending;
            }
            Some(Bug::PrintsPayloads) => self.shown = message.as_text().unwrap_or("").to_owned(),
            Some(Bug::KeepsOnlyTheLastUnflushed) => {
                self.unflushed = Some(message.clone());
                return Poll::Ready(Ok(()));
            }
            Some(Bug::RemembersACancelledSend) => {
                if let Some(kept) = self.slot.as_ref().filter(|kept| *kept != message) {
                    ready!(self.inner.poll_send(cx, kept))?;
                }
            }
            _ => {}
        }
        let encoded = self.encode(message);
        let sent = self.inner.poll_send(cx, &encoded);
        self.blocked = sent.is_pending();
        if self.bug == Some(Bug::RemembersACancelledSend) {
            self.slot = self.blocked.then(|| message.clone());
        }
        sent
    }

    fn poll_send_run(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Poll<Result<(), Error>> {
        let before = run.clone();
        while let Some(message) = run.front() {
            let sent = self.poll_send(cx, message);
            if sent.is_pending() && self.bug == Some(Bug::RepeatsARunThatHadNoRoom) {
                *run = before.clone();
            }
            ready!(sent)?;
            run.advance(1);
            if self.bug == Some(Bug::LosesTheEndOfARun) && before.len() > 9 && run.len() == 1 {
                run.advance(1);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Some(message) = &self.unflushed {
            ready!(self.inner.poll_send(cx, message))?;
            self.unflushed = None;
        }
        self.inner.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, why: &CloseReason) -> Poll<Result<(), Error>> {
        let begun = std::mem::replace(&mut self.closing, true);
        match self.bug {
            // It begins to close at the second call only, for that call's reason.
            Some(Bug::TakesTheLastReason) if !begun => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Bug::FailsASecondClose) if self.closed => {
                return Poll::Ready(Err(ErrorKind::Closed.into()));
            }
            Some(Bug::FailsACloseThatCrosses) if !begun && self.inner.peer_ended() => {
                return Poll::Ready(Err(ErrorKind::Protocol.into()));
            }
            Some(Bug::FailsACloseWithInbound) if !begun => {
                if let Poll::Ready(Ok(Some(_))) = self.inner.poll_recv(cx) {
                    return Poll::Ready(Err(ErrorKind::Protocol.into()));
                }
            }
            _ => {}
        }
        ready!(self.inner.poll_close(cx, why))?;
        if self.bug == Some(Bug::FailsACloseWhenThePeerIsGone) && self.inner.peer_ended() {
            return Poll::Ready(Err(ErrorKind::Reset.into()));
        }
        self.closed = true;
        Poll::Ready(Ok(()))
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        match self.bug {
            Some(Bug::ForgetsTheReason) => None,
            _ => self.inner.close_reason(),
        }
    }
}
