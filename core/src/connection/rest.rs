//! Quarantine: sequences that may not be used yet, because the answer to a call that was given up may still come
//!
//! A sequence never ends its rest too early. How long it may rest beyond that depends on the storage: a table on the heap
//! keeps a bit for each sequence ([`Bits`]); without a heap there are as many ranges as slots, and new ones are joined to them when they run out.
//! Sequences are given out in turn, so what rests is passed over in few steps.

use crate::Instant;

/// Storage for the resting sequences of one connection; chosen by [`Slots`](super::Slots)
pub trait Rests: Default + Clone + core::fmt::Debug + core::hash::Hash {
    /// Does nothing rest?
    fn is_empty(&self) -> bool;

    /// Lets `sequence` rest for this many milliseconds from `now` on, or longer
    fn add(&mut self, sequence: u32, now: Instant, quarantine_ms: u32);

    /// How many sequences from this one on rest, as far as is known in one look; 0 when it may be used
    fn resting(&mut self, sequence: u32, now: Instant, quarantine_ms: u32) -> u32;

    /// The late answer to `sequence` has come: it need not rest on. False when it did not rest
    fn answered(&mut self, sequence: u32, now: Instant, quarantine_ms: u32) -> bool;
}

/// Where no calls are made, nothing rests
impl Rests for () {
    #[inline]
    fn is_empty(&self) -> bool {
        true
    }

    #[inline]
    fn add(&mut self, _: u32, _: Instant, _: u32) {}

    #[inline]
    fn resting(&mut self, _: u32, _: Instant, _: u32) -> u32 {
        0
    }

    #[inline]
    fn answered(&mut self, _: u32, _: Instant, _: u32) -> bool {
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

/// No heap: `N` ranges, in no order
///
/// As long as there is room each is exactly what rests; when there is none, a new one is joined with the closest, and both end
/// their rest with the later. So more than `N` time-outs within the quarantine, again and again, come to rest most of
/// the sequences, and calls are refused.
///
/// Written for few ranges and little flash: nothing is sorted, and nothing is moved but the last into a hole.
impl<const N: usize> Rests for heapless::Vec<Resting, N, u16> {
    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }

    fn add(&mut self, sequence: u32, now: Instant, quarantine_ms: u32) {
        // Rounded up, so that the rest is never shorter than asked for.
        let until = coarse(now.after_millis(quarantine_ms)).saturating_add(1);
        let new = Resting { first: sequence, last: sequence, until };
        let time = coarse(now);
        while let Some(at) = self.iter().position(|range| range.until <= time) {
            fill_hole(self, at);
        }
        let is_full = self.is_full();
        match self.iter_mut().min_by_key(|range| gap(range, &new)) {
            // Within a range, or beside one that ends with it: many calls that are given up at once take one range.
            Some(range) if is_full || gap(range, &new) < 1 + u32::from(range.until == until) => {
                *range = join(*range, new);
            }
            _ => {
                // Full it is only where no calls can be made.
                let _ = self.push(new);
            }
        }
    }

    fn resting(&mut self, sequence: u32, now: Instant, _: u32) -> u32 {
        let time = coarse(now);
        while let Some(at) = place(self, sequence) {
            match self.get(at) {
                Some(range) if range.until > time => return range.last - sequence + 1,
                _ => fill_hole(self, at),
            }
        }
        0
    }

    fn answered(&mut self, sequence: u32, now: Instant, quarantine_ms: u32) -> bool {
        if self.resting(sequence, now, quarantine_ms) == 0 {
            return false;
        }
        let Some(at) = place(self, sequence) else { return false };
        match self.get_mut(at) {
            Some(range) if range.first == range.last => fill_hole(self, at),
            // Within a longer range it ends its rest with the others.
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
    fn turn(&mut self, now: Instant, quarantine_ms: u32) {
        let micros = (u64::from(quarantine_ms) * 1_000).max(1);
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

    fn add(&mut self, sequence: u32, now: Instant, quarantine_ms: u32) {
        self.turn(now, quarantine_ms);
        if sequence > 0xffff || quarantine_ms == 0 {
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

    fn resting(&mut self, sequence: u32, now: Instant, quarantine_ms: u32) -> u32 {
        self.turn(now, quarantine_ms);
        if sequence > 0xffff {
            return 0;
        }
        ((self.word(0, sequence) | self.word(1, sequence)) >> (sequence % 64)).trailing_ones()
    }

    fn answered(&mut self, sequence: u32, now: Instant, quarantine_ms: u32) -> bool {
        if self.resting(sequence, now, quarantine_ms) == 0 {
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

/// Sequences from one range to the other; 0 where they overlap, 1 where they touch
fn gap(a: &Resting, b: &Resting) -> u32 {
    a.first.max(b.first).saturating_sub(a.last.min(b.last))
}

fn join(a: Resting, b: Resting) -> Resting {
    Resting { first: a.first.min(b.first), last: a.last.max(b.last), until: a.until.max(b.until) }
}

/// A range that `sequence` is in
fn place(ranges: &[Resting], sequence: u32) -> Option<usize> {
    ranges.iter().position(|range| range.first <= sequence && sequence <= range.last)
}

/// Takes the range at `at` out; the last one takes its place
fn fill_hole<const N: usize>(ranges: &mut heapless::Vec<Resting, N, u16>, at: usize) {
    // An exchange, since an assignment becomes `memmove`: see `RecvBuf`.
    if let Some([hole, .., last]) = ranges.get_mut(at..) {
        core::mem::swap(hole, last);
    }
    ranges.pop();
}

/// Time in units of 2^20 microseconds (1.05 s), which keeps a range small
const fn coarse(time: Instant) -> u32 {
    let units = time.as_micros() >> 20;
    if units > u32::MAX as u64 { u32::MAX } else { units as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARANTINE: u32 = 60_000;

    fn seconds(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn all<const N: usize>(rests: &heapless::Vec<Resting, N, u16>) -> alloc::vec::Vec<(u32, u32)> {
        let mut all: alloc::vec::Vec<_> = rests.iter().map(|range| (range.first, range.last)).collect();
        all.sort_unstable();
        all
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
        for sequence in [10, 11, 9, 12, 13] {
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
        assert_eq!(all(&rests), [(100, 100), (200, 210), (1000, 5000)]);
        rests.add(190, seconds(0), QUARANTINE);
        assert_eq!(all(&rests), [(100, 100), (190, 210), (1000, 5000)]);
        assert_eq!(
            rests.resting(195, seconds(1), QUARANTINE),
            16,
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
        assert_eq!(all(&rests), [(10, 12)], "but in a longer range it waits for the others");
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
                rests.add(sequence, now, 20_000);
                until[sequence as usize] = step / 4 + 20;
            }
        }
        assert!(given > 1_000, "only {given} were given out");
    }
}
