//! What this crate's own tests see of a connection

use crate::Peer;

/// What a connection holds
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Internals {
    /// Places of calls
    pub calls: usize,
    /// Those who wait for room to send
    pub room: usize,
    /// Those who wait for the end
    pub closers: usize,
    /// The peer's requests whose handlers run
    pub requests: u32,
    /// Bytes that were not sent
    pub unsent: usize,
    /// The driver will come
    pub turn: bool,
    /// Somebody writes
    pub writing: bool,
}

impl Peer {
    /// What the connection holds now
    #[doc(hidden)]
    #[must_use]
    pub fn internals(&self) -> Internals {
        let state = self.link.lock();
        Internals {
            calls: state.calls.in_use(),
            room: state.room.len(),
            closers: state.closers.len(),
            requests: state.requests.running(),
            unsent: state.unsent,
            turn: state.turn,
            writing: state.writing,
        }
    }
}
