//! The blocking adapter on real sockets, with peers that behave and with raw ones that do not
//!
//! Every test is bounded by a watchdog; none waits for a fixed time to pass where it can wait for an event.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod calls;
mod common;
mod drain;
mod ends;
mod errors;
mod jsonrpc;
mod limits;
mod lives;
mod options;
mod overtime;
mod router;
mod slow;
#[cfg(unix)]
mod unix;
mod zip;
