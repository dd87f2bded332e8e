//! The bytes of a frame: COBS and CRC, both in place

use core::num::NonZeroU16;

use cobs::{DecodeResult, DecoderState, EncoderState, PushResult};
use crc::{CRC_32_ISO_HDLC, Crc, Table};

/// Separates frames
pub(super) const DELIMITER: u8 = 0;
/// `from` and `to`
const HEADER: usize = 4;
const CHECK: usize = 4;
/// Bytes from one full run of COBS to the next: each has a byte of its own
const RUN: usize = 254;

/// Tables of a kilobyte: a small device has better uses for that
const TABLES: usize = if cfg!(feature = "serial-fast") { 16 } else { 0 };
static CRC: Crc<u32, Table<TABLES>> = Crc::<u32, Table<TABLES>>::new(&CRC_32_ISO_HDLC);

/// Where the plain bytes of a frame begin, header and check among them
///
/// Written in place, an encoding must never pass what is still to be read. Before plain byte `i` is read, the delimiter, the
/// first code and `i` bytes have been written, and a further code for each full run of 254: up to `2 + i + i / 254`, which is
/// at most `start + i` if `start` is `2 + plain / 254`. The codes that are filled in later lie further in front.
const fn start(plain: usize) -> usize {
    2 + plain / RUN
}

/// Bytes inside the COBS for a packet of `len` bytes
const fn plain(len: usize) -> usize {
    len.saturating_add(HEADER + CHECK)
}

/// Where a packet of `len` bytes stands before [`seal`]
pub(super) const fn lead(len: usize) -> usize {
    start(plain(len)) + HEADER
}

/// The longest frame of a packet of `len` bytes: both delimiters, the codes, what is inside
pub(super) const fn longest(len: usize) -> usize {
    plain(len).saturating_add(plain(len) / RUN + 3)
}

/// Makes the frame of the packet that stands at [`lead`] and tells its length; `None` if the memory is too short
pub(super) fn seal(memory: &mut [u8], from: NonZeroU16, to: u16, len: usize) -> Option<usize> {
    let frame = memory.get_mut(..longest(len))?;
    let plain = plain(len);
    let ([a, b], [c, d]) = (from.get().to_be_bytes(), to.to_be_bytes());
    let (covered, check) = frame.get_mut(start(plain)..)?.split_at_mut_checked(plain - CHECK)?;
    *covered.first_chunk_mut::<HEADER>()? = [a, b, c, d];
    *check.first_chunk_mut::<CHECK>()? = CRC.checksum(covered).to_be_bytes();
    encode(frame, plain)
}

/// Encodes the `plain` bytes at [`start`] to the front, between delimiters
fn encode(frame: &mut [u8], plain: usize) -> Option<usize> {
    let (first, frame) = frame.split_first_mut()?;
    *first = DELIMITER;
    let mut state = EncoderState::default();
    // The first code is in front of it.
    let mut end = 1;
    let mut is_full = false;
    for at in start(plain) - 1..start(plain) - 1 + plain {
        let byte = *frame.get(at)?;
        is_full = false;
        match state.push(byte) {
            PushResult::AddSingle(byte) => *frame.get_mut(end)? = byte,
            PushResult::ModifyFromStartAndSkip((code, run)) => *frame.get_mut(code)? = run,
            PushResult::ModifyFromStartAndPushAndSkip((code, run, byte)) => {
                *frame.get_mut(code)? = run;
                *frame.get_mut(end)? = byte;
                end += 1;
                is_full = true;
            }
        }
        end += 1;
    }
    let (code, run) = state.finalize();
    *frame.get_mut(code)? = run;
    if is_full {
        // A full run at the end stands for itself: the code behind it is not needed.
        end -= 1;
    }
    *frame.get_mut(end)? = DELIMITER;
    Some(end + 2)
}

/// What a frame says, and where its packet is
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The sender's session
    pub from: NonZeroU16,
    /// The session that the sender has last heard from the other end; 0 if none
    pub to: u16,
    /// First byte of the packet
    pub start: usize,
    /// Behind its last byte; `start` if there is no packet
    pub end: usize,
}

/// Decodes what stands between two delimiters, in place; `None` if it is damaged
///
/// For those who look at a line, and are none of its ends: [`Line::receive`](super::Line::receive) does this and more.
#[must_use]
pub fn open(code: &mut [u8]) -> Option<Frame> {
    let len = decode(code)?;
    let (covered, check) = code.get(..len)?.split_last_chunk::<CHECK>()?;
    let [a, b, c, d] = *covered.first_chunk::<HEADER>()?;
    (CRC.checksum(covered) == u32::from_be_bytes(*check)).then_some(Frame {
        from: NonZeroU16::new(u16::from_be_bytes([a, b]))?,
        to: u16::from_be_bytes([c, d]),
        start: HEADER,
        end: len - CHECK,
    })
}

/// Decodes COBS in place and tells the length; what it writes is never ahead of what it reads
fn decode(code: &mut [u8]) -> Option<usize> {
    let mut state = DecoderState::default();
    let mut len = 0;
    for at in 0..code.len() {
        if let DecodeResult::DataContinue(byte) = state.feed(*code.get(at)?).ok()? {
            *code.get_mut(len)? = byte;
            len += 1;
        }
    }
    // Complete only if the last run is.
    matches!(state.feed(DELIMITER), Ok(DecodeResult::DataComplete)).then_some(len)
}
