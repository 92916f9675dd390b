use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::listener::Waiting;
use super::run::{Run, Segment};
use crate::Message;

/// What was published and not everybody has read, and who reads it. In segments, because a reader takes
/// one, and forgets one, in one step.
pub(super) struct Log {
    /// The last one is being written. There is always one.
    shelves: VecDeque<Shelf>,
    /// How many segments were forgotten: the number of the first that is kept.
    forgotten: u64,
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
    /// Room for those that are to be woken.
    room: Vec<Waiting>,
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

/// How far a subscriber has read.
pub(super) struct Position {
    /// The number of the segment.
    segment: u64,
    /// The next message to read, in the segment.
    at: u8,
    /// The number of that message.
    next: u64,
}

impl Position {
    /// Returns how many messages were published before the next one to read.
    pub(super) fn next(&self) -> u64 {
        self.next
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
            forgotten: 0,
            published: 0,
            messages: 0,
            bytes: 0,
            max_messages,
            max_bytes,
            waiting: Vec::new(),
            vacant: Vec::new(),
            room: Vec::new(),
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
            self.forgotten += 1;
            self.shelves.pop_front();
            if let Some(first) = self.shelves.front_mut() {
                first.readers += behind;
            }
        }
    }

    /// Takes all that wait.
    pub(super) fn take_waiting(&mut self) -> Vec<Waiting> {
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

    /// Adds a subscriber, and returns its place.
    pub(super) fn join(&mut self) -> usize {
        self.vacant.pop().unwrap_or_else(|| {
            self.waiting.push(None);
            self.waiting.len() - 1
        })
    }

    /// Returns where a new subscriber begins: behind everything.
    pub(super) fn end(&mut self) -> Position {
        let segment = self.last();
        let at = self.shelves.back_mut().map_or(0, |last| {
            last.readers += 1;
            last.len
        });
        Position {
            segment,
            at,
            next: self.published,
        }
    }

    /// Removes a subscriber. Returns what is not needed any more, which must not be dropped under a
    /// lock.
    pub(super) fn leave(&mut self, place: usize, position: &Position) -> Option<Waiting> {
        if let Some(shelf) = self.shelf(position.segment.max(self.forgotten)) {
            shelf.readers -= 1;
        }
        self.tidy();
        self.vacant.push(place);
        self.waiting[place].take()
    }

    /// Whom a subscriber has woken when something is published.
    pub(super) fn waiting(&mut self, place: usize) -> &mut Option<Waiting> {
        &mut self.waiting[place]
    }

    /// Returns what a subscriber has not read of one segment, and moves it behind that.
    pub(super) fn read(&mut self, position: &mut Position) -> Found {
        if position.next == self.published {
            return Found::Nothing;
        }
        let Some(shelf) = self.shelf(position.segment) else {
            return self.skip(position);
        };
        let (len, start) = (shelf.len, position.at);
        // Not all was read, so something was written.
        let segment = shelf.segment.get_or_insert_with(Arc::default).clone();
        position.next += u64::from(len - start);
        position.at = len;
        if position.segment < self.last() {
            self.move_to(position, position.segment + 1);
        }
        Found::Run(Run::new(segment, start, len))
    }

    /// Moves a subscriber that fell behind to the first message that is kept.
    fn skip(&mut self, position: &mut Position) -> Found {
        let before = position.next;
        position.segment = self.forgotten;
        position.at = 0;
        position.next = self.shelves.front().map_or(before, |first| first.start);
        Found::Missed(position.next - before)
    }

    /// Moves a subscriber to the beginning of another segment.
    fn move_to(&mut self, position: &mut Position, segment: u64) {
        if let Some(shelf) = self.shelf(position.segment) {
            shelf.readers -= 1;
        }
        if let Some(shelf) = self.shelf(segment) {
            shelf.readers += 1;
        }
        position.segment = segment;
        position.at = 0;
        self.tidy();
    }

    /// The number of the segment that is being written.
    fn last(&self) -> u64 {
        self.forgotten + self.shelves.len() as u64 - 1
    }

    fn shelf(&mut self, segment: u64) -> Option<&mut Shelf> {
        let index = segment.checked_sub(self.forgotten)?;
        self.shelves.get_mut(usize::try_from(index).ok()?)
    }
}
