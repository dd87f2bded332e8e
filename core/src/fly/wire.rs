//! Packets on the wire
//!
//! | field | bytes | |
//! |---|---|---|
//! | flag | 1 | see [`Flag`] |
//! | sequence | 2 | big-endian; a response carries its request's |
//! | code | any, then 0x00 | UTF-8 unless compressed |
//! | length | 1, 2, 4 or 8 | big-endian, of the payload as sent; the flag's low two bits say how wide |
//! | payload | length | |

use crate::dialect::Fault;
use crate::sink::copy;
use crate::{IS_FAST, NoRoom, Sink, WireError};

/// The first byte of a packet
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flag(pub u8);

impl Flag {
    /// A message: nothing is expected back
    pub const MESSAGE: Self = Self(0);
    /// The packet answers a request; wins over [`Flag::REQUEST`]
    pub const RESPONSE: Self = Self(0x80);
    /// The receiver answers
    pub const REQUEST: Self = Self(0x40);
    /// Sent as 0, ignored on receive
    pub const RESERVED: Self = Self(0x30);
    /// The code is compressed
    pub const ZIP_CODE: Self = Self(0x08);
    /// The payload is compressed
    pub const ZIP_PAYLOAD: Self = Self(0x04);
    /// Width of the length: `1 << n` bytes
    pub const WIDTH: Self = Self(0x03);

    /// Is any of these bits set?
    #[must_use]
    #[inline]
    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    /// Is this a response?
    #[must_use]
    #[inline]
    pub const fn is_response(self) -> bool {
        self.has(Self::RESPONSE)
    }

    /// Is this a request, and not a response?
    #[must_use]
    #[inline]
    pub const fn is_request(self) -> bool {
        self.0 & 0xc0 == Self::REQUEST.0
    }

    /// Width of the length field: 1, 2, 4 or 8 bytes
    #[must_use]
    #[inline]
    pub const fn length_width(self) -> usize {
        1 << (self.0 & Self::WIDTH.0)
    }

    /// What is compressed
    #[must_use]
    #[inline]
    pub const fn zip(self) -> Zip {
        Zip { code: self.has(Self::ZIP_CODE), payload: self.has(Self::ZIP_PAYLOAD) }
    }

    /// The same flag with the compression bits that `zip` says and the shortest width for `len`
    #[must_use]
    #[inline]
    pub const fn with(self, zip: Zip, len: u64) -> Self {
        let zip = ((zip.code as u8) << 3) | ((zip.payload as u8) << 2);
        Self((self.0 & 0xf0) | zip | shortest_width(len))
    }
}

impl core::fmt::Debug for Flag {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Flag({:#04x})", self.0)
    }
}

/// The width bits of the shortest length field that holds `len`
#[inline]
const fn shortest_width(len: u64) -> u8 {
    (len > 0xff) as u8 + (len > 0xffff) as u8 + (len > 0xffff_ffff) as u8
}

/// Which parts of a packet are compressed
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Zip {
    /// The code is raw DEFLATE (RFC 1951), then COBS, so that it holds no 0x00
    pub code: bool,
    /// The payload is raw DEFLATE (RFC 1951)
    pub payload: bool,
}

impl Zip {
    /// Nothing is compressed
    pub const NONE: Self = Self { code: false, payload: false };

    /// Is anything compressed?
    #[must_use]
    pub const fn any(self) -> bool {
        self.code || self.payload
    }
}

/// Everything of a packet but its payload
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'i> {
    /// First byte
    pub flag: Flag,
    /// Sequence
    pub sequence: u16,
    /// Code as sent, without its 0x00
    pub code: &'i [u8],
    /// Length of the payload as sent, in bytes
    pub payload_len: u64,
    /// Length of all this on the wire, in bytes
    pub len: usize,
    /// All bytes of the code are below 0x80
    pub ascii: bool,
}

