use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use bytes::Bytes;

use super::{Broadcast, Lagged, Listener, Run, Subscription};
use crate::{Message, WireForm};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(subscription: &mut Subscription) -> Poll<Result<Run, Lagged>> {
    subscription.poll_next(&mut Context::from_waker(Waker::noop()))
}

/// Reads all there is, and says how much was missed before it.
fn read(subscription: &mut Subscription) -> (Vec<String>, u64) {
    let (mut texts, mut missed) = (Vec::new(), 0);
    while let Poll::Ready(run) = poll(subscription) {
        match run {
            Ok(run) => texts.extend(run.filter_map(|message| message.into_text().ok())),
            Err(lagged) => missed += lagged.missed(),
        }
    }
    assert!(!subscription.is_behind());
    (texts, missed)
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[test]
fn everybody_reads_what_was_published_since_they_subscribed() {
    let broadcast = Broadcast::new();
    assert_eq!(broadcast.publish("nobody is there"), 0);
    let mut early = broadcast.subscribe();
    let mut late = None;
    for n in 0..200 {
        if n == 70 {
            late = Some(broadcast.subscribe());
        }
        assert_eq!(broadcast.publish(n.to_string()), 1 + usize::from(n >= 70));
        if n % 3 == 0 && n < 100 {
            assert!(early.is_behind());
            let start = if n == 0 { 0 } else { n - 2 };
            assert_eq!(read(&mut early), (numbers(start..n + 1), 0));
        }
    }
    assert_eq!(read(&mut early), (numbers(100..200), 0));
    assert_eq!(read(&mut late.unwrap()), (numbers(70..200), 0));
    assert_eq!(broadcast.subscribers(), 1);
    assert!(early.is_of(&broadcast.clone()) && !early.is_of(&Broadcast::new()));
}

#[test]
fn who_waits_is_woken_once_for_whatever_comes() {
    let broadcast = Broadcast::new();
    let mut subscription = broadcast.subscribe();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(subscription.poll_next(&mut cx).is_pending());
    assert!(subscription.poll_next(&mut cx).is_pending());
    for _ in 0..3 {
        broadcast.publish("x");
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
    assert!(matches!(subscription.poll_next(&mut cx), Poll::Ready(Ok(run)) if run.len() == 3));
    broadcast.publish("x");
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "it has not asked again");
    assert!(subscription.poll_next(&mut cx).is_ready());
    assert!(subscription.poll_next(&mut cx).is_pending());
    drop(subscription);
    broadcast.publish("x");
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert_eq!(Arc::strong_count(&count), 2, "nothing is left of it");
}

#[test]
fn who_falls_behind_misses_messages_and_goes_on() {
    for (messages, bytes) in [(100, usize::MAX), (usize::MAX, 300)] {
        let broadcast = Broadcast::with_capacity(messages, bytes);
        let mut slow = broadcast.subscribe();
        let mut quick = broadcast.subscribe();
        let mut all = Vec::new();
        for n in 0..1000 {
            broadcast.publish(n.to_string());
            all.extend(read(&mut quick).0);
        }
        assert_eq!(all, numbers(0..1000));
        let (texts, missed) = read(&mut slow);
        let missed = usize::try_from(missed).unwrap();
        assert_eq!(texts, numbers(missed..1000));
        assert!((64..=164).contains(&texts.len()), "{}", texts.len());
        broadcast.publish("1000");
        assert_eq!(read(&mut slow), (numbers(1000..1001), 0));
    }
}

#[test]
fn who_reads_everything_misses_nothing_however_small_the_capacity() {
    for (messages, bytes) in [(0, usize::MAX), (100, 0), (0, 0)] {
        let broadcast = Broadcast::with_capacity(messages, bytes);
        let mut subscription = broadcast.subscribe();
        for n in 0..200 {
            broadcast.publish(n.to_string());
            assert_eq!(read(&mut subscription), (numbers(n..n + 1), 0));
        }
        broadcast.publish("x".repeat(20_000));
        assert_eq!(read(&mut subscription).1, 0);
    }
}

/// What is dropped, woken or told may use the broadcast itself.
struct Curious(Broadcast);

impl AsRef<[u8]> for Curious {
    fn as_ref(&self) -> &[u8] {
        &[0; 20_000]
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        self.0.subscribers();
    }
}

impl Listener for Curious {
    fn published(self: Arc<Self>) {
        self.0.publish("again");
    }
}

#[test]
fn nothing_of_others_runs_under_the_lock() {
    let broadcast = Broadcast::with_capacity(1, 1);
    let curious = || Message::binary(Bytes::from_owner(Curious(broadcast.clone())));
    let mut subscription = broadcast.subscribe();
    for _ in 0..3 {
        broadcast.publish(curious());
    }
    // They are dropped when they are read, when nobody has, and with who has not.
    assert!(poll(&mut subscription).is_ready());
    broadcast.publish(curious());
    drop(subscription);
    let mut subscription = broadcast.subscribe();
    let listener: Arc<dyn Listener> = Arc::new(Curious(broadcast.clone()));
    assert!(subscription.next_or_listen(&listener).is_none());
    broadcast.publish("once");
    assert_eq!(read(&mut subscription).0, ["once", "again"]);
}

struct Panics;

impl Listener for Panics {
    fn published(self: Arc<Self>) {
        panic!("as it does");
    }
}

#[test]
fn a_listener_that_panics_keeps_nobody_from_being_told() {
    let broadcast = Broadcast::new();
    let (mut first, mut second) = (broadcast.subscribe(), broadcast.subscribe());
    let panics: Arc<dyn Listener> = Arc::new(Panics);
    assert!(first.next_or_listen(&panics).is_none());
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert!(
        second
            .poll_next(&mut Context::from_waker(&waker))
            .is_pending()
    );
    std::thread::scope(|scope| {
        let publish = scope.spawn(|| broadcast.publish("x"));
        assert!(publish.join().is_err());
    });
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert_eq!(read(&mut first).0, ["x"]);
}

/// Payloads that say how many of them are left.
struct Tracked(Arc<AtomicUsize>);

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &[0; 100]
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn keeps_only_what_somebody_has_to_read() {
    let kept = Arc::new(AtomicUsize::new(0));
    let left = || kept.load(Ordering::SeqCst);
    let broadcast = Broadcast::new();
    let publish = |count| {
        for _ in 0..count {
            kept.fetch_add(1, Ordering::SeqCst);
            broadcast.publish(Message::binary(Bytes::from_owner(Tracked(kept.clone()))));
        }
    };
    publish(10);
    assert_eq!(left(), 0);
    let mut first = broadcast.subscribe();
    let mut second = broadcast.subscribe();
    publish(1000);
    read(&mut first);
    assert_eq!(left(), 1000);
    read(&mut second);
    assert!(left() < 64, "{}", left());
    // What a reader has not read goes with it; a run holds what it is of.
    publish(1000);
    let run = poll(&mut second);
    drop(second);
    read(&mut first);
    assert!(left() >= 64);
    drop(run);
    assert!(left() < 64, "{}", left());
    drop(first);
    publish(1);
    assert!(left() < 64);
}

#[test]
fn runs_are_split_and_joined() {
    let broadcast = Broadcast::new();
    let mut subscription = broadcast.subscribe();
    let mut whole: Option<Run> = None;
    for n in 0..64 {
        broadcast.publish(n.to_string());
        if n % 5 == 0 || n == 63 {
            let Poll::Ready(Ok(run)) = poll(&mut subscription) else {
                panic!("something was published");
            };
            match &mut whole {
                Some(whole) => whole.append(run).unwrap(),
                None => whole = Some(run),
            }
        }
    }
    let mut whole = whole.unwrap();
    assert_eq!((whole.len(), whole.bytes()), (64, 10 + 54 * 2));
    let first = whole.split_to(10);
    assert_eq!((first.len(), first.bytes()), (10, 10));
    assert_eq!((whole.len(), whole.bytes()), (54, 108));
    assert!(
        first.iter().eq(numbers(0..10)
            .iter()
            .map(|n| Message::from(n.as_str()))
            .collect::<Vec<_>>()
            .iter())
    );
    assert_eq!(whole.front(), Some(&Message::from("10")));
    assert!(whole.append(first).is_err());
    whole.advance(1000);
    assert!(whole.is_empty() && whole.front().is_none() && whole.next().is_none());
    // Of the next segment.
    broadcast.publish("64");
    let Poll::Ready(Ok(next)) = poll(&mut subscription) else {
        panic!("something was published");
    };
    assert!(whole.append(next).is_err());
}

#[test]
fn messages_are_encoded_once_for_all() {
    let broadcast = Broadcast::new();
    let mut subscription = broadcast.subscribe();
    let mut early = broadcast.subscribe();
    let encoded = |run: &Run, count: &mut usize| {
        let encode = |message: &Message, bytes: &mut Vec<u8>| {
            *count += 1;
            bytes.extend_from_slice(message.as_bytes());
            bytes.push(b';');
        };
        let give = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        run.encoded(WireForm::WebSocketFrame, encode, give)
    };
    let mut count = 0;
    for n in 0..20 {
        broadcast.publish(n.to_string());
        if n == 4 {
            let Poll::Ready(Ok(run)) = poll(&mut early) else {
                panic!("something was published");
            };
            assert_eq!(encoded(&run, &mut count), "0;1;2;3;4;");
        }
    }
    let Poll::Ready(Ok(mut run)) = poll(&mut subscription) else {
        panic!("something was published");
    };
    run.advance(3);
    run.truncate(4);
    assert_eq!(encoded(&run, &mut count), "3;4;5;6;");
    assert_eq!(encoded(&run.clone(), &mut count), "3;4;5;6;");
    run.truncate(0);
    assert_eq!(encoded(&run, &mut count), "");
    assert_eq!(count, 7);
}

#[test]
fn a_run_tells_what_was_taken_out_of_it() {
    let broadcast = Broadcast::new();
    let mut subscription = broadcast.subscribe();
    for n in 0..10 {
        broadcast.publish("x".repeat(n));
    }
    let Poll::Ready(Ok(mut run)) = poll(&mut subscription) else {
        panic!("something was published");
    };
    let lengths = |run: &Run| run.iter().map(Message::len).collect::<Vec<_>>();
    run.advance(3);
    let mut taken = run.taken(2);
    assert_eq!((lengths(&taken), run.taken_bytes(2)), (vec![1, 2], 3));
    run.advance(2);
    assert!(taken.append_taken(&run, 2));
    assert_eq!((lengths(&taken), taken.bytes()), (vec![1, 2, 3, 4], 10));
    // Not what is further behind, and not what is kept elsewhere.
    run.advance(2);
    assert!(!taken.append_taken(&run, 1));
    let other = Broadcast::new();
    let mut others = other.subscribe();
    for _ in 0..7 {
        other.publish("y");
    }
    let Poll::Ready(Ok(mut elsewhere)) = poll(&mut others) else {
        panic!("something was published");
    };
    elsewhere.advance(7);
    assert!(!taken.append_taken(&elsewhere, 2));
    assert_eq!(lengths(&taken), [1, 2, 3, 4]);
}

#[test]
fn a_run_tells_of_texts_that_begin_with_a_control_character() {
    let broadcast = Broadcast::new();
    let mut subscription = broadcast.subscribe();
    broadcast.publish("plain");
    broadcast.publish(Message::binary(&b"\x01"[..]));
    broadcast.publish("\u{1}text");
    broadcast.publish("");
    let Poll::Ready(Ok(mut run)) = poll(&mut subscription) else {
        panic!("something was published");
    };
    assert!(run.has_controls());
    assert!(!run.split_to(2).has_controls());
    assert!(run.has_controls());
    run.advance(1);
    assert!(!run.has_controls());
}

#[test]
fn threads_that_publish_and_read_agree_on_the_order() {
    const EACH: usize = 500;
    let broadcast = Broadcast::with_capacity(10_000, usize::MAX);
    let subscriptions: Vec<_> = (0..4).map(|_| broadcast.subscribe()).collect();
    let readers: Vec<_> = subscriptions
        .into_iter()
        .map(|mut subscription| {
            thread::spawn(move || {
                let this = thread::current();
                let waker = Waker::from(Arc::new(Unpark(this)));
                let mut cx = Context::from_waker(&waker);
                let mut texts = Vec::new();
                while texts.len() < 2 * EACH {
                    match subscription.poll_next(&mut cx) {
                        Poll::Ready(run) => {
                            texts.extend(run.unwrap().map(|m| m.into_text().unwrap()));
                        }
                        Poll::Pending => thread::park(),
                    }
                }
                texts
            })
        })
        .collect();
    thread::scope(|scope| {
        for publisher in ["a", "b"] {
            let broadcast = &broadcast;
            scope.spawn(move || {
                for n in 0..EACH {
                    assert_eq!(broadcast.publish(format!("{publisher}{n}")), 4);
                }
            });
        }
    });
    let mut read = readers.into_iter().map(|reader| reader.join().unwrap());
    let first = read.next().unwrap();
    for publisher in ["a", "b"] {
        let of = first.iter().filter(|text| text.starts_with(publisher));
        assert!(
            of.eq(&(0..EACH)
                .map(|n| format!("{publisher}{n}"))
                .collect::<Vec<_>>())
        );
    }
    assert!(read.all(|texts| texts == first));
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
