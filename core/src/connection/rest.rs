//! Quarantine: sequences that may not be used yet, because the answer to a call that was given up may still come
//!
//! Kept as ranges in the order of the sequence space. As long as there is room each range is exactly what rests; when there is
//! none, the two ranges with the least between them become one, so a sequence never ends its rest too early, and only a
//! few rest without need. Sequences are given out in turn, so a range that is met is passed in one step.

use core::time::Duration;

use crate::Instant;

/// Storage for the ranges of one connection; chosen by [`Slots`](super::Slots)
pub trait Rests: Default + Clone + core::fmt::Debug {
    /// The ranges, in order, none touching the next
    fn ranges(&self) -> &[Resting];

    /// The ranges
    fn ranges_mut(&mut self) -> &mut [Resting];

    /// Puts a range before the one at `index`; false when there is no room
    fn insert(&mut self, index: usize, range: Resting) -> bool;

    /// Takes the range at `index` out
    fn remove(&mut self, index: usize);

    /// Keeps the ranges for which `keep` is true
    fn retain(&mut self, keep: impl FnMut(&Resting) -> bool);
}

/// Sequences that rest, and until when
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resting {
    first: u32,
    last: u32,
    /// In [`coarse`] time
    until: u32,
}

/// Lets `sequence` rest
pub(super) fn add<R: Rests>(rests: &mut R, sequence: u32, now: Instant, quarantine: Duration) {
    // Rounded up, so that the rest is never shorter than asked for.
    let until = coarse(now + quarantine).saturating_add(1);
    let new = Resting { first: sequence, last: sequence, until };
    let index = place(rests.ranges(), sequence);
    if extend(rests, new, index) || rests.insert(index, new) {
        return;
    }
    let time = coarse(now);
    rests.retain(|range| range.until > time);
    let index = place(rests.ranges(), sequence);
    if !rests.insert(index, new) {
        join_closest(rests, new, index);
    }
}

/// How many sequences from this one on rest; 0 when it may be used
pub(super) fn resting<R: Rests>(rests: &mut R, sequence: u32, now: Instant) -> u32 {
    let index = place(rests.ranges(), sequence);
    match rests.ranges().get(index) {
        Some(range) if range.first <= sequence && range.until > coarse(now) => range.last - sequence + 1,
        Some(range) if range.first <= sequence => {
            rests.remove(index);
            0
        }
        _ => 0,
    }
}

/// The late answer to `sequence` has come: it need not rest on. False when it did not rest
pub(super) fn answered<R: Rests>(rests: &mut R, sequence: u32, now: Instant) -> bool {
    if resting(rests, sequence, now) == 0 {
        return false;
    }
    let index = place(rests.ranges(), sequence);
    match rests.ranges_mut().get_mut(index) {
        Some(range) if range.first == range.last => rests.remove(index),
        Some(range) if range.first == sequence => range.first += 1,
        Some(range) if range.last == sequence => range.last -= 1,
        // Within a range that was joined; it ends its rest with the others.
        _ => {}
    }
    true
}

/// Adds `new` to the ranges beside it that end their rest with it: many calls that are given up at once take one range
fn extend<R: Rests>(rests: &mut R, new: Resting, index: usize) -> bool {
    let ranges = rests.ranges_mut();
    let high = ranges
        .get(index)
        .copied()
        .filter(|high| high.first == new.last.wrapping_add(1) && high.until == new.until);
    let below = index.checked_sub(1).and_then(|at| ranges.get_mut(at));
    match (below.filter(|low| low.last.wrapping_add(1) == new.first && low.until == new.until), high) {
        (Some(low), Some(high)) => {
            *low = join(*low, high);
            rests.remove(index);
        }
        (Some(low), None) => low.last = new.last,
        (None, Some(_)) => {
            if let Some(high) = ranges.get_mut(index) {
                high.first = new.first;
            }
        }
        (None, None) => return false,
    }
    true
}

/// Makes room for `new`, which belongs before the range at `index`, by joining what is closest together
fn join_closest<R: Rests>(rests: &mut R, new: Resting, index: usize) {
    let ranges = rests.ranges_mut();
    let gap = |low: &Resting, high: &Resting| high.first.saturating_sub(low.last);
    let closest = ranges
        .iter()
        .zip(ranges.iter().skip(1))
        .enumerate()
        .map(|(at, (low, high))| (gap(low, high), at))
        .min()
        .unwrap_or((u32::MAX, 0));
    let below = index.checked_sub(1).and_then(|at| ranges.get(at)).map_or(u32::MAX, |low| gap(low, &new));
    let above = ranges.get(index).map_or(u32::MAX, |high| gap(&new, high));
    if closest.0 < below && closest.0 < above {
        let (at, upper) = (closest.1, closest.1 + 1);
        if let Some(&high) = ranges.get(upper) {
            if let Some(low) = ranges.get_mut(at) {
                *low = join(*low, high);
            }
            rests.remove(upper);
            rests.insert(place(rests.ranges(), new.first), new);
        }
        return;
    }
    let near = if above <= below { index } else { index.saturating_sub(1) };
    if let Some(range) = ranges.get_mut(near) {
        *range = join(*range, new);
    }
}

fn join(a: Resting, b: Resting) -> Resting {
    Resting { first: a.first.min(b.first), last: a.last.max(b.last), until: a.until.max(b.until) }
}

/// The first range that does not end before `sequence`
fn place(ranges: &[Resting], sequence: u32) -> usize {
    ranges.partition_point(|range| range.last < sequence)
}

