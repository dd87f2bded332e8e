//! Inflating a body that comes in pieces

use alloc::boxed::Box;

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

use super::ZipError;

/// Inflates a streamed body piece by piece, in constant memory (about 43 KiB)
pub struct InflateStream {
    state: Box<InflateState>,
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
    /// The stream has ended
    pub done: bool,
}

impl InflateStream {
    /// An inflater for a body of at most `limit` bytes, inflated
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { state: InflateState::new_boxed(DataFormat::Raw), left: limit, limit, done: false }
    }

    /// Inflates what fits into `out`, which must not be empty
    ///
    /// # Errors
    /// [`ZipError::Corrupt`], or [`ZipError::TooLarge`] as soon as the limit is passed.
    pub fn push(&mut self, piece: &[u8], out: &mut [u8]) -> Result<Inflated, ZipError> {
        if self.done {
            return if piece.is_empty() {
                Ok(Inflated { read: 0, written: 0, done: true })
            } else {
                Err(ZipError::Corrupt)
            };
        }
        let result = inflate(&mut self.state, piece, out, MZFlush::None);
        let (read, written) = (result.bytes_consumed, result.bytes_written);
        self.left = self
            .left
            .checked_sub(written as u64)
            .ok_or_else(|| ZipError::TooLarge { limit: usize::try_from(self.limit).unwrap_or(usize::MAX) })?;
        match result.status {
            Ok(MZStatus::StreamEnd) => self.done = true,
            Ok(_) => {}
            // No progress without more input or output is not an error yet.
            Err(miniz_oxide::MZError::Buf) => {}
            Err(_) => return Err(ZipError::Corrupt),
        }
        Ok(Inflated { read, written, done: self.done })
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
