use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::listener::Waiting;
use super::run::Run;
use super::segment::Segment;
use crate::Message;

/// What was published and not everybody has read, and who reads it. In segments, because a reader takes
/// one, and forgets one, in one step.
pub(super) struct Log {
    /// The last one is being written. There is always one.
    shelves: VecDeque<Shelf>,
    published: u64,
    /// How many messages and bytes are kept, and are to be kept at least.
    messages: usize,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
    /// A place for each subscriber, with what wakes it if it has read everything.
    waiting: Vec<Option<Waiting>>,
    /// The places that nobody has.
    vacant: Vec<usize>,
    /// How many of them wait.
    count: usize,
    /// Room for those that are to be woken.
    room: Vec<Waiting>,
    /// What was taken out of the log, to be dropped without a lock.
    forgotten: Vec<Arc<Segment>>,
}

/// A segment in the log.
#[derive(Default)]
struct Shelf {
    /// None before the first message: most logs are not in use at any time.
    segment: Option<Arc<Segment>>,
    len: u8,
    /// How many subscribers read on in this segment; in the first, those too that are behind it.
    readers: usize,
    /// The number of its first message.
    start: u64,
}

impl Shelf {
    fn bytes(&self) -> usize {
        let segment = self.segment.as_ref();
        segment.map_or(0, |segment| segment.bytes(self.len))
    }
}

/// What a subscriber finds.
pub(super) enum Found {
    Run(Run),
    Nothing,
    /// So many messages that it had not read are not kept any more.
    Missed(u64),
}

impl Log {
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            shelves: VecDeque::from([Shelf::default()]),
            published: 0,
            messages: 0,
            bytes: 0,
            max_messages: max_messages.max(1),
            max_bytes: max_bytes.max(1),
            waiting: Vec::new(),
            vacant: Vec::new(),
            count: 0,
            room: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    pub(super) fn published(&self) -> u64 {
        self.published
    }

    pub(super) fn subscribers(&self) -> usize {
        self.waiting.len() - self.vacant.len()
    }

    pub(super) fn push(&mut self, message: Message) {
        let published = self.published;
        let Some(last) = self.shelves.back_mut() else {
            return;
        };
        self.published += 1;
        self.messages += 1;
        self.bytes += message.len();
        let segment = last.segment.get_or_insert_with(Arc::default);
        segment.push(last.len, message);
        last.len += 1;
        if segment.is_full(last.len) {
            self.shelves.push_back(Shelf {
                start: published + 1,
                ..Shelf::default()
            });
        }
        self.tidy();
    }

    /// Forgets what everybody has read, and what need not be kept.
    fn tidy(&mut self) {
        while self.shelves.len() > 1
            && let Some(first) = self.shelves.front()
            && (first.readers == 0
                || self.messages - usize::from(first.len) >= self.max_messages
                || self.bytes - first.bytes() >= self.max_bytes)
        {
            self.messages -= usize::from(first.len);
            self.bytes -= first.bytes();
            let behind = first.readers;
            let first = self.shelves.pop_front();
            self.forgotten.extend(first.and_then(|first| first.segment));
            if let Some(first) = self.shelves.front_mut() {
                first.readers += behind;
            }
        }
    }

    /// Takes all that wait.
    pub(super) fn take_waiting(&mut self) -> Vec<Waiting> {
        if mem::take(&mut self.count) == 0 {
            return Vec::new();
        }
        let mut woken = mem::take(&mut self.room);
        woken.extend(self.waiting.iter_mut().filter_map(Option::take));
        woken
    }

    /// Takes back the room that [`take_waiting`](Self::take_waiting) gave away.
    pub(super) fn reuse(&mut self, room: Vec<Waiting>) {
        if room.capacity() > self.room.capacity() {
            self.room = room;
        }
    }

    /// Adds a subscriber behind everything. Returns its place, and the number of the message that it
    /// reads next.
    pub(super) fn join(&mut self) -> (usize, u64) {
        if let Some(last) = self.shelves.back_mut() {
            last.readers += 1;
        }
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.waiting.push(None);
            self.waiting.len() - 1
        });
        (place, self.published)
    }

    /// Removes a subscriber that would read `next`. Returns what is not needed any more, which must not
    /// be dropped under a lock.
    pub(super) fn leave(&mut self, place: usize, next: u64) -> Option<Waiting> {
        let index = self.index(next);
        self.shelves[index].readers -= 1;
        self.tidy();
        self.vacant.push(place);
        let waiting = self.waiting[place].take();
        self.count -= usize::from(waiting.is_some());
        if self.subscribers() == 0 {
            self.waiting = Vec::new();
            self.vacant = Vec::new();
            self.room = Vec::new();
        }
        waiting
    }

    /// Whom a subscriber has woken when something is published.
    pub(super) fn waiting(&self, place: usize) -> Option<&Waiting> {
        self.waiting[place].as_ref()
    }

    /// Changes whom a subscriber has woken. Returns what is not needed any more, which must not be dropped
    /// under a lock.
    pub(super) fn wait(&mut self, place: usize, waiting: Waiting) -> Option<Waiting> {
        let before = self.waiting[place].replace(waiting);
        self.count += usize::from(before.is_none());
        before
    }

    /// Takes what was taken out of the log.
    pub(super) fn take_forgotten(&mut self) -> Vec<Arc<Segment>> {
        mem::take(&mut self.forgotten)
    }

    /// Returns what a subscriber that reads `next` finds in one segment, and moves it behind that.
    pub(super) fn read(&mut self, next: &mut u64) -> Found {
        if *next == self.published {
            return Found::Nothing;
        }
        let index = self.index(*next);
        let shelf = &mut self.shelves[index];
        // Those that are behind the first segment are counted in it.
        if let Some(missed) = shelf.start.checked_sub(*next).filter(|missed| *missed > 0) {
            *next = shelf.start;
            return Found::Missed(missed);
        }
        // Not all was read, so something was written.
        let segment = shelf.segment.get_or_insert_with(Arc::default).clone();
        let start = u8::try_from(*next - shelf.start).unwrap_or(shelf.len);
        let run = Run::new(segment, start, shelf.len);
        *next = shelf.start + u64::from(shelf.len);
        if index + 1 < self.shelves.len() {
            self.shelves[index].readers -= 1;
            self.shelves[index + 1].readers += 1;
            self.tidy();
        }
        Found::Run(run)
    }

    /// Where the message of a number is or will be, or the first segment if it is not kept.
    fn index(&self, number: u64) -> usize {
        let last = self.shelves.len() - 1;
        let newer = self.shelves.iter().rev();
        let newer = newer.take_while(|shelf| shelf.start > number).count();
        last - newer.min(last)
    }
}
