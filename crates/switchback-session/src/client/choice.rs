//! Which transport to try when (the choice machine): races with head starts, probation, probes for
//! something better, reconnects. It knows nothing of messages.

mod attempt;
mod probe;
mod race;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use switchback_core::TransportKind;

use crate::{Entropy, Failure, FailureWhy};

use super::gate::{Gate, Permit};
use super::{ClientConfig, Memory};
use attempt::Attempt;
use probe::Probe;

/// What the machine wants.
#[derive(Debug)]
pub(super) enum Command {
    /// Start a transport; the client has given up all attachments below the fence.
    Start {
        attachment: u64,
        kind: TransportKind,
        fence: u64,
    },
    /// Stop or drop one that was started and has not been decided for.
    Cancel { attachment: u64 },
    /// Every try of a round has failed.
    RoundFailed {
        failures: Vec<Failure>,
        next: Instant,
    },
    /// The same, and no other round follows.
    GiveUp { failures: Vec<Failure> },
}

#[derive(Debug)]
pub(super) struct Choice {
    phase: Phase,
    attempts: Vec<Attempt>,
    /// The number of the next attachment.
    next: u64,
    memory: Memory,
    gate: Gate,
    /// What failed in this round.
    failures: Vec<Failure>,
    failed_rounds: u32,
    /// Whether any transport ever opened the session.
    succeeded: bool,
    probe: Probe,
    commands: VecDeque<Command>,
}

#[derive(Debug)]
enum Phase {
    /// Until the gate lets the next round begin.
    Waiting { until: Instant },
    /// The kinds that are still to be started in this round, the next of them at the time.
    Racing {
        queue: VecDeque<TransportKind>,
        next_at: Instant,
    },
    /// A transport carries the session.
    Settled(Settled),
    /// Nothing is started any more.
    Stopped,
}

#[derive(Clone, Copy, Debug)]
struct Settled {
    attachment: u64,
    kind: TransportKind,
    /// When it opened.
    opened: Instant,
    /// When it has lived long enough to be trusted, if that is to come.
    trust_at: Option<Instant>,
}

impl Choice {
    /// Makes a machine that begins its first round at once.
    pub(super) fn new(now: Instant, config: &ClientConfig, memory: Memory) -> Self {
        Self {
            phase: Phase::Waiting { until: now },
            attempts: Vec::new(),
            next: 1,
            memory,
            gate: Gate::new(config),
            failures: Vec::new(),
            failed_rounds: 0,
            succeeded: false,
            probe: Probe::new(config),
            commands: VecDeque::new(),
        }
    }

    pub(super) fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Returns the kind of an attachment that was started and not decided for.
    pub(super) fn attempt(&self, attachment: u64) -> Option<TransportKind> {
        let attempt = self.attempts.iter().find(|a| a.attachment == attachment)?;
        Some(attempt.kind)
    }

    /// Tells whether no other attachment than this one is tried, and none was begun after it.
    pub(super) fn is_alone(&self, attachment: u64) -> bool {
        attachment + 1 == self.next && self.attempts.iter().all(|a| a.attachment == attachment)
    }

    /// A transport has opened; its first frame is to come.
    pub(super) fn opened(&mut self, now: Instant, config: &ClientConfig, attachment: u64) {
        let attempt = self
            .attempts
            .iter_mut()
            .find(|a| a.attachment == attachment);
        if let Some(attempt) = attempt {
            attempt.open(now, config);
        }
    }

    /// An attempt has delivered `opened`, and is decided for when the server confirms `select`: what
    /// delivers need not carry anything the other way.
    pub(super) fn try_out(&mut self, now: Instant, config: &ClientConfig, attachment: u64) {
        for attempt in &mut self.attempts {
            if attempt.attachment == attachment {
                attempt.try_out(now, config);
            }
        }
    }

    /// An attempt is of no use any more, and somebody else closes it.
    pub(super) fn forget(&mut self, attachment: u64) {
        self.attempts.retain(|a| a.attachment != attachment);
    }

