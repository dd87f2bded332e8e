//! The table of calls in flight: where each call's tag and deadline live
//!
//! A call has a *number*, counted up for the life of the connection. Its low bits, [`Dialect::sequence_mask`], are the
//! *sequence* that goes over the wire, and the sequence alone decides the slot (`sequence % slots`), so a reply finds
//! its call in one step.
//!
//! [`Dialect::sequence_mask`]: crate::Dialect::sequence_mask

#[cfg(feature = "alloc")]
use super::rest::Bits;
use super::rest::{Resting, Rests};
use crate::Instant;

/// Storage for calls in flight
///
/// Implemented for `heapless::Vec<Slot<T>, N>` (N calls, no heap at all), for [`NoCalls`] and, with feature `alloc`, for [`Table`], which
/// is empty until the first call and grows with the number in flight. `T` is the caller's tag.
///
/// The same storage decides how many sequences can rest after their calls were given up: in a `Table` all, each by itself.
/// Without a heap N; when more calls than that are given up within the quarantine, those between the closest of them rest
/// too, and where that goes on, calls are refused with [`TooManyInFlight`](crate::Refusal::TooManyInFlight) while few are in
/// flight. Take more slots, or a shorter [`Limits::quarantine`](crate::Limits::quarantine), for such a line.
pub trait Slots: Default {
    /// What the caller gives with each call and gets back exactly once
    type Tag;

    /// Where the sequences are kept that rest after a call that was given up
    type Rests: Rests;

    /// Makes room for one more call beside `in_flight` others, at most `limit` calls in all
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
    /// In halves, which align a slot to four bytes instead of eight: 32 bytes less in a table of eight
    deadline: [u32; 2],
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

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { owner: Owner::Nobody, number: 0, deadline: halves(Instant::FAR) }
    }
}

impl<T> Slot<T> {
    #[inline]
    pub(super) const fn is_free(&self) -> bool {
        matches!(self.owner, Owner::Nobody)
    }

    /// Does a call of this sequence wait here?
    #[inline]
    pub(super) const fn waits_for(&self, sequence: u32, mask: u32) -> bool {
        !self.is_free() && self.number & mask == sequence
    }

    /// When the call that is here is over at the latest
    #[inline]
    pub(super) const fn deadline(&self) -> Instant {
        let [high, low] = self.deadline;
        Instant::from_micros((high as u64) << 32 | low as u64)
    }

    /// Puts a call in
    #[inline]
    pub(super) fn occupy(&mut self, owner: Owner<T>, number: u32, deadline: Instant) {
        self.owner = owner;
        self.number = number;
        self.deadline = halves(deadline);
    }

    /// Takes the tag out and leaves the slot free
    pub(super) fn take(&mut self) -> Option<T> {
        match core::mem::take(&mut self.owner) {
            Owner::Nobody => None,
            Owner::Call(tag) | Owner::Ping(tag) => Some(tag),
        }
    }
}

const fn halves(time: Instant) -> [u32; 2] {
    let micros = time.as_micros();
    [(micros >> 32) as u32, micros as u32]
}

/// No heap: `N` calls at the most
impl<T, const N: usize> Slots for heapless::Vec<Slot<T>, N> {
    type Tag = T;
    type Rests = heapless::Vec<Resting, N, u16>;

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

/// No calls: for an end that only answers
///
/// Takes no memory, and leaves everything out of a program that has to do with calls of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NoCalls;

impl Slots for NoCalls {
    type Tag = core::convert::Infallible;
    type Rests = ();

    #[inline]
    fn make_room(&mut self, _: u32, _: u32) -> bool {
        false
    }

    #[inline]
    fn index_of(&self, _: u32) -> usize {
        0
    }

    #[inline]
    fn slots(&self) -> &[Slot<Self::Tag>] {
        &[]
    }

    #[inline]
    fn slots_mut(&mut self) -> &mut [Slot<Self::Tag>] {
        &mut []
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
        for slot in old.into_iter().filter(|slot| !slot.is_free()) {
            if let Some(place) = self.slots.get_mut(slot.number as usize & (len - 1)) {
                *place = slot;
            }
        }
        self.bounds.clear();
        let mut below: alloc::vec::Vec<Instant> = self
            .slots
            .iter()
            .map(|slot| if slot.is_free() { Instant::FAR } else { slot.deadline() })
            .collect();
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
    type Rests = Bits;

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
