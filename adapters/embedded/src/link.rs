//! What lies between the bytes of a line and the packets of FlyRPC

use core::time::Duration;

/// How packets travel on a line: [`Plain`] or [`Framed`](crate::Framed)
///
/// The methods are for [`Node`](crate::Node); the trait is sealed.
pub trait Link: sealed::Link {}

impl<L: sealed::Link> Link for L {}

/// FlyRPC's own framing: for streams of bytes that lose and change none, such as USB or a short, slow UART
///
/// A byte that is lost all the same makes what follows unreadable. So a packet that is not complete when the line has been
/// silent for the *gap* is dropped, and after bytes that are no packet everything is, until the line is silent for so long.
/// A restart of the other end goes unnoticed: calls run into their deadlines, and answers to calls of its earlier life may
/// meet new calls. [`Framed`](crate::Framed) knows better.
#[derive(Clone, Debug)]
pub struct Plain {
    gap_micros: u32,
}

impl Plain {
    /// The gap is 100 ms
    #[must_use]
    pub const fn new() -> Self {
        Self { gap_micros: 100_000 }
    }

    /// The silence within a packet after which the rest of it does not come any more
    ///
    /// Longer than any pause the sender makes within a packet, and shorter than its call time-outs; default 100 ms, 71 minutes at
    /// the most. Poll more often: half a packet is only told from what follows a silence if it was looked at before.
    #[must_use]
    pub const fn gap(mut self, gap: Duration) -> Self {
        let micros = gap.as_micros();
        self.gap_micros = if micros > u32::MAX as u128 { u32::MAX } else { micros as u32 };
        self
    }
}

impl Default for Plain {
    fn default() -> Self {
        Self::new()
    }
}

/// What was found at the front of the bytes that have come
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// Nothing whole yet
    NeedMore,
    /// Packets, without an end of their own: the connection finds it
    Stream,
    /// Bytes to drop, with a packet in them, if its length is not 0
    Frame {
        /// How many to drop
        len: usize,
        /// Where the packet starts
        start: usize,
        /// Where the packet ends
        end: usize,
        /// The frame is the first from a new life of the other end
        restarted: bool,
    },
}

pub(crate) mod sealed {
    use super::Found;

    pub trait Link {
        /// The smallest buffers, in bytes: they hold the largest packet of the connection's own
        const LEAST: usize;

        /// Bytes on the line beside a packet of up to 253 bytes; each 254 more may add one
        const OVERHEAD: usize;

        /// Where the packet of `len` bytes must stand before it is sealed
        fn lead(len: usize) -> usize;

        /// The most bytes that a packet of `len` bytes takes on the line
        fn frame_max(len: usize) -> usize;

        /// Makes what goes over the line of the packet that stands at its lead; tells the length
        fn seal(&mut self, memory: &mut [u8], len: usize) -> usize;

        /// What is at the front of `data`?
        fn receive(&mut self, data: &mut [u8]) -> Found;

        /// The buffer was full without a packet in it, and is empty now
        fn overrun(&mut self);

        /// Is an empty packet to be sent?
        fn is_due(&self) -> bool;

        /// The silence that ends a packet, in microseconds
        fn gap(&self) -> Option<u32>;
    }
}

impl sealed::Link for Plain {
    // The answer to `$hello`: 55 bytes.
    const LEAST: usize = 64;
    const OVERHEAD: usize = 0;

    #[inline]
    fn lead(_: usize) -> usize {
        0
    }

    #[inline]
    fn frame_max(len: usize) -> usize {
        len
    }

    #[inline]
    fn seal(&mut self, _: &mut [u8], len: usize) -> usize {
        len
    }

    #[inline]
    fn receive(&mut self, data: &mut [u8]) -> Found {
        if data.is_empty() { Found::NeedMore } else { Found::Stream }
    }

    #[inline]
    fn overrun(&mut self) {}

    #[inline]
    fn is_due(&self) -> bool {
        false
    }

    #[inline]
    fn gap(&self) -> Option<u32> {
        Some(self.gap_micros)
    }
}
