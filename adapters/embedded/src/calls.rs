//! The calls of a board that are in flight, and the sequences that rest after calls that were given up

use flyrpc_core::{Instant, Rests, Slot, Slots};

/// Up to `N` calls in flight, each with a tag of type `T`
///
/// The sequence of a call that was given up rests for one to two quarantines of 60 s, together with those between it and others
/// given up at about the same time. That takes the least flash, and matters only where most of the 65,535 sequences are used
/// up within two minutes: above 500 calls a second calls may be refused then. A `heapless::Vec<Slot<T>, N>` of
/// `flyrpc-core`'s in place of this keeps up to `N` of them exactly.
#[derive(Debug)]
pub struct Calls<T, const N: usize> {
    slots: heapless::Vec<Slot<T>, N>,
}

impl<T, const N: usize> Default for Calls<T, N> {
    fn default() -> Self {
        Self { slots: heapless::Vec::new() }
    }
}

impl<T, const N: usize> Slots for Calls<T, N> {
    type Tag = T;
    type Rests = Spans;

    fn make_room(&mut self, in_flight: u32, limit: u32) -> bool {
        self.slots.make_room(in_flight, limit)
    }

    #[inline]
    fn index_of(&self, sequence: u32) -> usize {
        self.slots.index_of(sequence)
    }

    #[inline]
    fn slots(&self) -> &[Slot<T>] {
        self.slots.slots()
    }

    #[inline]
    fn slots_mut(&mut self) -> &mut [Slot<T>] {
        self.slots.slots_mut()
    }
}

/// Two spans of sequences that rest, in two generations that change places once a quarantine
///
/// Sequences are given out in turn, so what is given up at about the same time lies close together: a span holds all of it, and
/// what lies between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spans {
    current: Span,
    before: Span,
    /// When the current generation began, in [`coarse`] time
    turned: u32,
}

/// Sequences in a row, on a circle of 65,536
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Span {
    first: u16,
    len: u16,
}

impl Span {
    /// How many sequences from this one on, to the end of the span; 0 for one that is not in it
    const fn left(self, sequence: u16) -> u16 {
        self.len.saturating_sub(sequence.wrapping_sub(self.first))
    }

    /// Makes the span longer at the end that is closer
    const fn add(&mut self, sequence: u16) {
        let above = sequence.wrapping_sub(self.first);
        let below = self.first.wrapping_sub(sequence);
        if self.len == 0 {
            *self = Self { first: sequence, len: 1 };
        } else if above >= self.len {
            if above - self.len < below {
                self.len = above.saturating_add(1);
            } else {
                self.first = sequence;
                self.len = self.len.saturating_add(below);
            }
        }
    }
}

impl Spans {
    /// Forgets what has rested
    fn turn(&mut self, now: Instant, quarantine_ms: u32) {
        let age = coarse(now).saturating_sub(self.turned);
        // In units that are longer than 1,024 ms; one more, so that the rest is never shorter than asked for.
        let quarantine = (quarantine_ms >> 10) + 1;
        if age > quarantine {
            self.before = if age / 2 > quarantine { Span::default() } else { self.current };
            self.current = Span::default();
            self.turned = coarse(now);
        }
    }
}

impl Rests for Spans {
    #[inline]
    fn is_empty(&self) -> bool {
        self.current.len | self.before.len == 0
    }

    fn add(&mut self, sequence: u32, now: Instant, quarantine_ms: u32) {
        self.turn(now, quarantine_ms);
        // FlyRPC has no others.
        self.current.add(sequence as u16);
    }

    fn resting(&mut self, sequence: u32, now: Instant, quarantine_ms: u32) -> u32 {
        self.turn(now, quarantine_ms);
        let sequence = sequence as u16;
        u32::from(self.current.left(sequence).max(self.before.left(sequence)))
    }

    /// It rests on with those it was given up with
    fn answered(&mut self, sequence: u32, now: Instant, quarantine_ms: u32) -> bool {
        self.resting(sequence, now, quarantine_ms) > 0
    }
}

/// Time in units of 2^20 microseconds (1.05 s), which fits a word for 142 years
const fn coarse(time: Instant) -> u32 {
    (time.as_micros() >> 20) as u32
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    const QUARANTINE: u32 = 60_000;

    fn seconds(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn is_resting(spans: &mut Spans, sequence: u32, time: Instant) -> bool {
        spans.resting(sequence, time, QUARANTINE) > 0
    }

    #[test]
    fn what_is_given_up_rests_with_what_lies_between_and_nothing_else() {
        let mut spans = Spans::default();
        for sequence in [20, 30, 10, 25] {
            spans.add(sequence, seconds(0), QUARANTINE);
        }
        for (sequence, left) in [(9, 0), (10, 21), (25, 6), (30, 1), (31, 0), (65_535, 0)] {
            assert_eq!(spans.resting(sequence, seconds(59), QUARANTINE), left, "{sequence}");
        }
    }

    #[test]
    fn it_rests_for_one_to_two_quarantines() {
        let mut spans = Spans::default();
        spans.add(10, seconds(1000), QUARANTINE);
        spans.add(11, seconds(1059), QUARANTINE);
        assert!(is_resting(&mut spans, 10, seconds(1060)) && is_resting(&mut spans, 11, seconds(1119)));
        spans.add(5000, seconds(1130), QUARANTINE);
        assert!(!is_resting(&mut spans, 2000, seconds(1131)), "each generation has a span of its own");
        assert!(is_resting(&mut spans, 5000, seconds(1190)) && !is_resting(&mut spans, 11, seconds(1190)));
        assert!(!is_resting(&mut spans, 5000, seconds(9999)) && spans.is_empty());
    }

    #[test]
    fn a_span_goes_round_the_end_of_the_sequences() {
        let mut spans = Spans::default();
        for sequence in [65_530, 3, 65_520] {
            spans.add(sequence, seconds(0), QUARANTINE);
        }
        assert!([65_520, 65_535, 0, 3].iter().all(|sequence| is_resting(&mut spans, *sequence, seconds(1))));
        assert!([65_519, 4, 30_000].iter().all(|sequence| !is_resting(&mut spans, *sequence, seconds(1))));
    }

    #[test]
    fn whatever_comes_no_resting_sequence_is_given_out() {
        // Time-outs at every third call for a long while, some of calls made long before.
        let mut spans = Spans::default();
        let mut until = std::vec![0_u64; 65_536];
        let (mut sequence, mut given) = (0_u32, 0);
        for step in 0..400_000_u64 {
            let now = seconds(step / 200);
            sequence = (sequence + 1) % 65_536;
            if is_resting(&mut spans, sequence, now) {
                continue;
            }
            given += 1;
            assert!(until[sequence as usize] <= step / 200, "{sequence} was given out while it rested");
            if step.is_multiple_of(3) {
                let old = sequence.saturating_sub(if step.is_multiple_of(7) { 500 } else { 0 });
                spans.add(old, now, QUARANTINE);
                until[old as usize] = step / 200 + 60;
            }
        }
        assert!(given > 390_000, "only {given} were given out");
    }
}
