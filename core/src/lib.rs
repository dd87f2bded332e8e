//! The RPC engine of flyrpc: bytes in, events out, calls that never hang
//!
//! Two types to start from: [`Connection`], the life of calls over any transport, and [`fly::Fly`], the FlyRPC
//! dialect. `Connection`'s documentation shows the loop of its owner and a complete call. Read `connection` next.
//!
//! The core does no I/O, reads no clock and takes no lock. It needs no heap: the call table can be a
//! `heapless::Vec<Slot<T>, N>`, decoded data borrows the caller's input, and output goes straight to the caller's
//! [`Sink`].
//!
//! # Floors
//!
//! | floor | modules |
//! |---|---|
//! | 0 | [`Instant`], [`Sink`], [`RecvBuf`], errors, [`Limits`] |
//! | 1 | [`Dialect`] and its implementations: [`fly`], and with feature `alloc` `jsonrpc` |
//! | 2 | [`Connection`] |
//!
//! # Features
//!
//! * `alloc`: JSON-RPC (`jsonrpc`), growable call tables (`Table`), `Vec<u8>` as a sink, compression (inflating needs no
//!   heap).
//! * `serial`: frames for serial lines, found again after noise (`serial`). Needs no heap. `serial-fast` takes 16 KiB of tables to check
//!   them in a third of the time.
//!
//! * `defmt`: errors, events and counters can be logged by `defmt`, without payloads.
//!
//! `default = []`. A feature adds to the API and changes nothing else.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;

mod connection;
mod dialect;
mod error;
pub mod fly;
#[cfg(feature = "alloc")]
pub mod jsonrpc;
mod limits;
mod recv;
#[cfg(feature = "serial")]
pub mod serial;
mod sink;
mod time;

pub use connection::{
    BadReply, CallId, CloseReason, Connection, Event, FAN_OUT, Incoming, Loss, NoCalls, ReplyToken, Resting,
    Rests, Slot, Slots, State, Stats, Step, Transmit, What,
};
#[cfg(feature = "alloc")]
pub use connection::{Bits, Table};
pub use dialect::{Body, Call, Decoded, Dialect, Fault, Message, Reject, Reply};
pub use error::{ProtocolError, Refusal, Refused, WireError};
pub use limits::{Limits, Overload, Oversize};
pub use recv::RecvBuf;
pub use sink::{NoRoom, Sink, SliceSink};
pub use time::Instant;

/// Where there is no heap, code is chosen for its size
const IS_FAST: bool = cfg!(feature = "alloc");
