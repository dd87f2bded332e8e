//! Quarantine: sequences that may not be used yet, because the answer to a call that was given up may still come
//!
//! A sequence never ends its rest too early. How long it may rest beyond that depends on the storage: a table on the heap
//! keeps a bit for each sequence ([`Bits`]); without a heap there are as many ranges as slots, joined when they run out.
//! Sequences are given out in turn, so what rests is passed over in few steps.

use core::time::Duration;

use crate::Instant;

/// Storage for the resting sequences of one connection; chosen by [`Slots`](super::Slots)
pub trait Rests: Default + Clone + core::fmt::Debug + core::hash::Hash {
    /// Does nothing rest?
    fn is_empty(&self) -> bool;

    /// Lets `sequence` rest for `quarantine` from `now` on, or longer
    fn add(&mut self, sequence: u32, now: Instant, quarantine: Duration);

    /// How many sequences from this one on rest, as far as is known in one look; 0 when it may be used
    fn resting(&mut self, sequence: u32, now: Instant, quarantine: Duration) -> u32;

    /// The late answer to `sequence` has come: it need not rest on. False when it did not rest
    fn answered(&mut self, sequence: u32, now: Instant, quarantine: Duration) -> bool;
}

/// Where no calls are made, nothing rests
impl Rests for () {
    #[inline]
    fn is_empty(&self) -> bool {
        true
    }

    #[inline]
    fn add(&mut self, _: u32, _: Instant, _: Duration) {}

    #[inline]
    fn resting(&mut self, _: u32, _: Instant, _: Duration) -> u32 {
        0
    }

    #[inline]
    fn answered(&mut self, _: u32, _: Instant, _: Duration) -> bool {
        false
    }
}

/// Sequences that rest, and until when
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resting {
    first: u32,
    last: u32,
    /// In [`coarse`] time
    until: u32,
}

/// No heap: `N` ranges, in order
///
/// As long as there is room each is exactly what rests; when there is none, the two with the least between them become one, and
/// end their rest with the later. So more than `N` time-outs within the quarantine, again and again, come to rest most of
/// the sequences, and calls are refused.
impl<const N: usize> Rests for heapless::Vec<Resting, N, u16> {
    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }

    fn add(&mut self, sequence: u32, now: Instant, quarantine: Duration) {
        // Rounded up, so that the rest is never shorter than asked for.
        let until = coarse(now + quarantine).saturating_add(1);
        let new = Resting { first: sequence, last: sequence, until };
        let index = place(self, sequence);
        if let Some(range) = self.get_mut(index).filter(|range| range.first <= sequence) {
            // Within a range that was joined while this call was in flight.
            range.until = range.until.max(until);
            return;
        }
        if extend(self, new, index) || self.insert(index, new).is_ok() {
            return;
        }
        let time = coarse(now);
        self.retain(|range| range.until > time);
        let index = place(self, sequence);
        if self.insert(index, new).is_err() {
            join_closest(self, new, index);
        }
    }

    fn resting(&mut self, sequence: u32, now: Instant, _: Duration) -> u32 {
        let index = place(self, sequence);
        match self.get(index) {
            Some(range) if range.first <= sequence && range.until > coarse(now) => range.last - sequence + 1,
            Some(range) if range.first <= sequence => {
                self.remove(index);
                0
            }
            _ => 0,
        }
    }

    fn answered(&mut self, sequence: u32, now: Instant, quarantine: Duration) -> bool {
        if self.resting(sequence, now, quarantine) == 0 {
            return false;
        }
        let index = place(self, sequence);
        match self.get_mut(index) {
            Some(range) if range.first == range.last => {
                self.remove(index);
            }
            Some(range) if range.first == sequence => range.first += 1,
            Some(range) if range.last == sequence => range.last -= 1,
            // Within a range that was joined; it ends its rest with the others.
            _ => {}
        }
        true
    }
}

/// A bit for each of 65,536 sequences, in two generations that change places once a quarantine
///
/// What was added in one generation rests until the end of the next: for one to two quarantines. Its 16 KiB come with the
/// first call that is given up. Dialects with longer sequences do not come round within any quarantine.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug, Default, Hash)]
pub struct Bits {
    /// The words of the current generation, then those of the one before; empty while nothing rests
    words: alloc::vec::Vec<u64>,
    generation: u64,
    /// Which half is the current one
    current: usize,
    /// Sequences in each half
    counts: [u32; 2],
}

#[cfg(feature = "alloc")]
impl Bits {
    const HALF: usize = 65_536 / 64;

    /// Forgets what has rested
    fn turn(&mut self, now: Instant, quarantine: Duration) {
        let micros = u64::try_from(quarantine.as_micros()).unwrap_or(u64::MAX).max(1);
        let generation = now.as_micros() / micros;
        let passed = generation - self.generation.min(generation);
        self.generation = generation.max(self.generation);
        for _ in 0..passed.min(2) {
            self.current ^= 1;
            let start = self.current * Self::HALF;
            if let Some(half) = self.words.get_mut(start..start + Self::HALF) {
                half.fill(0);
            }
            if let Some(count) = self.counts.get_mut(self.current) {
                *count = 0;
            }
        }
        if self.counts == [0, 0] {
            self.words = alloc::vec::Vec::new();
        }
    }

    fn word(&self, half: usize, sequence: u32) -> u64 {
        self.words.get(half * Self::HALF + sequence as usize / 64).copied().unwrap_or(0)
    }
}

