//! Opening received packets

use alloc::boxed::Box;
use alloc::vec::Vec;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::super::Zip;
use super::{ZipError, check_code, cobs, finish};
use crate::Limits;

/// Opens received packets: code and payload inflated where they are compressed, borrowed where they are not
///
/// Its buffers are empty until the first compressed packet.
///
/// ```
/// use flyrpc_core::{Limits, fly::{Zip, zip::{Unzip, ZipMode, Zipper}}};
///
/// let (mut zipper, mut unzip) = (Zipper::new(ZipMode::On), Unzip::new());
/// let payload = [b'a'; 4096];
/// let packed = zipper.pack(b"store", &payload);
/// assert_eq!(packed.zip, Zip { code: false, payload: true });
/// assert!(packed.payload.len() < 64);
/// let opened = unzip.open(packed.code, packed.payload, packed.zip, &Limits::new())?;
/// assert_eq!((opened.code, opened.payload), ("store", &payload[..]));
/// # Ok::<(), flyrpc_core::fly::zip::ZipError>(())
/// ```
#[derive(Default)]
pub struct Unzip {
    state: Option<Box<DecompressorOxide>>,
    cobs: Vec<u8>,
    code: Vec<u8>,
    payload: Vec<u8>,
}

/// A packet's code and payload as its sender meant them
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Code
    pub code: &'a str,
    /// Payload
    pub payload: &'a [u8],
}

impl Unzip {
    /// An opener without buffers yet
    #[must_use]
    pub const fn new() -> Self {
        Self { state: None, cobs: Vec::new(), code: Vec::new(), payload: Vec::new() }
    }

    /// Opens a packet; inflated, its parts are held to the limits that they are held to as sent
    ///
    /// # Errors
    /// See [`ZipError`].
    pub fn open<'a>(
        &'a mut self,
        code: &'a [u8],
        payload: &'a [u8],
        zip: Zip,
        limits: &Limits,
    ) -> Result<Opened<'a>, ZipError> {
        let code = if zip.code {
            self.cobs.resize(code.len(), 0);
            let deflated = cobs::decode(code, &mut self.cobs).ok_or(ZipError::Corrupt)?;
            inflate(&mut self.state, deflated, &mut self.code, limits.get_max_method() as usize)?;
            &self.code
        } else {
            code
        };
        let code = check_code(code)?;
        let payload = if zip.payload {
            inflate(&mut self.state, payload, &mut self.payload, limits.get_max_payload() as usize)?;
            &self.payload
        } else {
            payload
        };
        Ok(Opened { code, payload })
    }

    /// Gives all memory back, for a connection that has fallen idle
    pub fn release(&mut self) {
        *self = Self::new();
    }
}

impl core::fmt::Debug for Unzip {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Unzip")
            .field("code", &self.code.capacity())
            .field("payload", &self.payload.capacity())
            .finish()
    }
}

/// Says how long the payload is, never what is in it (P22)
impl core::fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let payload = format_args!("{} bytes", self.payload.len());
        f.debug_struct("Opened").field("code", &self.code).field("payload", &payload).finish()
    }
}

/// Inflates into `out`, which doubles as needed and never passes `limit`
fn inflate(
    state: &mut Option<Box<DecompressorOxide>>,
    input: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), ZipError> {
    let state = state.get_or_insert_with(Box::default);
    state.init();
    out.clear();
    out.resize(input.len().saturating_mul(4).clamp(64, 64 << 10).min(limit), 0);
    let flags =
        inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | inflate_flags::TINFL_FLAG_IGNORE_ADLER32;
    let (mut read, mut written) = (0, 0);
    loop {
        let rest = input.get(read..).unwrap_or_default();
        let (status, consumed, produced) = decompress(state, rest, out, written, flags);
        read += consumed;
        written += produced;
        if status == TINFLStatus::HasMoreOutput && out.len() < limit {
            out.resize(out.len().saturating_mul(2).min(limit), 0);
            continue;
        }
        let finished = finish(status, read == input.len(), limit);
        out.truncate(if finished.is_ok() { written } else { 0 });
        return finished;
    }
}
