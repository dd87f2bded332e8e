//! Inflating a body that comes in pieces

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::ZipError;

/// Inflates a streamed body piece by piece, in constant memory (about 75 KiB)
pub struct InflateStream {
    state: Box<DecompressorOxide>,
    /// The latest of what was inflated: at least [`DISTANCE`] bytes once there are that many
    window: Vec<u8>,
    /// End of what is in the window
    end: usize,
    /// End of what has been handed out of it
    taken: usize,
    left: u64,
    limit: u64,
    done: bool,
}

/// What became of one piece
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Inflated {
    /// Bytes of the piece used up; hand the rest in again
    pub read: usize,
    /// Bytes written to the front of the output
    pub written: usize,
    /// The stream has ended, and all of it was handed out
    pub done: bool,
}

/// How far back DEFLATE can refer, in bytes (RFC 1951, section 2)
const DISTANCE: usize = 32 << 10;

impl InflateStream {
    /// An inflater for a body of at most `limit` bytes, inflated
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            state: Box::default(),
            window: vec![0; 2 * DISTANCE],
            end: 0,
            taken: 0,
            left: limit,
            limit,
            done: false,
        }
    }

    /// Inflates what fits into `out`, which must not be empty
    ///
    /// # Errors
    /// [`ZipError::Corrupt`], or [`ZipError::TooLarge`] as soon as the limit is passed.
    pub fn push(&mut self, piece: &[u8], out: &mut [u8]) -> Result<Inflated, ZipError> {
        let (mut read, mut written) = (0, 0);
        loop {
            written += self.hand_out(out.get_mut(written..).unwrap_or_default())?;
            let rest = piece.get(read..).unwrap_or_default();
            if self.taken < self.end {
                return Ok(Inflated { read, written, done: false });
            }
            if self.done {
                return if rest.is_empty() {
                    Ok(Inflated { read, written, done: true })
                } else {
                    Err(ZipError::Corrupt)
                };
            }
            if self.end == self.window.len() {
                self.window.copy_within(self.end - DISTANCE.., 0);
                (self.end, self.taken) = (DISTANCE, DISTANCE);
            }
            // In a buffer that does not wrap, a reference to before the start of the stream is found out.
            let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF
                | inflate_flags::TINFL_FLAG_IGNORE_ADLER32
                | inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
            let (status, consumed, produced) =
                decompress(&mut self.state, rest, &mut self.window, self.end, flags);
            read += consumed;
            self.end += produced;
            match status {
                TINFLStatus::Done => self.done = true,
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput if produced == 0 => {
                    return Ok(Inflated { read, written, done: false });
                }
                TINFLStatus::NeedsMoreInput => {}
                TINFLStatus::FailedCannotMakeProgress
                | TINFLStatus::BadParam
                | TINFLStatus::Adler32Mismatch
                | TINFLStatus::Failed
                | _ => return Err(ZipError::Corrupt),
            }
        }
    }

    /// Copies what waits in the window
    fn hand_out(&mut self, out: &mut [u8]) -> Result<usize, ZipError> {
        let waiting = self.window.get(self.taken..self.end).unwrap_or_default();
        let len = waiting.len().min(out.len());
        if let (Some(out), Some(waiting)) = (out.get_mut(..len), waiting.get(..len)) {
            out.copy_from_slice(waiting);
        }
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        self.left = self.left.checked_sub(len as u64).ok_or(ZipError::TooLarge { limit })?;
        self.taken += len;
        Ok(len)
    }
}

impl core::fmt::Debug for InflateStream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("InflateStream")
            .field("left", &self.left)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