/// One whole packet as it is on the wire: level 1 of FlyRPC's API
///
/// ```
/// use flyrpc_core::fly::{Flag, RawPacket};
///
/// let packet = RawPacket { flag: Flag::REQUEST, sequence: 1, code: b"echo", payload: b"hello" };
/// let mut wire = Vec::new();
/// # #[cfg(feature = "alloc")]
/// packet.encode(&mut wire)?;
/// # #[cfg(feature = "alloc")]
/// assert_eq!(wire, b"\x40\x00\x01echo\0\x05hello");
/// # #[cfg(not(feature = "alloc"))]
/// # wire.extend_from_slice(b"\x40\x00\x01echo\0\x05hello");
/// let (back, len) = RawPacket::decode(&wire, 1024, 1 << 20).unwrap().unwrap();
/// assert_eq!((back, len), (packet, wire.len()));
/// # Ok::<(), flyrpc_core::NoRoom>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawPacket<'i> {
    /// First byte; encoding sets its width bits itself
    pub flag: Flag,
    /// Sequence
    pub sequence: u16,
    /// Code as sent, without its 0x00
    pub code: &'i [u8],
    /// Payload as sent
    pub payload: &'i [u8],
}

impl<'i> RawPacket<'i> {
    /// Reads the packet that `input` starts with, and tells its length on the wire
    ///
    /// `None` when it is not complete.
    ///
    /// # Errors
    /// [`Fault`]: the code has no end within `max_code` bytes, or the payload is longer than `max_payload` bytes.
    #[inline]
    pub fn decode(
        input: &'i [u8],
        max_code: usize,
        max_payload: u64,
    ) -> Result<Option<(Self, usize)>, Fault> {
        let Ok(head) = decode_head(input, max_code)? else { return Ok(None) };
        if head.payload_len > max_payload {
            return Err(head.body_too_long());
        }
        let payload =
            usize::try_from(head.payload_len).ok().and_then(|len| input.get(head.len..)?.get(..len));
        Ok(payload.map(|payload| {
            let Head { flag, sequence, code, .. } = head;
            (Self { flag, sequence, code, payload }, head.len + payload.len())
        }))
    }

    /// Writes the packet with the shortest length field
    ///
    /// The flag's upper six bits are written as they are. The code must not hold a 0x00.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing was written.
    #[inline]
    pub fn encode<O: Sink + ?Sized>(&self, out: &mut O) -> Result<(), NoRoom> {
        let flag = self.flag.with(self.flag.zip(), self.payload.len() as u64);
        encode_head(flag, self.sequence, self.code, self.payload.len() as u64, self.payload, out)
    }

    /// Length on the wire, in bytes
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        let width = 1 << shortest_width(self.payload.len() as u64);
        4 + self.code.len() + width + self.payload.len()
    }
}

/// Says how long the payload is, never what is in it (P22)
impl core::fmt::Debug for RawPacket<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RawPacket")
            .field("flag", &self.flag)
            .field("sequence", &self.sequence)
            .field("code", &self.code)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish()
    }
}

impl Head<'_> {
    /// The fault of a payload that is too long, at its length field
    #[cold]
    pub(super) const fn body_too_long(&self) -> Fault {
        Fault { what: WireError::BodyTooLong, at: (self.len - self.flag.length_width()) as u32 }
    }
}

/// Reads the head of the packet that `input` starts with; `Ok(Err(n))` when that takes at least `n` bytes of input
///
/// # Errors
/// [`Fault`]: the code has no end within `max_code` bytes.
#[inline(always)]
pub fn decode_head(input: &[u8], max_code: usize) -> Result<Result<Head<'_>, usize>, Fault> {
    // Never more than it takes to see that the code is too long: an owner does not ask again before.
    let decisive = max_code.saturating_add(4);
    let Some((&[flag, high, low], rest)) = input.split_first_chunk::<3>() else {
        return Ok(Err(SHORTEST.min(decisive)));
    };
    let (flag, sequence) = (Flag(flag), u16::from_be_bytes([high, low]));
    let width = flag.length_width();
    let (code_len, ascii) = match find_nul(rest) {
        Found::At(code_len, ascii) if code_len <= max_code => (code_len, ascii),
        Found::Nowhere if rest.len() <= max_code => {
            return Ok(Err((input.len() + 1 + width).min(decisive)));
        }
        Found::At(..) | Found::Nowhere => return Err(method_too_long(max_code)),
    };
    let len = 4 + code_len + width;
    let (Some(code), Some(field)) = (rest.get(..code_len), input.get(4 + code_len..len)) else {
        return Ok(Err(len));
    };
    let payload_len = match *field {
        // Smaller than one load for each width, and slower.
        _ if !IS_FAST => field.iter().fold(0, |len: u64, byte| len << 8 | u64::from(*byte)),
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_be_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    };
    Ok(Ok(Head { flag, sequence, code, payload_len, len, ascii }))
}

