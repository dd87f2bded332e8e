//! The harness that flyrpc is tested with
//!
//! * [`Pair`]: two connections on virtual time over a seeded [`Link`]; everything that happens is recorded as text.
//! * [`explore`]: two small connections under all operations there are, up to a depth.
//! * [`fuzz`]: what the fuzz targets do with arbitrary bytes.
//! * [`jsonrpc`]: connections of that dialect fed with texts.
//! * [`model`]: two connections under random operations, beside a reference.
//! * [`serial`]: the receiving end of a serial line.
//! * [`split`]: one byte stream in every way it can be cut.
//! * [`vectors`]: bytes and exchanges recorded from the real programs.

pub mod explore;
pub mod fuzz;
pub mod jsonrpc;
pub mod link;
pub mod model;
pub mod pair;
pub mod rng;
pub mod serial;
pub mod split;
pub mod vectors;

pub use link::{Link, LinkConfig};
pub use pair::{Pair, Peer, Side};
pub use rng::Rng;

/// The examples of the README, compiled and run as its readers would
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
