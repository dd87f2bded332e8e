//! Frames on a noisy line

use core::num::NonZeroU16;

use flyrpc_core::fly::decode_head;
use flyrpc_core::serial::{Line, LineStats, What};

use crate::link::{Found, sealed};
use crate::node::MAX_CODE;

/// COBS frames with a CRC: for lines that lose bytes and change some
///
/// A damaged frame is dropped; its call runs into its deadline, and the next frame is read. The ends know each other by
/// *sessions*, so that a restart of the other end is noticed with its first frame ([`Event::Ended`](crate::Event::Ended)), and an
/// answer to a call of an earlier life is never taken for one to a call of now. See [`flyrpc_core::serial`].
#[derive(Clone, Debug)]
pub struct Framed {
    line: Line,
}

impl Framed {
    /// This end's session is a number that differs from start to start: a counter that outlives a reset, or a random one
    ///
    /// Where two starts in a row have the same one, the other end does not notice the restart.
    #[must_use]
    pub const fn new(session: NonZeroU16) -> Self {
        let mut line = Line::new(session);
        // So that the other end hears of the start at once, and need not wait for a call of ours.
        line.announce();
        Self { line }
    }

    /// Frames taken and dropped
    #[must_use]
    pub const fn stats(&self) -> &LineStats {
        self.line.stats()
    }

    /// Has the other end been heard?
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.line.peer().is_some()
    }
}

/// Is it one packet, whole, and with a code that is taken? No other is dealt with, so that it harms no call but its own
fn is_packet(bytes: Option<&[u8]>) -> bool {
    let Some(bytes) = bytes else { return false };
    let Ok(Ok(head)) = decode_head(bytes, usize::from(MAX_CODE)) else { return false };
    bytes.len().checked_sub(head.len).is_some_and(|len| len as u64 == head.payload_len)
}

impl sealed::Link for Framed {
    const LEAST: usize = 80;
    const OVERHEAD: usize = Line::frame_max(0) + 1;

    #[inline]
    fn lead(len: usize) -> usize {
        Line::lead(len)
    }

    #[inline]
    fn frame_max(len: usize) -> usize {
        Line::frame_max(len)
    }

    #[inline]
    fn seal(&mut self, memory: &mut [u8], len: usize) -> usize {
        // There is room: it was asked for.
        self.line.seal(memory, len).unwrap_or(0)
    }

    #[inline]
    fn receive(&mut self, data: &mut [u8]) -> Found {
        let found = self.line.receive(data);
        let (start, end) = match found.what {
            What::NeedMore => return Found::NeedMore,
            What::Packet { start, end } if is_packet(data.get(start..end)) => (start, end),
            What::Packet { .. } | What::Nothing => (0, 0),
        };
        Found::Frame { len: found.consumed, start, end, restarted: found.restarted }
    }

    #[inline]
    fn overrun(&mut self) {
        self.line.overrun();
    }

    #[inline]
    fn is_due(&self) -> bool {
        self.line.owes_announcement()
    }

    #[inline]
    fn gap(&self) -> Option<u32> {
        None
    }
}
