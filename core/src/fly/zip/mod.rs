//! Compression of codes and payloads: level 2 of FlyRPC's API
//!
//! A compressed payload is raw DEFLATE (RFC 1951), without a zlib or gzip wrapper. A compressed code is raw DEFLATE too, and
//! then COBS, so that it holds no 0x00 and the header's grammar stays as it is. Go and Node carry the two flags but leave
//! the work to be done, so this encoding is ours.
//!
//! * [`inflate_payload`] and [`inflate_code`] need no heap: the caller's slice is the limit. They take about 12 KiB of
//!   stack.
//! * With feature `alloc`, `Unzip` opens packets, `Zipper` packs them, `InflateStream` inflates a body that comes in
//!   pieces.
//!
//! The limit holds while inflating: a stream that would pass it is given up at the limit, whatever it would have become.

mod cobs;
#[cfg(feature = "alloc")]
mod pack;
#[cfg(feature = "alloc")]
mod stream;
#[cfg(feature = "alloc")]
mod unpack;

use core::fmt;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::codes;
pub use cobs::{decode as decode_cobs, encode as encode_cobs, encoded_max as cobs_max};
#[cfg(feature = "alloc")]
pub use pack::{Packed, ZipMode, Zipper};
#[cfg(feature = "alloc")]
pub use stream::{InflateStream, Inflated};
#[cfg(feature = "alloc")]
pub use unpack::{Opened, Unzip};

/// Why a packet could not be opened
///
/// It fails that packet, never the connection: a request is answered with [`code`](Self::code), a message is dropped, a
/// reply fails its own call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ZipError {
    /// Not DEFLATE, not COBS, cut short, or followed by something else
    Corrupt,
    /// It would inflate to more than this many bytes
    TooLarge {
        /// The limit in bytes
        limit: usize,
    },
    /// The inflated code is not UTF-8, or holds a 0x00
    BadCode,
}

impl ZipError {
    /// The error code that answers such a request
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Corrupt => codes::BAD_ZIP,
            Self::TooLarge { .. } => codes::TOO_LARGE,
            Self::BadCode => codes::BAD_CODE,
        }
    }
}

impl fmt::Display for ZipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt => f.write_str("the compressed bytes do not inflate"),
            Self::TooLarge { limit } => write!(f, "the compressed bytes inflate to more than {limit} bytes"),
            Self::BadCode => f.write_str("the code is not UTF-8, or holds a 0x00"),
        }
    }
}

impl core::error::Error for ZipError {}

/// Inflates a payload into `out`, whose length is the limit, and tells the length
///
/// # Errors
/// [`ZipError::Corrupt`], or [`ZipError::TooLarge`] with the length of `out`. What `out` then holds is unspecified.
pub fn inflate_payload(payload: &[u8], out: &mut [u8]) -> Result<usize, ZipError> {
    let limit = out.len();
    let flags =
        inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | inflate_flags::TINFL_FLAG_IGNORE_ADLER32;
    let (status, read, written) = decompress(&mut DecompressorOxide::new(), payload, out, 0, flags);
    finish(status, read == payload.len(), limit).map(|()| written)
}

/// Inflates a code into `out`, whose length is the limit; `scratch` must be as long as the code is on the wire
///
/// # Errors
/// See [`ZipError`]. What the slices then hold is unspecified.
pub fn inflate_code<'o>(code: &[u8], scratch: &mut [u8], out: &'o mut [u8]) -> Result<&'o str, ZipError> {
    let deflated = cobs::decode(code, scratch).ok_or(ZipError::Corrupt)?;
    let len = inflate_payload(deflated, out)?;
    check_code(out.get(..len).unwrap_or_default())
}

/// A code as it was meant: UTF-8, and no 0x00, which it could not hold as sent either
fn check_code(code: &[u8]) -> Result<&str, ZipError> {
    match core::str::from_utf8(code) {
        Ok(text) if !code.contains(&0) => Ok(text),
        _ => Err(ZipError::BadCode),
    }
}

/// What the end of a whole stream means
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other status means that the stream is not whole and sound"
)]
const fn finish(status: TINFLStatus, all_read: bool, limit: usize) -> Result<(), ZipError> {
    match status {
        TINFLStatus::Done if all_read => Ok(()),
        TINFLStatus::HasMoreOutput => Err(ZipError::TooLarge { limit }),
        _ => Err(ZipError::Corrupt),
    }
}
