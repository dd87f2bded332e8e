//! Consistent overhead byte stuffing (Cheshire and Baker, 1999): bytes without a 0x00
//!
//! Each run of up to 254 bytes that are not 0x00 is written behind its length plus one; a length below 255 stands for a
//! 0x00 behind the run too, except at the end. Written here and not taken from a crate, because it is part of a packet's
//! header, and the crates bring a derive macro into every build; the tests compare it with one.

/// The longest encoding of `len` bytes
#[must_use]
pub const fn encoded_max(len: usize) -> usize {
    len + 1 + len / 254
}

/// Encodes `bytes` into `out`, without a closing 0x00, and tells the length; `None` when `out` is too short
#[must_use]
pub fn encode(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut at = 0;
    let mut runs = bytes.split(|byte| *byte == 0).peekable();
    while let Some(mut run) = runs.next() {
        while run.len() >= 254 {
            let (full, rest) = run.split_at_checked(254)?;
            at = put(out, at, 0xff, full)?;
            run = rest;
            // A full run stands for itself: nothing more is owed at the end.
            if run.is_empty() && runs.peek().is_none() {
                return Some(at);
            }
        }
        at = put(out, at, run.len() as u8 + 1, run)?;
    }
    Some(at)
}

fn put(out: &mut [u8], at: usize, code: u8, run: &[u8]) -> Option<usize> {
    let (first, rest) = out.get_mut(at..)?.split_first_mut()?;
    *first = code;
    rest.get_mut(..run.len())?.copy_from_slice(run);
    Some(at + 1 + run.len())
}

/// Decodes `code` into `out`; `None` when it is not COBS or `out` is shorter than what it stands for
#[must_use]
pub fn decode<'o>(mut code: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    let mut len = 0;
    while let Some((&first, rest)) = code.split_first() {
        let (run, rest) = rest.split_at_checked(usize::from(first.checked_sub(1)?))?;
        if run.contains(&0) {
            return None;
        }
        out.get_mut(len..len + run.len())?.copy_from_slice(run);
        len += run.len();
        code = rest;
        if first != 0xff && !code.is_empty() {
            *out.get_mut(len)? = 0;
            len += 1;
        }
    }
    out.get(..len)
}
