//! The earliest deadline of the calls in flight
//!
//! A tree of lower bounds over the slots: a new call may lower the bounds above it, a call that ends leaves them. So
//! starting and ending a call costs a comparison a level; only when a bound is reached is what lies below it looked at,
//! which either finds a call whose time is up or makes the bound exact. The levels are the storage's: none where there
//! are few slots, two for 65,536, so that a timer costs a look at some 128 places whatever is in flight.

use super::slots::{FAN_OUT, Slots};
use crate::Instant;

#[derive(Debug)]
#[cfg_attr(feature = "_test", derive(Clone, Hash))]
pub(super) struct Deadlines {
    /// No call in flight has an earlier deadline
    earliest: Instant,
}

impl Deadlines {
    pub(super) const fn new() -> Self {
        Self { earliest: Instant::FAR }
    }

    /// A lower bound, exact after [`next_due`](Self::next_due) has found nothing more
    #[inline]
    pub(super) const fn earliest(&self) -> Instant {
        self.earliest
    }

    /// The call in slot `index` has a deadline
    #[inline]
    pub(super) fn add<S: Slots>(&mut self, slots: &mut S, index: usize, deadline: Instant) {
        let mut place = index;
        for level in 0..slots.levels() {
            place /= FAN_OUT;
            if let Some(bound) = slots.bounds_mut(level).get_mut(place) {
                *bound = deadline.min(*bound);
            }
        }
        self.earliest = self.earliest.min(deadline);
    }

    /// No call is in flight
    #[inline]
    pub(super) const fn clear(&mut self) {
        self.earliest = Instant::FAR;
    }

    /// A slot whose call's deadline is not after `now`
    pub(super) fn next_due<S: Slots>(&mut self, slots: &mut S, now: Instant) -> Option<usize> {
        if self.earliest > now {
            return None;
        }
        let levels = slots.levels();
        match search(slots, levels, 0, usize::MAX, now) {
            Ok(index) => Some(index),
            Err(exact) => {
                self.earliest = exact;
                None
            }
        }
    }
}

/// A slot that is due among the places `start..end` of a level, the slots being level 0; else their earliest deadline
fn search<S: Slots>(
    slots: &mut S,
    level: usize,
    start: usize,
    end: usize,
    now: Instant,
) -> Result<usize, Instant> {
    let mut earliest = Instant::FAR;
    let Some(below) = level.checked_sub(1) else {
        let end = end.min(slots.slots().len());
        for (index, slot) in slots.slots().get(start..end).unwrap_or_default().iter().enumerate() {
            if !slot.is_free() {
                if slot.deadline() <= now {
                    return Ok(start + index);
                }
                earliest = earliest.min(slot.deadline());
            }
        }
        return Err(earliest);
    };
    let end = end.min(slots.bounds_mut(below).len());
    for place in start..end {
        let Some(&(mut bound)) = slots.bounds_mut(below).get(place) else { break };
        if bound <= now {
            bound = match search(slots, below, place * FAN_OUT, (place + 1) * FAN_OUT, now) {
                Err(exact) => exact,
                found => return found,
            };
            if let Some(place) = slots.bounds_mut(below).get_mut(place) {
                *place = bound;
            }
        }
        earliest = earliest.min(bound);
    }
    Err(earliest)
}
