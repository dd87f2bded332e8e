//! Two small connections under every sequence of operations up to a depth
//!
//! The worlds and the checks are those of [`model`](crate::model); here nothing is random. From the beginning on, every operation
//! that is possible is done to a copy of the world, and from there again, until the depth is reached. Two ways that lead to the same
//! state are followed once: a map holds the hash of every state seen, with the depth that was left there, so that a state is
//! followed again only where more depth is left. Each state is checked when it is reached, and then ended in both ways of
//! [`World::finish`]: the link is lost, or the peer is silent and time passes.
//!
//! The operations: call, notify, ping, drain, by either side; reply to each request that waits; cancel each call in flight; all
//! pending bytes of one direction arrive, or the first half of them; time passes to the next moment that a connection asks for;
//! the link is lost. Owners take all events and packets after each.
//!
//! What is left out, because it makes no other states:
//!
//! * Payloads are one byte, and say whose they are. The connection never looks into them, and decides by length only at its
//!   limits, which are far from here.
//! * All replies are successes: an error differs in its code, which the connection hands on unread.
//! * Notifications are numbered modulo 4, which tells neighbours from each other.
//! * The two sides are alike, so a state and its mirror image are one: the hashes of the two sides are mixed in an order of
//!   their own. Each side's hash covers its connection, its book, its buffers and the bytes under way from it.
//! * Bytes under way to a connection that has told its end are not told apart: its owner reads no more.
//! * Counters (`Stats`, stream positions) decide nothing.
//!
//! # Does it find anything?
//!
//! These defects were put into a copy of the core, one at a time, and found at depth 6: calls accepted after the end of the stream
//! (after 903 states); a reply matched by its slot and not by its sequence; a cancelled call still counted; every second lost call
//! forgotten; `Closed` told twice; a reply that leaves its request unanswered; draining that does not wait for replies owed; a cancel
//! that names another request; a timer that forgets draining; one request more than allowed unanswered.
//!
//! These were not, since they take what is left out here, and [`model`](crate::model) found them: a reply taken after its deadline
//! (these owners take the time-out first); a sequence that does not rest (it takes 65,535 calls to come round); a packet inside a
//! streamed body; a stale id that cancels a newer call.
//!
//! # Hashes
//!
//! Two different states have the same hash of 64 bits with a probability below 1 in 100,000 for ten million states; one of them
//! would go unchecked then.

use core::hash::{BuildHasherDefault, Hash, Hasher};
use core::time::Duration;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use flyrpc_core::{Limits, Overload, Slot, Slots};

use crate::Side;
use crate::model::{Answer, Op, Timeout, World};

/// What an exploration has seen
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Different states
    pub states: usize,
    /// Operations done
    pub transitions: usize,
}

/// Two slots on each side, and one request that may wait for its reply, so that limits are met soon
pub type Small = heapless::Vec<Slot<u32>, 2>;

/// Follows every sequence of up to `depth` operations
///
/// # Panics
/// When a promise is broken; the operations that led there are printed.
#[must_use]
pub fn explore(depth: u8, overload: Overload) -> Report {
    let limits = Limits::new().max_unanswered(1).overload(overload).call_timeout(Duration::from_secs(3));
    let first = [65_534; 2];
    let start = World::<Small>::new([limits.clone(), limits], 2, first, true).introduced();
    let mut search = Search::default();
    search.visit(&start, depth);
    search.report
}

#[derive(Default)]
struct Search {
    seen: HashMap<u64, u8, BuildHasherDefault<Known>>,
    path: Vec<Op>,
    report: Report,
}

impl Search {
    fn visit<S: Slots<Tag = u32> + Clone + Hash>(&mut self, world: &World<S>, left: u8) {
        match self.seen.entry(digest(world)) {
            Entry::Occupied(mut entry) => {
                if *entry.get() >= left {
                    return;
                }
                entry.insert(left);
            }
            Entry::Vacant(entry) => {
                entry.insert(left);
                self.report.states += 1;
                world.clone().finish(true);
                world.clone().finish(false);
            }
        }
        if left == 0 {
            return;
        }
        for op in choices(world) {
            let mut next = world.clone();
            self.path.push(op);
            if next.apply(op) {
                self.report.transitions += 1;
                self.visit(&next, left - 1);
            }
            self.path.pop();
        }
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("after {} states, by {:#?}", self.report.states, self.path);
        }
    }
}

/// Every operation that is possible
fn choices<S: Slots<Tag = u32>>(world: &World<S>) -> Vec<Op> {
    let mut ops = Vec::with_capacity(24);
    for (side, at) in [(Side::A, 0), (Side::B, 1)] {
        let (me, you) = (&world.ends[at], &world.ends[1 - at]);
        let timeout = Timeout::Default;
        ops.extend([
            Op::Call { side, len: 1, streamed: false, timeout },
            Op::Notify { side, len: 1, streamed: false },
            Op::Ping { side, len: 1, timeout },
            Op::Drain { side, timeout },
        ]);
        let something = !you.wire.is_empty() || me.blocked || (you.wire_closed && me.book.eof_at.is_none());
        if something {
            ops.push(Op::Deliver { side, len: u32::MAX });
        }
        if you.wire.len() > 1 {
            ops.push(Op::Deliver { side, len: you.wire.len() as u32 / 2 });
        }
        let places = |count: usize| 0..count as u8;
        ops.extend(places(me.book.owed.len()).map(|which| Op::Reply { side, which, answer: Answer::Ok(1) }));
        ops.extend(places(me.book.calls.len()).map(|which| Op::Cancel { side, which }));
    }
    ops.extend([Op::NextTimer, Op::Cut]);
    ops
}

fn digest<S: Slots<Tag = u32> + Hash>(world: &World<S>) -> u64 {
    let [a, b] = &world.ends;
    let side = |me: &crate::model::End<S>, reader_is_gone: bool| {
        let mut hasher = Mixer::default();
        me.conn.hash(&mut hasher);
        me.book.hash(&mut hasher);
        (&me.inbox, me.wire_closed, me.blocked, reader_is_gone).hash(&mut hasher);
        if !reader_is_gone {
            (&me.outbox, &me.wire, &me.book.sent).hash(&mut hasher);
        }
        hasher.finish()
    };
    let (a, b) = (side(a, b.book.told), side(b, a.book.told));
    let mut both = Mixer::default();
    (world.now, a.min(b), a.max(b)).hash(&mut both);
    both.finish()
}

/// A hash by multiplication and folding: quick, and good enough where nobody chooses the input
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x2545_f491_4f6c_dd1d) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            self.write_u64(rest.iter().fold(rest.len() as u64, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The key is a hash already
#[derive(Default)]
struct Known(u64);

impl Hasher for Known {
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