    /// A transport could not be opened, or ended before it was decided for.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        config: &ClientConfig,
        entropy: &mut dyn Entropy,
        attachment: u64,
        failure: Failure,
    ) {
        self.fail(now, config, entropy, attachment, failure);
        self.advance(now, config, entropy);
    }

    fn fail(
        &mut self,
        now: Instant,
        config: &ClientConfig,
        entropy: &mut dyn Entropy,
        attachment: u64,
        failure: Failure,
    ) {
        let Some(index) = self
            .attempts
            .iter()
            .position(|a| a.attachment == attachment)
        else {
            return;
        };
        let attempt = self.attempts.remove(index);
        if let Some(delay) = failure.retry_after {
            self.gate.hint(now, delay);
        }
        match failure.why {
            // "Opening is not working": what opens and delivers nothing goes on probation at once,
            // what opens and dies after its second death.
            FailureWhy::Buffered => self.memory.demote(attempt.kind, now, config),
            FailureWhy::Cut | FailureWhy::Protocol if attempt.opened.is_some() => {
                self.memory.strike(attempt.kind, now, config);
            }
            _ => {}
        }
        match &mut self.phase {
            Phase::Racing { next_at, .. } => {
                self.failures.push(failure);
                // A refusal starts the next at once.
                *next_at = now;
            }
            Phase::Settled(_) if self.attempts.is_empty() && self.probe.queue.is_empty() => {
                self.probe.failed(now, config, entropy);
            }
            Phase::Settled(_) | Phase::Waiting { .. } | Phase::Stopped => {}
        }
    }

    /// An attempt is decided for; all others are not needed.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        config: &ClientConfig,
        entropy: &mut dyn Entropy,
        attachment: u64,
    ) {
        let Some(index) = self
            .attempts
            .iter()
            .position(|a| a.attachment == attachment)
        else {
            return;
        };
        let winner = self.attempts.swap_remove(index);
        let rank = |kind| config.transports().iter().position(|k| *k == kind);
        let better = |kind| rank(kind) < rank(winner.kind);
        let late = self.attempts.iter().any(|loser| better(loser.kind));
        self.cancel_attempts();
        self.failures.clear();
        self.failed_rounds = 0;
        self.succeeded = true;
        let opened = winner.opened.unwrap_or(now);
        self.phase = Phase::Settled(Settled {
            attachment,
            kind: winner.kind,
            opened,
            trust_at: Some(opened + config.probation().1),
        });
        self.probe.stop();
        if late {
            self.probe.begin_soon(now);
        } else if config.transports().iter().any(|kind| better(*kind)) {
            self.probe.put_off(now, entropy);
        }
    }

    /// The transport in use has died. Returns when the next round begins.
    pub(super) fn died(
        &mut self,
        now: Instant,
        config: &ClientConfig,
        entropy: &mut dyn Entropy,
        clean: bool,
    ) -> Instant {
        self.refresh(now, config);
        if let Phase::Settled(settled) = self.phase
            && settled.trust_at.is_some()
            && !clean
            && now < settled.opened + config.probation().1
        {
            self.memory.strike(settled.kind, now, config);
        }
        self.wait(now, entropy)
    }

    /// The server has closed the transport in use because nothing came. Where that is before the
    /// `timeout` of the heartbeat, nothing has come there ever.
    pub(super) fn unanswered(&mut self, now: Instant, config: &ClientConfig, timeout: Duration) {
        if let Phase::Settled(settled) = &mut self.phase
            && now < settled.opened + timeout
        {
            // Not to be trusted, though it has lived for long enough.
            settled.trust_at = Some(now);
            self.memory.demote(settled.kind, now, config);
        }
    }

    /// A transport that is trusted is remembered from its end on.
    fn refresh(&mut self, now: Instant, config: &ClientConfig) {
        if let Phase::Settled(settled) = &self.phase
            && settled.trust_at.is_none()
        {
            self.memory.win(settled.kind, now, config);
        }
    }

    /// The server has asked to come back, after so long or later than usual.
    pub(super) fn hint(&mut self, now: Instant, delay: Option<Duration>, later: bool) {
        if let Some(delay) = delay {
            self.gate.hint(now, delay);
        }
        if later {
            self.gate.later();
        }
    }

    /// Begins a round as soon as the gate lets it. Probes that are under way take part in it.
    fn wait(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Instant {
        let until = self.gate.next_round(now, entropy);
        self.probe.stop();
        self.failures.clear();
        self.phase = Phase::Waiting { until };
        until
    }

    /// The network seems to be back.
    pub(super) fn wake(&mut self, now: Instant, config: &ClientConfig, entropy: &mut dyn Entropy) {
        if let Phase::Waiting { until } = &mut self.phase {
            *until = self.gate.wake(now, entropy).min(*until);
            self.advance(now, config, entropy);
        }
    }

    /// Nothing better is looked for any more. One on trial goes on: the server may have moved there.
    pub(super) fn stop_probing(&mut self) {
        if matches!(self.phase, Phase::Settled(_)) {
            self.probe.stop();
            self.cancel(|attempt| !attempt.on_trial);
        }
    }

    /// Starts nothing any more. The transport in use has worked until now.
    pub(super) fn stop(&mut self, now: Instant, config: &ClientConfig) {
        self.cancel_attempts();
        self.refresh(now, config);
        self.phase = Phase::Stopped;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Waiting { until } => Some(*until),
            Phase::Racing { queue, next_at } => (!queue.is_empty()).then_some(*next_at),
            Phase::Settled(settled) => {
                // One probe at a time.
                let probe = self.probe.at.filter(|_| self.attempts.is_empty());
                settled.trust_at.into_iter().chain(probe).min()
            }
            Phase::Stopped => None,
        };
        let attempts = self.attempts.iter().map(|attempt| attempt.deadline);
        attempts.chain(phase).min()
    }

    /// Does what is due.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        config: &ClientConfig,
        entropy: &mut dyn Entropy,
    ) {
        while let Some(late) = self.attempts.iter().find(|a| a.deadline <= now) {
            let (attachment, failure) = (late.attachment, late.overdue(config));
            self.commands.push_back(Command::Cancel { attachment });
            self.fail(now, config, entropy, attachment, failure);
        }
        if let Phase::Waiting { until } = self.phase
            && until <= now
        {
            self.phase = Phase::Racing {
                queue: self.memory.order(config.transports(), now).into(),
                next_at: now,
            };
        }
        match self.phase {
            Phase::Racing { .. } => self.race(now, config, entropy),
            Phase::Settled(_) => self.look_up(now, config, entropy),
            Phase::Waiting { .. } | Phase::Stopped => {}
        }
    }

    fn start(
        &mut self,
        now: Instant,
        config: &ClientConfig,
        kind: TransportKind,
        in_use: Option<u64>,
        _permit: Permit,
    ) {
        let attachment = self.next;
        self.next += 1;
        self.attempts
            .push(Attempt::new(now, config, attachment, kind));
        // Everything that is neither in use nor tried now was given up.
        let tried = self.attempts.iter().map(|attempt| attempt.attachment);
        let fence = tried.chain(in_use).min().unwrap_or(attachment);
        self.commands.push_back(Command::Start {
            attachment,
            kind,
            fence,
        });
    }

    /// Gives up everything that is being tried.
    pub(super) fn cancel_attempts(&mut self) {
        self.cancel(|_| true);
    }

    fn cancel(&mut self, which: impl Fn(&Attempt) -> bool) {
        let commands = &mut self.commands;
        self.attempts.retain(|attempt| {
            let goes = which(attempt);
            if goes {
                let attachment = attempt.attachment;
                commands.push_back(Command::Cancel { attachment });
            }
            !goes
        });
    }
}
