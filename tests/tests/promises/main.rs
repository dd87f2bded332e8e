//! The promises of flyrpc, P1 to P22, for FlyRPC: each test carries the number of its rule
//!
//! `tests/README.md` maps the rules to the tests; the module `table` holds it to that. P18 is in `split.rs`.

mod drain;
mod isolation;
mod leaks;
mod life;
mod order;
mod pressure;
mod races;
mod secrecy;
mod sequences;
mod table;
mod timers;

use core::time::Duration;

use flyrpc_core::{Connection, Instant, Limits, Slot, Table, fly::Fly};
use flyrpc_tests::Peer;

/// A call table without a heap
type Heapless<const N: usize> = heapless::Vec<Slot<u32>, N>;
/// A peer with the growable call table
type Growable = Peer<Table<u32>>;

const REQUEST: u8 = 0x40;
const RESPONSE: u8 = 0x80;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The moment `millis` milliseconds after the epoch
const fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn growable() -> Growable {
    Peer::new(Limits::new())
}

/// A peer whose first call has a sequence of the test's choice
fn starting_at<S: flyrpc_core::Slots<Tag = u32>>(limits: Limits, sequence: u32) -> Peer<S> {
    let mut peer = Peer::new(limits.clone());
    peer.conn = Connection::new(Fly::default(), limits).first_sequence(sequence);
    peer
}

/// The sequence of the packet at the front of `wire`
fn sequence_of(wire: &[u8]) -> u16 {
    match wire {
        [_, high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => panic!("no packet in {} bytes", wire.len()),
    }
}