/// Writes a head and, behind it, `body`, which is the payload or (when streamed) nothing of it yet
///
/// The width bits of `flag` say how wide the length is written.
///
/// # Errors
/// [`NoRoom`]; nothing was written.
#[inline]
pub fn encode_head<O: Sink + ?Sized>(
    flag: Flag,
    sequence: u16,
    code: &[u8],
    payload_len: u64,
    body: &[u8],
    out: &mut O,
) -> Result<(), NoRoom> {
    let width = flag.length_width();
    let head = out.packet(4 + code.len() + width, body, &[])?;
    write_head(head, flag, sequence, code, payload_len);
    Ok(())
}

/// Fills `head` in; what a sink hands out too short is left alone
#[inline]
pub(super) fn write_head(head: &mut [u8], flag: Flag, sequence: u16, code: &[u8], payload_len: u64) {
    let Some((first, rest)) = head.split_first_chunk_mut::<3>() else { return };
    let [high, low] = sequence.to_be_bytes();
    *first = [flag.0, high, low];
    let Some((name, rest)) = rest.split_at_mut_checked(code.len()) else { return };
    copy(name, code);
    let Some((nul, rest)) = rest.split_first_mut() else { return };
    *nul = 0;
    if !IS_FAST {
        // Smaller than one store for each width, and slower.
        let bytes = payload_len.to_be_bytes();
        copy(rest, bytes.get(bytes.len().saturating_sub(flag.length_width())..).unwrap_or_default());
        return;
    }
    match rest {
        [a] => *a = payload_len as u8,
        [a, b, ..] if flag.length_width() == 2 => [*a, *b] = (payload_len as u16).to_be_bytes(),
        [a, b, c, d, ..] if flag.length_width() == 4 => [*a, *b, *c, *d] = (payload_len as u32).to_be_bytes(),
        [a, b, c, d, e, f, g, h, ..] => [*a, *b, *c, *d, *e, *f, *g, *h] = payload_len.to_be_bytes(),
        _ => {}
    }
}

/// Bytes of the shortest packet: flag, sequence, 0x00, length
const SHORTEST: usize = 5;

/// What a search for 0x00 found
pub(super) enum Found {
    /// Its place, and whether all bytes before it are below 0x80
    At(usize, bool),
    Nowhere,
}

#[cold]
const fn method_too_long(max_code: usize) -> Fault {
    Fault { what: WireError::MethodTooLong, at: 3 + max_code as u32 }
}

const ONES: usize = usize::from_ne_bytes([0x01; size_of::<usize>()]);
const HIGH: usize = usize::from_ne_bytes([0x80; size_of::<usize>()]);

/// The first 0x00, a machine word at a time
///
/// In `(word - 0x01…) & !word & 0x80…` the lowest bit set belongs to the lowest zero byte; bits above it may be false.
#[inline]
pub(super) fn find_nul(bytes: &[u8]) -> Found {
    let mut ascii = true;
    let mut at = 0;
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk().filter(|_| IS_FAST) {
        let word = usize::from_le_bytes(*chunk);
        let zeros = word.wrapping_sub(ONES) & !word & HIGH;
        if zeros != 0 {
            let before = (zeros & zeros.wrapping_neg()).wrapping_sub(1);
            return Found::At(at + zeros.trailing_zeros() as usize / 8, ascii && word & HIGH & before == 0);
        }
        ascii &= word & HIGH == 0;
        at += size_of::<usize>();
        rest = behind;
    }
    for &byte in rest {
        if byte == 0 {
            return Found::At(at, ascii);
        }
        ascii &= byte < 0x80;
        at += 1;
    }
    Found::Nowhere
}

/// Is there a 0x00? A machine word at a time, the last ones overlapping
#[inline]
pub(super) fn has_nul(bytes: &[u8]) -> bool {
    if !IS_FAST {
        return matches!(find_nul(bytes), Found::At(..));
    }
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk() {
        if zeros(u64::from_le_bytes(*chunk)) != 0 {
            return true;
        }
        rest = behind;
    }
    if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        return zeros(u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)))
            != 0;
    }
    rest.contains(&0)
}

const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080
}
