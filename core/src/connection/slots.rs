//! The table of calls in flight: where each call's tag, deadline and resting sequences live
//!
//! A call has a *number*, counted up for the life of the connection. Its low bits, [`Dialect::SEQUENCE_MASK`], are the
//! *sequence* that goes over the wire, and the sequence alone decides the slot (`sequence % slots`), so a reply finds
//! its call in one step. The sequences of one slot form its *class*; because a slot holds one call at a time, the calls
//! of a class follow each other, and the sequences of it that rest always fit one range.
//!
//! [`Dialect::SEQUENCE_MASK`]: crate::Dialect::SEQUENCE_MASK

use core::time::Duration;

use crate::Instant;

/// Storage for calls in flight
///
/// Implemented for `heapless::Vec<Slot<T>, N>` (N calls, no heap at all) and, with feature `alloc`, for [`Table`], which
/// is empty until the first call and grows with the number in flight. `T` is the caller's tag.
pub trait Slots: Default {
    /// What the caller gives with each call and gets back exactly once
    type Tag;

    /// Makes room for one more call beside `in_flight` others, at most `limit` slots in all
    ///
    /// False when there is none.
    fn make_room(&mut self, in_flight: u32, limit: u32) -> bool;

    /// The slot of a sequence
    fn index_of(&self, sequence: u32) -> usize;

    /// All slots
    fn slots(&self) -> &[Slot<Self::Tag>];

    /// All slots
    fn slots_mut(&mut self) -> &mut [Slot<Self::Tag>];

    /// Levels of the tree of deadlines above the slots; none where the slots are few enough to be looked at one by one
    fn levels(&self) -> usize {
        0
    }

    /// For each [`FAN_OUT`] places of the level below (level 0 stands on the slots), a lower bound of their deadlines
    fn bounds_mut(&mut self, level: usize) -> &mut [Instant] {
        let _ = level;
        &mut []
    }
}

/// Places of one level of the tree of deadlines that share a place of the next
pub const FAN_OUT: usize = 32;

/// A place for one call
#[derive(Debug)]
#[cfg_attr(feature = "_test", derive(Clone, Hash))]
pub struct Slot<T> {
    pub(super) owner: Owner<T>,
    /// Number of the call that is or was here last
    pub(super) number: u32,
    pub(super) deadline: Instant,
    rest: Rest,
}

/// Who is waiting in a slot
#[derive(Debug, Default)]
#[cfg_attr(feature = "_test", derive(Clone, Hash))]
pub(super) enum Owner<T> {
    #[default]
    Nobody,
    Call(T),
    Ping(T),
}

/// The sequences of a class that may not be used yet, as a range of the sequence space
///
/// The range may take in sequences of the class that were answered in time; that costs nothing but their use for a while.
#[derive(Clone, Copy, Debug, Default, Hash)]
struct Rest {
    first: u32,
    last: u32,
    /// End of the rest in [`coarse`] time; 0 for no rest
    until: u32,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { owner: Owner::Nobody, number: 0, deadline: Instant::FAR, rest: Rest::default() }
    }
}

impl<T> Slot<T> {
    #[inline]
    pub(super) const fn is_free(&self) -> bool {
        matches!(self.owner, Owner::Nobody)
    }

    /// May `sequence`, one of this slot's class, be given to a call?
    #[inline]
    pub(super) const fn may_use(&self, sequence: u32, mask: u32, now: Instant) -> bool {
        self.is_free() && (self.rest.until == 0 || !self.rests(sequence, mask, now))
    }

    /// Is `sequence` resting after a call that was given up?
    pub(super) const fn rests(&self, sequence: u32, mask: u32, now: Instant) -> bool {
        coarse(now) < self.rest.until && in_range(self.rest.first, sequence, self.rest.last, mask)
    }

    /// Lets the sequence of the call that was here rest
    pub(super) fn rest(&mut self, mask: u32, now: Instant, quarantine: Duration) {
        let sequence = self.number & mask;
        if coarse(now) >= self.rest.until {
            self.rest.first = sequence;
        }
        self.rest.last = sequence;
        // Rounded up, so that the rest is never shorter than asked for.
        self.rest.until = coarse(now + quarantine).saturating_add(1);
    }

    /// The late reply of `sequence` has come: it need not rest on
    pub(super) const fn late_reply(&mut self, sequence: u32) {
        if self.rest.first == self.rest.last && self.rest.last == sequence {
            self.rest.until = 0;
        }
    }