#[cfg(feature = "alloc")]
impl Rests for Bits {
    fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    fn add(&mut self, sequence: u32, now: Instant, quarantine: Duration) {
        self.turn(now, quarantine);
        if sequence > 0xffff || quarantine.is_zero() {
            return;
        }
        self.words.resize(2 * Self::HALF, 0);
        if let Some(word) = self.words.get_mut(self.current * Self::HALF + sequence as usize / 64) {
            let bit = 1 << (sequence % 64);
            if *word & bit == 0
                && let Some(count) = self.counts.get_mut(self.current)
            {
                *word |= bit;
                *count += 1;
            }
        }
    }

    fn resting(&mut self, sequence: u32, now: Instant, quarantine: Duration) -> u32 {
        self.turn(now, quarantine);
        if sequence > 0xffff {
            return 0;
        }
        ((self.word(0, sequence) | self.word(1, sequence)) >> (sequence % 64)).trailing_ones()
    }

    fn answered(&mut self, sequence: u32, now: Instant, quarantine: Duration) -> bool {
        if self.resting(sequence, now, quarantine) == 0 {
            return false;
        }
        let bit = 1 << (sequence % 64);
        for (half, count) in self.counts.iter_mut().enumerate() {
            if let Some(word) = self.words.get_mut(half * Self::HALF + sequence as usize / 64)
                && *word & bit != 0
            {
                *word &= !bit;
                *count -= 1;
            }
        }
        true
    }
}

/// Adds `new` to the ranges beside it that end their rest with it: many calls that are given up at once take one range
fn extend<const N: usize>(ranges: &mut heapless::Vec<Resting, N, u16>, new: Resting, index: usize) -> bool {
    let high = ranges
        .get(index)
        .copied()
        .filter(|high| high.first == new.last.wrapping_add(1) && high.until == new.until);
    let below = index.checked_sub(1).and_then(|at| ranges.get_mut(at));
    match (below.filter(|low| low.last.wrapping_add(1) == new.first && low.until == new.until), high) {
        (Some(low), Some(high)) => {
            *low = join(*low, high);
            ranges.remove(index);
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
fn join_closest<const N: usize>(ranges: &mut heapless::Vec<Resting, N, u16>, new: Resting, index: usize) {
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
            ranges.remove(upper);
            // There is room for one now.
            let _ = ranges.insert(place(ranges, new.first), new);
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

#[cfg(test)]
mod tests {
    use super::*;

    const QUARANTINE: Duration = Duration::from_secs(60);

    fn seconds(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn all<const N: usize>(rests: &heapless::Vec<Resting, N, u16>) -> alloc::vec::Vec<(u32, u32)> {
        rests.iter().map(|range| (range.first, range.last)).collect()
    }

    #[test]
    fn what_rests_is_exact_while_there_is_room() {
        let mut rests = heapless::Vec::<Resting, 8, u16>::new();
        for sequence in [30, 10, 20] {
            rests.add(sequence, seconds(0), QUARANTINE);
        }
        assert_eq!(all(&rests), [(10, 10), (20, 20), (30, 30)]);
        assert_eq!(
            [9, 10, 11, 20].map(|sequence| rests.resting(sequence, seconds(59), QUARANTINE)),
            [0, 1, 0, 1]
        );
        assert_eq!([10, 20, 30].map(|sequence| rests.resting(sequence, seconds(63), QUARANTINE)), [0, 0, 0]);
        assert!(rests.is_empty(), "what has rested is forgotten");
    }

    #[test]
    fn neighbours_that_rest_as_long_are_one_range() {
        let mut rests = heapless::Vec::<Resting, 8, u16>::new();
        for sequence in [10, 12, 11, 13, 9] {
            rests.add(sequence, seconds(0), QUARANTINE);
        }
        rests.add(14, seconds(5), QUARANTINE);
        assert_eq!(all(&rests), [(9, 13), (14, 14)]);
    }

    #[test]
    fn without_room_the_closest_are_joined_and_nothing_is_forgotten() {
        let mut rests = heapless::Vec::<Resting, 3, u16>::new();
        for sequence in [100, 200, 1000, 210, 5000] {
            rests.add(sequence, seconds(0), QUARANTINE);
            assert!(rests.resting(sequence, seconds(1), QUARANTINE) > 0);
        }
        assert_eq!(all(&rests), [(100, 210), (1000, 1000), (5000, 5000)]);
        rests.add(1001, seconds(0), QUARANTINE);
        assert_eq!(all(&rests), [(100, 210), (1000, 1001), (5000, 5000)]);
        assert_eq!(
            rests.resting(150, seconds(1), QUARANTINE),
            61,
            "the rest of the range, to be passed in one step"
        );
    }

    #[test]
    fn a_late_answer_ends_the_rest_of_its_sequence() {
        let mut rests = heapless::Vec::<Resting, 2, u16>::new();
        for sequence in [10, 11, 12, 50] {
            rests.add(sequence, seconds(0), QUARANTINE);
        }
        assert_eq!(all(&rests), [(10, 12), (50, 50)]);
        assert!(rests.answered(50, seconds(1), QUARANTINE) && !rests.answered(50, seconds(1), QUARANTINE));
        assert!(rests.answered(10, seconds(1), QUARANTINE) && rests.answered(12, seconds(1), QUARANTINE));
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
            if rests.resting(sequence, now, QUARANTINE) > 0 {
                continue;
            }
            given += 1;
            assert!(until[sequence as usize] <= step / 4, "{sequence} was given out while it rested");
            if step.is_multiple_of(3) {
                rests.add(sequence, now, Duration::from_secs(20));
                until[sequence as usize] = step / 4 + 20;
            }
        }
        assert!(given > 1_000, "only {given} were given out");
    }
}