/// Time in units of 2^20 microseconds (1.05 s), which keeps a range small
const fn coarse(time: Instant) -> u32 {
    let units = time.as_micros() >> 20;
    if units > u32::MAX as u64 { u32::MAX } else { units as u32 }
}

/// No heap: `N` ranges at the most
impl<const N: usize> Rests for heapless::Vec<Resting, N, u16> {
    fn ranges(&self) -> &[Resting] {
        self
    }

    fn ranges_mut(&mut self) -> &mut [Resting] {
        self
    }

    fn insert(&mut self, index: usize, range: Resting) -> bool {
        self.insert(index, range).is_ok()
    }

    fn remove(&mut self, index: usize) {
        if index < self.len() {
            self.remove(index);
        }
    }

    fn retain(&mut self, keep: impl FnMut(&Resting) -> bool) {
        self.retain(keep);
    }
}

/// Up to 1,024 ranges, 12 KiB, as many as there is need for
#[cfg(feature = "alloc")]
impl Rests for alloc::vec::Vec<Resting> {
    fn ranges(&self) -> &[Resting] {
        self
    }

    fn ranges_mut(&mut self) -> &mut [Resting] {
        self
    }

    fn insert(&mut self, index: usize, range: Resting) -> bool {
        let room = self.len() < 1024 && index <= self.len();
        if room {
            self.insert(index, range);
        }
        room
    }

    fn remove(&mut self, index: usize) {
        if index < self.len() {
            self.remove(index);
            if self.is_empty() {
                self.shrink_to_fit();
            }
        }
    }

    fn retain(&mut self, keep: impl FnMut(&Resting) -> bool) {
        self.retain(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARANTINE: Duration = Duration::from_secs(60);

    fn seconds(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn all<R: Rests>(rests: &R) -> alloc::vec::Vec<(u32, u32)> {
        rests.ranges().iter().map(|range| (range.first, range.last)).collect()
    }

    #[test]
    fn what_rests_is_exact_while_there_is_room() {
        let mut rests = heapless::Vec::<Resting, 8, u16>::new();
        for sequence in [30, 10, 20] {
            add(&mut rests, sequence, seconds(0), QUARANTINE);
        }
        assert_eq!(all(&rests), [(10, 10), (20, 20), (30, 30)]);
        assert_eq!([9, 10, 11, 20].map(|sequence| resting(&mut rests, sequence, seconds(59))), [0, 1, 0, 1]);
        assert_eq!([10, 20, 30].map(|sequence| resting(&mut rests, sequence, seconds(63))), [0, 0, 0]);
        assert!(rests.is_empty(), "what has rested is forgotten");
    }

    #[test]
    fn neighbours_that_rest_as_long_are_one_range() {
        let mut rests = heapless::Vec::<Resting, 8, u16>::new();
        for sequence in [10, 12, 11, 13, 9] {
            add(&mut rests, sequence, seconds(0), QUARANTINE);
        }
        add(&mut rests, 14, seconds(5), QUARANTINE);
        assert_eq!(all(&rests), [(9, 13), (14, 14)]);
    }

    #[test]
    fn without_room_the_closest_are_joined_and_nothing_is_forgotten() {
        let mut rests = heapless::Vec::<Resting, 3, u16>::new();
        for sequence in [100, 200, 1000, 210, 5000] {
            add(&mut rests, sequence, seconds(0), QUARANTINE);
            assert!(resting(&mut rests, sequence, seconds(1)) > 0);
        }
        assert_eq!(all(&rests), [(100, 210), (1000, 1000), (5000, 5000)]);
        add(&mut rests, 1001, seconds(0), QUARANTINE);
        assert_eq!(all(&rests), [(100, 210), (1000, 1001), (5000, 5000)]);
        assert_eq!(
            resting(&mut rests, 150, seconds(1)),
            61,
            "the rest of the range, to be passed in one step"
        );
    }

    #[test]
    fn a_late_answer_ends_the_rest_of_its_sequence() {
        let mut rests = heapless::Vec::<Resting, 2, u16>::new();
        for sequence in [10, 11, 12, 50] {
            add(&mut rests, sequence, seconds(0), QUARANTINE);
        }
        assert_eq!(all(&rests), [(10, 12), (50, 50)]);
        assert!(answered(&mut rests, 50, seconds(1)) && !answered(&mut rests, 50, seconds(1)));
        assert!(answered(&mut rests, 10, seconds(1)) && answered(&mut rests, 12, seconds(1)));
        assert_eq!(all(&rests), [(11, 11)]);
    }

    #[test]
    fn whatever_comes_no_resting_sequence_is_given_out() {
        // A tiny sequence space, and time-outs at every third call for a long while.
        let mut rests = heapless::Vec::<Resting, 4, u16>::new();
        let mut until = [0_u64; 256];
        let (mut sequence, mut given) = (0_u32, 0);
        for step in 0..20_000_u64 {
            let now = seconds(step / 4);
            sequence = (sequence + 1) % 256;
            if resting(&mut rests, sequence, now) > 0 {
                continue;
            }
            given += 1;
            assert!(until[sequence as usize] <= step / 4, "{sequence} was given out while it rested");
            if step.is_multiple_of(3) {
                add(&mut rests, sequence, now, Duration::from_secs(20));
                until[sequence as usize] = step / 4 + 20;
            }
        }
        assert!(given > 1_000, "only {given} were given out");
    }
}