    /// Takes the tag out and leaves the slot free
    pub(super) fn take(&mut self) -> Option<T> {
        match core::mem::take(&mut self.owner) {
            Owner::Nobody => None,
            Owner::Call(tag) | Owner::Ping(tag) => Some(tag),
        }
    }
}

/// Is `sequence` within `first..=last`, counted round the end of the sequence space?
const fn in_range(first: u32, sequence: u32, last: u32, mask: u32) -> bool {
    sequence.wrapping_sub(first) & mask <= last.wrapping_sub(first) & mask
}

/// Time in units of 2^20 microseconds (1.05 s), which keeps a slot small
const fn coarse(time: Instant) -> u32 {
    let units = time.as_micros() >> 20;
    if units > u32::MAX as u64 { u32::MAX } else { units as u32 }
}

/// No heap: `N` calls at the most
impl<T, const N: usize> Slots for heapless::Vec<Slot<T>, N> {
    type Tag = T;

    fn make_room(&mut self, in_flight: u32, limit: u32) -> bool {
        while self.push(Slot::default()).is_ok() {}
        (in_flight as usize) < N && in_flight < limit
    }

    #[inline]
    fn index_of(&self, sequence: u32) -> usize {
        (sequence as usize).checked_rem(N).unwrap_or(0)
    }

    #[inline]
    fn slots(&self) -> &[Slot<T>] {
        self
    }

    #[inline]
    fn slots_mut(&mut self) -> &mut [Slot<T>] {
        self
    }
}

/// A call table on the heap that grows with the calls in flight
///
/// Empty at first; then a power of two, kept at most half full until the dialect's sequences or
/// [`Limits::max_in_flight`](crate::Limits::max_in_flight) end its growth.
#[cfg(feature = "alloc")]
#[derive(Debug)]
#[cfg_attr(feature = "_test", derive(Clone, Hash))]
pub struct Table<T> {
    slots: alloc::vec::Vec<Slot<T>>,
    /// The tree of deadlines, its lowest level first
    bounds: alloc::vec::Vec<alloc::vec::Vec<Instant>>,
}

#[cfg(feature = "alloc")]
impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: alloc::vec::Vec::new(), bounds: alloc::vec::Vec::new() }
    }
}

#[cfg(feature = "alloc")]
impl<T> Table<T> {
    const FIRST: usize = 8;

    /// Twice the slots; each call moves to where its sequence belongs now
    #[cold]
    fn grow(&mut self) {
        let old = core::mem::take(&mut self.slots);
        let len = (2 * old.len()).max(Self::FIRST);
        self.slots.resize_with(len, Slot::default);
        let upper = old.len();
        for (index, slot) in old.into_iter().enumerate() {
            // Both halves inherit the range that rests.
            for half in [index, index + upper] {
                if let Some(heir) = self.slots.get_mut(half) {
                    heir.rest = slot.rest;
                }
            }
            let index = slot.number as usize & (len - 1);
            if let Some(place) = self.slots.get_mut(index).filter(|_| !slot.is_free()) {
                *place = slot;
            }
        }
        self.bounds.clear();
        let mut below: alloc::vec::Vec<Instant> =
            self.slots.iter().map(|slot| if slot.is_free() { Instant::FAR } else { slot.deadline }).collect();
        while below.len() > 2 * FAN_OUT {
            below = below
                .chunks(FAN_OUT)
                .map(|some| some.iter().copied().min().unwrap_or(Instant::FAR))
                .collect();
            self.bounds.push(below.clone());
        }
    }
}

#[cfg(feature = "alloc")]
impl<T> Slots for Table<T> {
    type Tag = T;

    #[inline]
    fn make_room(&mut self, in_flight: u32, limit: u32) -> bool {
        if in_flight >= limit {
            return false;
        }
        if in_flight as usize * 2 >= self.slots.len() && self.slots.len() <= limit as usize {
            self.grow();
        }
        (in_flight as usize) < self.slots.len()
    }

    #[inline]
    fn index_of(&self, sequence: u32) -> usize {
        sequence as usize & self.slots.len().wrapping_sub(1)
    }

    #[inline]
    fn slots(&self) -> &[Slot<T>] {
        &self.slots
    }

    #[inline]
    fn slots_mut(&mut self) -> &mut [Slot<T>] {
        &mut self.slots
    }

    #[inline]
    fn levels(&self) -> usize {
        self.bounds.len()
    }

    #[inline]
    fn bounds_mut(&mut self, level: usize) -> &mut [Instant] {
        self.bounds.get_mut(level).map_or(&mut [], |bounds| bounds)
    }
}
