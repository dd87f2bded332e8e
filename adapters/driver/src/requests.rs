//! The peer's requests whose handlers run: how a cancel finds its handler

use core::task::{Poll, Waker};

use flyrpc_core::Instant;

use crate::RequestId;
use crate::watchers::Watchers;

/// What a handler that is under way is to do
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Go on
    Go,
    /// The peer has cancelled the request
    Cancelled,
    /// It took longer than handlers may
    Overdue,
    /// The connection has ended
    Ended,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    /// Where the list of free places goes on; meaningless in one that is in use
    next: u32,
    running: bool,
    key: u32,
    fate: Fate,
    /// Bytes of payload that it holds
    held: usize,
    deadline: Instant,
    /// The task that polls the handler
    task: Option<Waker>,
    /// Who else wants to know of a cancel
    watchers: Watchers,
}

#[derive(Debug)]
pub(crate) struct Requests {
    places: Vec<Place>,
    free: u32,
    running: u32,
    held: usize,
    /// Not after the earliest deadline
    earliest: Instant,
}

const NONE: u32 = u32::MAX;

impl Requests {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: NONE, running: 0, held: 0, earliest: Instant::FAR }
    }

    /// Requests whose handlers run
    pub(crate) const fn running(&self) -> u32 {
        self.running
    }

    /// Bytes of payload that they hold
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// When [`overdue`](Self::overdue) wants to be called
    pub(crate) const fn earliest(&self) -> Instant {
        self.earliest
    }

    pub(crate) fn start(&mut self, key: u32, held: usize, deadline: Instant) -> RequestId {
        self.running += 1;
        self.held += held;
        self.earliest = self.earliest.min(deadline);
        let index = self.free;
        if let Some(place) = self.places.get_mut(index as usize) {
            self.free = place.next;
            (place.key, place.running, place.fate) = (key, true, Fate::Go);
            (place.held, place.deadline) = (held, deadline);
            return RequestId { index, generation: place.generation };
        }
        if self.places.capacity() == 0 {
            // Many connections never have more at a time.
            self.places.reserve_exact(1);
        }
        self.places.push(Place {
            generation: 0,
            next: NONE,
            running: true,
            key,
            fate: Fate::Go,
            held,
            deadline,
            task: None,
            watchers: Watchers::default(),
        });
        RequestId { index: (self.places.len() - 1) as u32, generation: 0 }
    }

    fn place(&mut self, id: RequestId) -> Option<&mut Place> {
        let place = self.places.get_mut(id.index as usize)?;
        (place.running && place.generation == id.generation).then_some(place)
    }

    /// The request was answered, or given up; those who watched it are told
    pub(crate) fn end(&mut self, id: RequestId, wakers: &mut Vec<Waker>) {
        let free = self.free;
        let Some(place) = self.place(id) else { return };
        place.running = false;
        place.generation = place.generation.wrapping_add(1);
        place.task = None;
        place.watchers.take(wakers);
        let held = place.held;
        place.next = free;
        self.free = id.index;
        self.running -= 1;
        self.held -= held;
        if self.running == 0 {
            self.earliest = Instant::FAR;
        }
    }

    /// What the task that polls the handler is to do; it is woken when that changes
    pub(crate) fn poll(&mut self, id: RequestId, task: &Waker) -> Fate {
        let Some(place) = self.place(id) else { return Fate::Ended };
        match &mut place.task {
            Some(waker) => waker.clone_from(task),
            none @ None => *none = Some(task.clone()),
        }
        place.fate
    }

    /// Is the answer still wanted?
    pub(crate) fn is_cancelled(&self, id: RequestId) -> bool {
        match self.places.get(id.index as usize) {
            Some(place) if place.running && place.generation == id.generation => place.fate != Fate::Go,
            _ => true,
        }
    }

    /// Ready once the answer is not wanted any more
    pub(crate) fn poll_cancelled(&mut self, id: RequestId, watcher: &Waker) -> Poll<()> {
        match self.place(id) {
            Some(place) if place.fate == Fate::Go => {
                place.watchers.add(watcher);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// One of those who watch a request was dropped; whom to wake
    pub(crate) fn forget_cancelled(&mut self, id: RequestId, watcher: &Waker) -> Option<Waker> {
        self.place(id)?.watchers.forget(watcher)
    }

    /// The peer no longer waits for the answer to `key`
    pub(crate) fn cancel(&mut self, key: u32, wakers: &mut Vec<Waker>) {
        self.decide(Fate::Cancelled, wakers, |place| place.key == key);
    }

    /// The connection has ended
    pub(crate) fn end_all(&mut self, wakers: &mut Vec<Waker>) {
        self.decide(Fate::Ended, wakers, |_| true);
    }

    /// Tells the handlers whose time is up
    pub(crate) fn overdue(&mut self, now: Instant, wakers: &mut Vec<Waker>) {
        if now < self.earliest {
            return;
        }
        self.decide(Fate::Overdue, wakers, |place| place.deadline <= now);
        let waiting = self.places.iter().filter(|place| place.running && place.fate == Fate::Go);
        self.earliest = waiting.map(|place| place.deadline).min().unwrap_or(Instant::FAR);
    }

    fn decide(&mut self, fate: Fate, wakers: &mut Vec<Waker>, which: impl Fn(&Place) -> bool) {
        let chosen = |place: &&mut Place| place.running && place.fate == Fate::Go && which(place);
        for place in self.places.iter_mut().filter(chosen) {
            place.fate = fate;
            wakers.extend(place.task.take());
            place.watchers.take(wakers);
        }
    }

    /// Gives the memory back while nothing is in use
    pub(crate) fn shrink(&mut self) {
        // The generations are kept with the places: a stale id must never name a newer request.
        if self.running == 0 {
            self.places.shrink_to_fit();
        }
    }
}
