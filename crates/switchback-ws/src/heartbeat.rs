use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// When the peer was last heard of. Any byte counts.
#[derive(Debug)]
pub(crate) struct SignsOfLife {
    last: Instant,
    since_ping: bool,
    /// Somebody asks for them.
    wanted: bool,
}

impl SignsOfLife {
    /// `wanted`: there is a [`Heartbeat`] with an interval.
    pub(crate) fn new(wanted: bool) -> Self {
        Self {
            last: Instant::now(),
            since_ping: false,
            wanted,
        }
    }

    /// Notes a sign of life. Called per read, so it must cost nothing but a look at the clock, and
    /// not even that where a session above keeps the time.
    pub(crate) fn note(&mut self) {
        if self.wanted {
            self.last = Instant::now();
            self.since_ping = true;
        }
    }
}

/// What is to be done when the timer has fired.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing: the peer is alive. A good time to tidy up.
    Rest,
    /// Ask for a sign of life.
    Ping,
    /// Give it up.
    Dead,
}

/// The timer that looks for silence.
///
/// It is lazy: traffic does not touch it. When it fires, it is set to when the silence that there
/// is then would be too long.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    interval: Option<Duration>,
    timeout: Duration,
    /// Made by the first poll, which is surely inside the runtime.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer is set to the end of the wait for an answer.
    pinged: bool,
}

impl Heartbeat {
    pub(crate) fn new(interval: Option<Duration>, timeout: Duration) -> Self {
        Self {
            interval,
            timeout,
            timer: None,
            pinged: false,
        }
    }

    /// Waits until something is to be done. To be called only where the task is about to wait
    /// anyway.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, signs: &mut SignsOfLife) -> Poll<Beat> {
        let Some(interval) = self.interval else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(signs.last + interval)));
        ready!(timer.as_mut().poll(cx));
        let now = Instant::now();
        if self.pinged && !signs.since_ping {
            return Poll::Ready(Beat::Dead);
        }
        self.pinged = now >= signs.last + interval;
        if self.pinged {
            signs.since_ping = false;
            timer.as_mut().reset(now + self.timeout);
            return Poll::Ready(Beat::Ping);
        }
        timer.as_mut().reset(signs.last + interval);
        Poll::Ready(Beat::Rest)
    }

    /// Gives the timer back.
    pub(crate) fn stop(&mut self) {
        self.interval = None;
        self.timer = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::time::advance;

    const INTERVAL: Duration = Duration::from_secs(25);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn heartbeat() -> (Heartbeat, SignsOfLife) {
        let heartbeat = Heartbeat::new(Some(INTERVAL), TIMEOUT);
        (heartbeat, SignsOfLife::new(true))
    }

    async fn next(heartbeat: &mut Heartbeat, signs: &mut SignsOfLife) -> (Beat, Duration) {
        let begun = Instant::now();
        loop {
            let beat = poll_fn(|cx| heartbeat.poll(cx, signs)).await;
            if beat != Beat::Rest {
                return (beat, begun.elapsed());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_asked_about_and_then_ends_it() {
        let (mut heartbeat, mut signs) = heartbeat();
        let begun = Instant::now();
        let (beat, _) = next(&mut heartbeat, &mut signs).await;
        assert_eq!(beat, Beat::Ping);
        assert_eq!(begun.elapsed().as_secs(), 25);
        let (beat, _) = next(&mut heartbeat, &mut signs).await;
        assert_eq!(beat, Beat::Dead);
        assert_eq!(begun.elapsed().as_secs(), 35);
    }

    #[tokio::test(start_paused = true)]
    async fn any_sign_puts_the_ping_off() {
        let (mut heartbeat, mut signs) = heartbeat();
        let begun = Instant::now();
        for _ in 0..3 {
            tokio::select! {
                beat = next(&mut heartbeat, &mut signs) => panic!("{beat:?}"),
                () = tokio::time::sleep(Duration::from_secs(20)) => {}
            }
            signs.note();
        }
        let (beat, _) = next(&mut heartbeat, &mut signs).await;
        assert_eq!(beat, Beat::Ping);
        assert_eq!(begun.elapsed().as_secs(), 3 * 20 + 25);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_at_the_same_instant_counts() {
        let (mut heartbeat, mut signs) = heartbeat();
        for _ in 0..3 {
            let (beat, after) = next(&mut heartbeat, &mut signs).await;
            assert_eq!((beat, after.as_secs()), (Beat::Ping, 25));
            signs.note();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_interval_nothing_happens() {
        let mut heartbeat = Heartbeat::new(None, TIMEOUT);
        let mut signs = SignsOfLife::new(false);
        advance(Duration::from_secs(3600)).await;
        let polled = poll_fn(|cx| Poll::Ready(heartbeat.poll(cx, &mut signs))).await;
        assert!(polled.is_pending());
        assert!(heartbeat.timer.is_none());
    }
}
