//! Room in the outgoing buffer, and who waits for it

use core::task::{Poll, Waker};
use std::collections::VecDeque;

use flyrpc_core::{Instant, Overload, Refusal};

use crate::Error;
use crate::link::{Guard, Link};

/// Those who wait for room in the outgoing buffer, in the order they came
///
/// When there is room one of them is woken, who wakes the next when there is still room after its own packet: waking all
/// would have most of them come for nothing, again and again.
#[derive(Debug, Default)]
pub(crate) struct Room {
    waiting: VecDeque<(u64, Instant, Waker)>,
    next: u64,
    /// Not after the earliest deadline of those who wait; of no meaning while nobody does
    earliest: Option<Instant>,
}

impl Room {
    /// Waits in `ticket`'s place, or takes a ticket at the end of the queue
    pub(crate) fn wait(&mut self, ticket: &mut Option<u64>, deadline: Instant, waker: &Waker) {
        if let Some(number) = *ticket
            && let Some(place) = self.waiting.iter_mut().find(|(known, ..)| *known == number)
        {
            place.2.clone_from(waker);
            return;
        }
        self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
        match *ticket {
            // It was woken, and somebody else was faster: it is still the next.
            Some(number) => self.waiting.push_front((number, deadline, waker.clone())),
            None => {
                self.waiting.push_back((self.next, deadline, waker.clone()));
                *ticket = Some(self.next);
                self.next += 1;
            }
        }
    }

    /// Leaves the queue; was it woken before?
    pub(crate) fn leave(&mut self, ticket: u64) -> bool {
        match self.waiting.iter().position(|(number, ..)| *number == ticket) {
            Some(at) => {
                self.waiting.remove(at);
                false
            }
            None => true,
        }
    }

    #[cfg(feature = "_test")]
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// There is room: who is the next?
    pub(crate) fn wake_next(&mut self) -> Option<Waker> {
        self.waiting.pop_front().map(|(.., waker)| waker)
    }

    pub(crate) fn wake_all(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.waiting.drain(..).map(|(.., waker)| waker));
    }

    /// When [`overdue`](Self::overdue) wants to be called
    pub(crate) fn earliest(&self) -> Instant {
        if self.waiting.is_empty() { Instant::FAR } else { self.earliest.unwrap_or(Instant::FAR) }
    }

    /// Wakes those whose deadline has passed
    pub(crate) fn overdue(&mut self, now: Instant, wakers: &mut Vec<Waker>) {
        if now < self.earliest() {
            return;
        }
        self.waiting.retain(|(_, deadline, waker)| {
            let over = *deadline <= now;
            if over {
                wakers.push(waker.clone());
            }
            !over
        });
        self.earliest = self.waiting.iter().map(|(_, deadline, _)| *deadline).min();
    }
}

/// Waits for room to send: ready with the lock
#[inline]
pub(crate) fn poll_room<'a>(
    link: &'a Link,
    state: Guard<'a>,
    ticket: &mut Option<u64>,
    now: Instant,
    deadline: Instant,
    waker: &Waker,
) -> Poll<Result<Guard<'a>, Error>> {
    if state.unsent < link.options.send_buffer || state.is_closed() {
        return Poll::Ready(Ok(state));
    }
    wait_for_room(link, state, ticket, now, deadline, waker)
}

#[cold]
fn wait_for_room<'a>(
    link: &'a Link,
    mut state: Guard<'a>,
    ticket: &mut Option<u64>,
    now: Instant,
    deadline: Instant,
    waker: &Waker,
) -> Poll<Result<Guard<'a>, Error>> {
    if link.options.when_full == Overload::Refuse {
        return Poll::Ready(Err(Error::Refused(Refusal::NoRoom { need: state.unsent })));
    }
    if now >= deadline {
        return Poll::Ready(Err(Error::TimedOut));
    }
    state.room.wait(ticket, deadline, waker);
    if deadline < state.armed {
        link.tell_driver(state);
    }
    Poll::Pending
}
