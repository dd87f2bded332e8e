//! The earliest deadline of the calls in flight
//!
//! Each bound here is a lower one: a new call may lower it, a call that ends leaves it. So starting and ending a call
//! costs two comparisons; only when a bound is reached are the slots behind it looked at, which either finds a call whose
//! time is up or makes the bound exact. With 65,536 slots that is a look at 1,024 group bounds and at 64 slots of each
//! group that is due.

use super::slots::{GROUP, Slot, Slots};
use crate::Instant;

#[derive(Debug)]
#[cfg_attr(feature = "_test", derive(Clone, Hash))]
pub(super) struct Deadlines {
    /// No call in flight has an earlier deadline
    earliest: Instant,
    /// Where the search for calls whose time is up goes on: a group, or a slot where there are no groups
    cursor: u32,
}

impl Deadlines {
    pub(super) const fn new() -> Self {
        Self { earliest: Instant::FAR, cursor: 0 }
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
        let groups = slots.groups_mut();
        if !groups.is_empty() {
            place = index / GROUP;
            if let Some(bound) = groups.get_mut(place) {
                *bound = deadline.min(*bound);
            }
        }
        if deadline < self.earliest {
            self.earliest = deadline;
        }
        self.cursor = self.cursor.min(place as u32);
    }

    /// No call is in flight
    #[inline]
    pub(super) const fn clear(&mut self) {
        self.earliest = Instant::FAR;
    }

    /// A slot whose call's deadline is not after `now`
    pub(super) fn next_due<S: Slots>(&mut self, slots: &mut S, now: Instant) -> Option<usize> {
        while self.earliest <= now {
            let found = if slots.groups_mut().is_empty() {
                self.search(slots, now)
            } else {
                self.search_groups(slots, now)
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn search<S: Slots>(&mut self, slots: &S, now: Instant) -> Option<usize> {
        let start = self.cursor as usize;
        if let Some(found) = slots.slots().iter().skip(start).position(|slot| is_due(slot, now)) {
            self.cursor = (start + found) as u32;
            return Some(start + found);
        }
        self.cursor = 0;
        self.earliest = earliest_of(slots.slots());
        None
    }

    fn search_groups<S: Slots>(&mut self, slots: &mut S, now: Instant) -> Option<usize> {
        while let Some(&bound) = slots.groups_mut().get(self.cursor as usize) {
            if bound <= now {
                let start = self.cursor as usize * GROUP;
                let end = (start + GROUP).min(slots.slots().len());
                let group = slots.slots().get(start..end).unwrap_or_default();
                if let Some(found) = group.iter().position(|slot| is_due(slot, now)) {
                    return Some(start + found);
                }
                let exact = earliest_of(group);
                if let Some(bound) = slots.groups_mut().get_mut(self.cursor as usize) {
                    *bound = exact;
                }
            }
            self.cursor += 1;
        }
        self.cursor = 0;
        self.earliest = slots.groups_mut().iter().copied().min().unwrap_or(Instant::FAR);
        None
    }
}

fn is_due<T>(slot: &Slot<T>, now: Instant) -> bool {
    slot.deadline <= now && !slot.is_free()
}

fn earliest_of<T>(slots: &[Slot<T>]) -> Instant {
    slots.iter().filter(|slot| !slot.is_free()).map(|slot| slot.deadline).min().unwrap_or(Instant::FAR)
}
