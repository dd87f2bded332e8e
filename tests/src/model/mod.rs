//! Two connections under random operations, beside a reference that says what must be true
//!
//! A [`World`] is two FlyRPC connections, the streams between them, and a book for each that knows which calls are in flight,
//! which requests wait, and which packets are under way in which order. Every [`Op`] is done to the connections and to the
//! books, and whatever a connection answers, hands out or refuses is compared: the tags that come back (P1), the call that an
//! answer belongs to and the sequences that are given out (P5), what arrives and in which order (P3, P10), every refusal with its
//! figures, the timer (P19), the end. [`World::finish`] then lets the world end, after which no call may hang.
//!
//! The operations are an [`Arbitrary`] value, so one body serves random tests, replayed seeds and the fuzzer.
//!
//! [`Arbitrary`]: arbitrary::Arbitrary

mod book;
mod check;
mod op;
mod receive;
mod world;

use arbitrary::{Arbitrary, Unstructured};
use flyrpc_core::{Slot, Slots, Table};

pub use op::{Answer, Choice, Op, Setup, TableKind, Timeout};
pub(crate) use world::End;
pub use world::World;

use crate::{Rng, Side};

/// Operations of one seed at the most
pub const STEPS: usize = 400;

/// The body of the fuzz target `model`: a [`Setup`] and operations
pub fn fuzz(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(setup) = Setup::arbitrary(&mut input) else { return };
    let ops = core::iter::from_fn(|| if input.is_empty() { None } else { Op::arbitrary(&mut input).ok() });
    run(&setup, ops.take(STEPS), "fuzzed");
}

/// What a world came to
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Operations that had an effect
    pub steps: usize,
    /// The transcript
    pub lines: Vec<String>,
}

/// A random world, from beginning to end
pub fn random(seed: u64) -> Report {
    let mut rng = Rng::new(seed);
    let noise: Vec<u8> = (0..STEPS * 2).flat_map(|_| rng.next().to_le_bytes()).collect();
    let mut input = Unstructured::new(&noise);
    let setup = Setup::arbitrary(&mut input).expect("there is enough noise");
    // Once in a while the sequences come round, which takes 65,535 calls.
    let round_at = rng.one_in(25).then(|| rng.below(STEPS as u64) as usize);
    let mut step = 0;
    let ops = core::iter::from_fn(|| {
        step += 1;
        if round_at.is_some_and(|at| step == at || step == at + 40) {
            let side = if rng.one_in(2) { Side::A } else { Side::B };
            return Some(Op::Round { side, calls: 65_500 + rng.below(40) as u32 });
        }
        Op::arbitrary(&mut input).ok()
    });
    run(&setup, ops.take(STEPS), &format!("FLYRPC_SEED={seed}"))
}

/// Does the operations in the world of `setup`, then lets it end in both ways
///
/// # Panics
/// When a promise is broken; the transcript is printed then.
pub fn run(setup: &Setup, ops: impl Iterator<Item = Op>, title: &str) -> Report {
    match setup.table {
        TableKind::Growable => run_on::<Table<u32>>(setup, 65_535, ops, title),
        TableKind::Two => run_on::<heapless::Vec<Slot<u32>, 2>>(setup, 2, ops, title),
        TableKind::Eight => run_on::<heapless::Vec<Slot<u32>, 8>>(setup, 8, ops, title),
    }
}

fn run_on<S: Slots<Tag = u32> + Clone>(
    setup: &Setup,
    capacity: u32,
    ops: impl Iterator<Item = Op>,
    title: &str,
) -> Report {
    let limits = setup.limits.map(Choice::limits);
    let first = setup.before_wrap.map(|before| 65_535 - u32::from(before));
    let mut world = World::<S>::new(limits, capacity, first, false).logged(format!("{title}\n{setup:?}"));
    let mut steps = 0;
    // A few more when all is over: they must have no effect.
    let mut after_end = 10;
    for op in ops {
        if world.is_over() {
            after_end -= 1;
            if after_end == 0 {
                break;
            }
        }
        steps += usize::from(world.apply(op));
    }
    let lines = world.transcript().to_vec();
    world.clone().finish(false);
    world.finish(true);
    Report { steps, lines }
}
