//! The peer's requests whose handlers run: how a cancel finds its handler

use core::task::{Poll, Waker};

use flyrpc_driver::RequestId;

/// What a handler that is under way is to do
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Go on
    Go,
    /// The peer has cancelled the request
    Cancelled,
    /// The connection has ended
    Ended,
}

/// As many at the most as requests may run at a time, so all are looked at
#[derive(Debug, Default)]
pub(crate) struct Requests {
    running: Vec<Running>,
    started: u32,
    held: usize,
}

#[derive(Debug)]
struct Running {
    id: RequestId,
    fate: Fate,
    /// Bytes of payload that it holds
    held: usize,
    /// Who wants to know of a cancel
    watchers: Vec<Waker>,
}

/// A message has no answer that could be cancelled
pub(crate) const MESSAGE: RequestId = RequestId { index: u32::MAX, generation: 0 };

impl Requests {
    /// Bytes of payload that requests under way hold
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn start(&mut self, key: u32, held: usize) -> RequestId {
        self.started = self.started.wrapping_add(1);
        self.held += held;
        let id = RequestId { index: key, generation: self.started };
        self.running.push(Running { id, fate: Fate::Go, held, watchers: Vec::new() });
        id
    }

    /// The request was answered, or given up; those who watched it are to be woken
    #[must_use]
    pub(crate) fn end(&mut self, id: RequestId) -> Vec<Waker> {
        let Some(at) = self.running.iter().position(|running| running.id == id) else { return Vec::new() };
        let running = self.running.swap_remove(at);
        self.held -= running.held;
        running.watchers
    }

    /// What its handler is to do
    pub(crate) fn fate(&self, id: RequestId) -> Fate {
        self.running.iter().find(|running| running.id == id).map_or(Fate::Ended, |running| running.fate)
    }

    /// Ready once the answer is not wanted any more
    pub(crate) fn poll_cancelled(&mut self, id: RequestId, watcher: &Waker) -> Poll<()> {
        match self.running.iter_mut().find(|running| running.id == id) {
            Some(running) if running.fate == Fate::Go => {
                if !running.watchers.iter().any(|known| known.will_wake(watcher)) {
                    running.watchers.push(watcher.clone());
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Who watches a request that is under way
    pub(crate) fn watchers(&mut self, id: RequestId) -> Option<&mut Vec<Waker>> {
        self.running.iter_mut().find(|running| running.id == id).map(|running| &mut running.watchers)
    }

    /// The peer no longer waits for the answer to `key`; whom to wake
    #[must_use]
    pub(crate) fn cancel(&mut self, key: u32) -> Vec<Waker> {
        self.decide(Fate::Cancelled, |running| running.id.index == key)
    }

    /// The connection has ended; whom to wake
    #[must_use]
    pub(crate) fn end_all(&mut self) -> Vec<Waker> {
        self.decide(Fate::Ended, |_| true)
    }

    fn decide(&mut self, fate: Fate, which: impl Fn(&Running) -> bool) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for running in self.running.iter_mut().filter(|running| running.fate == Fate::Go && which(running)) {
            running.fate = fate;
            wakers.append(&mut running.watchers);
        }
        wakers
    }
}
