//! One end of a line: what it takes, what it drops, whom it knows

use core::num::NonZeroU16;

use super::frame;

/// One end of a serial line
///
/// What came: [`receive`](Self::receive), [`overrun`](Self::overrun). What is sent: [`seal`](Self::seal),
/// [`owes_announcement`](Self::owes_announcement). It holds no bytes; those are the owner's. The module's documentation shows
/// its loop.
#[derive(Clone, Debug)]
pub struct Line {
    session: NonZeroU16,
    peer: Option<NonZeroU16>,
    /// Bytes at the front of the data that hold no delimiter
    scanned: usize,
    /// The rest of a frame that was too long is still to come
    is_skipping: bool,
    is_owing: bool,
    stats: LineStats,
}

/// What an end has counted since it was made; each wraps around
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineStats {
    /// Intact frames to this session or to none yet, announcements among them
    pub taken: u32,
    /// Frames that were damaged, or noise between frames
    pub damaged: u32,
    /// Frames that did not fit the owner's buffer
    pub too_long: u32,
    /// Intact frames to an earlier session of this end
    pub stale: u32,
    /// Restarts of the other end
    pub restarts: u32,
}

/// What [`Line::receive`] has found
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Found {
    /// Bytes to drop from the front of the data, once the packet has been used
    pub consumed: usize,
    /// The other end has restarted: it has forgotten what was in flight, in both directions
    ///
    /// A packet that is found at the same time is already of its new life.
    pub restarted: bool,
    /// The packet, if there is one
    pub what: What,
}

/// Whether there was a packet
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The data holds no whole frame
    NeedMore,
    /// A frame without a packet, or one that was dropped
    Nothing,
    /// A packet, at `start..end` of the data; it is not empty
    Packet {
        /// Its first byte
        start: usize,
        /// Behind its last byte, within [`Found::consumed`]
        end: usize,
    },
}

impl Line {
    /// An end that has heard nobody; `session` must differ from the one of its start before
    ///
    /// Where there is randomness, take that; else a counter of starts in memory that outlives them.
    #[must_use]
    pub const fn new(session: NonZeroU16) -> Self {
        Self {
            session,
            peer: None,
            scanned: 0,
            is_skipping: false,
            is_owing: false,
            stats: LineStats { taken: 0, damaged: 0, too_long: 0, stale: 0, restarts: 0 },
        }
    }

    /// The number of this end's life
    #[must_use]
    pub const fn session(&self) -> NonZeroU16 {
        self.session
    }

    /// The number of the other end's life, once it was heard
    #[must_use]
    pub const fn peer(&self) -> Option<NonZeroU16> {
        self.peer
    }

    /// What was counted
    #[must_use]
    pub const fn stats(&self) -> &LineStats {
        &self.stats
    }

    /// Finds the next frame in `data`, bytes as they came, and decodes it in place
    ///
    /// Call it until it says [`What::NeedMore`], each time with what is left behind `consumed`; then with the same bytes and
    /// more behind them. Bytes that hold no whole frame are looked at once and left as they are.
    pub fn receive(&mut self, data: &mut [u8]) -> Found {
        let scanned = self.scanned.min(data.len());
        let fresh = data.get(scanned..).unwrap_or_default();
        let Some(at) = fresh.iter().position(|byte| *byte == frame::DELIMITER) else {
            let consumed = if self.is_skipping { data.len() } else { 0 };
            self.scanned = data.len() - consumed;
            return Found { consumed, restarted: false, what: What::NeedMore };
        };
        self.scanned = 0;
        let end = scanned + at;
        let nothing = Found { consumed: end + 1, restarted: false, what: What::Nothing };
        // The end of a frame that was too long, or nothing between two delimiters
        if core::mem::take(&mut self.is_skipping) || end == 0 {
            return nothing;
        }
        let Some(opened) = data.get_mut(..end).and_then(frame::open) else {
            count(&mut self.stats.damaged);
            return nothing;
        };
        let restarted = self.peer.is_some_and(|peer| peer != opened.from);
        if restarted {
            count(&mut self.stats.restarts);
        }
        self.peer = Some(opened.from);
        let is_known = opened.to == self.session.get();
        self.is_owing |= !is_known;
        if !is_known && opened.to != 0 {
            count(&mut self.stats.stale);
            return Found { restarted, ..nothing };
        }
        count(&mut self.stats.taken);
        let what = if opened.start == opened.end {
            What::Nothing
        } else {
            What::Packet { start: opened.start, end: opened.end }
        };
        Found { restarted, what, ..nothing }
    }

    /// Says that the owner's buffer is full and was emptied, although it holds no whole frame
    ///
    /// What follows up to the next delimiter is dropped as well.
    pub fn overrun(&mut self) {
        if !self.is_skipping {
            count(&mut self.stats.too_long);
        }
        self.is_skipping = true;
        self.scanned = 0;
    }

    /// True if the other end is to be told this end's session: seal a packet, or none, as soon as there is room
    ///
    /// May change with [`receive`](Self::receive), [`announce`](Self::announce) and [`seal`](Self::seal).
    #[must_use]
    pub const fn owes_announcement(&self) -> bool {
        self.is_owing
    }

    /// Makes an announcement due, as at a start: so the other end learns of it although nobody calls
    pub const fn announce(&mut self) {
        self.is_owing = true;
    }

    /// Where a packet of `len` bytes must stand before [`seal`](Self::seal); 6 for one of less than 246
    #[must_use]
    pub const fn lead(len: usize) -> usize {
        frame::lead(len)
    }

    /// The memory that a frame of `len` bytes takes, and its longest length: `len + 11`, and 1 for each 254 of `len + 8`
    #[must_use]
    pub const fn frame_max(len: usize) -> usize {
        frame::longest(len)
    }

    /// Makes a frame of the packet of `len` bytes that stands at [`lead`](Self::lead), from the front of `memory` on, and
    /// tells its length; without a packet (0) it is an announcement
    ///
    /// `None` if `memory` is shorter than [`frame_max`](Self::frame_max): nothing has changed then.
    #[must_use]
    pub fn seal(&mut self, memory: &mut [u8], len: usize) -> Option<usize> {
        let to = self.peer.map_or(0, NonZeroU16::get);
        let sealed = frame::seal(memory, self.session, to, len)?;
        self.is_owing = false;
        Some(sealed)
    }
}

fn count(what: &mut u32) {
    *what = what.wrapping_add(1);
}
