//! What the thread that reads works with

use flyrpc_core::RecvBuf;
use flyrpc_core::fly::zip::Unzip;

/// Received bytes, and what opens compressed packets
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) buf: RecvBuf<Vec<u8>>,
    pub(crate) unzip: Unzip,
    /// Nothing was read since the last ping of our own
    pub(crate) pinged: bool,
    /// The peer has closed its direction
    pub(crate) ended: bool,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { buf: RecvBuf::new(vec![0; SMALL]), unzip: Unzip::new(), pinged: false, ended: false }
    }

    /// Room for the next read
    pub(crate) fn space(&mut self, at_least: usize) -> &mut [u8] {
        if self.buf.data().is_empty() {
            self.buf.shrink(LARGE);
        }
        // Not every message says how long it is: then a half more than there is, so that few steps lead to a long one.
        let len = self.buf.data().len();
        self.buf.grow(at_least.max(len + len / 2), LARGE);
        self.buf.space()
    }
}

/// First buffer of a connection, in bytes
const SMALL: usize = 4 << 10;
/// What it grows to, and shrinks back to, when there is much to read
const LARGE: usize = 64 << 10;
