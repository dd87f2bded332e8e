//! How messages follow each other

use super::write::{DIGITS, decimal};
use crate::WireError;
use crate::dialect::{Fault, MAX_FRAME_HEADER};

/// What separates one message from the next
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Framing {
    /// Messages one behind the other, each sent with a line end; any white space between them is taken, none too
    #[default]
    Lines,
    /// Before each message a header with its length, as in the Language Server Protocol: `Content-Length: 52`, an empty line
    ///
    /// Other fields are ignored. The header may be 4,096 bytes long; one that can't be read ends the connection.
    ContentLength,
    /// Before each message its length as four bytes, big-endian
    ///
    /// For transports that keep messages apart by themselves (WebSocket, HTTP): their adapters put the length before and
    /// take it off again.
    Units,
}

/// The header of the frame that `input` starts with: its own length and that of the message behind it
///
/// `Ok(Err(at_least))` while it is not complete.
#[inline]
pub(super) fn read_header(framing: Framing, input: &[u8]) -> Result<Result<(usize, u64), usize>, Fault> {
    match framing {
        Framing::Units => Ok(match input.first_chunk::<4>() {
            Some(len) => Ok((4, u64::from(u32::from_be_bytes(*len)))),
            None => Err(4),
        }),
        Framing::ContentLength => read_fields(input),
        Framing::Lines => Ok(Ok((0, 0))),
    }
}

fn read_fields(input: &[u8]) -> Result<Result<(usize, u64), usize>, Fault> {
    let fault = |at: usize| Fault { what: WireError::BadFrame, at: at as u32 };
    let (mut at, mut len) = (0, None);
    loop {
        let rest = input.get(at..).unwrap_or_default();
        let Some(end) = rest.iter().take(MAX_FRAME_HEADER - at).position(|byte| *byte == b'\n') else {
            let seen = input.len().min(MAX_FRAME_HEADER);
            return if seen == MAX_FRAME_HEADER { Err(fault(seen)) } else { Ok(Err(input.len() + 1)) };
        };
        let line = rest.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return len.map(|len| Ok((at + end + 1, len))).ok_or_else(|| fault(at));
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or_else(|| fault(at))?;
        let (name, value) = line.split_at_checked(colon).ok_or_else(|| fault(at))?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = core::str::from_utf8(value.get(1..).unwrap_or_default()).unwrap_or_default();
            let value = value.trim_matches([' ', '\t']);
            let digits = !value.is_empty() && value.bytes().all(|digit| digit.is_ascii_digit());
            len = Some(value.parse().ok().filter(|_| digits).ok_or_else(|| fault(at))?);
        }
        at += end + 1;
        if at >= MAX_FRAME_HEADER {
            return Err(fault(at));
        }
    }
}

/// The header before a message of `len` bytes
pub(super) fn write_header(framing: Framing, len: usize, memory: &mut [u8; 40]) -> &[u8] {
    let mut digits = [0; DIGITS];
    let unit = (len as u32).to_be_bytes();
    let pieces: [&[u8]; 3] = match framing {
        Framing::Lines => [b"", b"", b""],
        Framing::ContentLength => [b"Content-Length: ", decimal(len as u64, &mut digits), b"\r\n\r\n"],
        Framing::Units => [&unit, b"", b""],
    };
    let mut end = 0;
    for (place, byte) in memory.iter_mut().zip(pieces.into_iter().flatten()) {
        *place = *byte;
        end += 1;
    }
    memory.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(input: &[u8]) -> Result<Result<(usize, u64), usize>, Fault> {
        read_header(Framing::ContentLength, input)
    }

    #[test]
    fn a_header_is_read_whatever_its_case_and_its_other_fields() {
        let plain = b"Content-Length: 52\r\n\r\n{";
        assert_eq!(fields(plain), Ok(Ok((22, 52))));
        let odd = b"content-type: x; charset=utf-8\ncontent-LENGTH:7 \n\n";
        assert_eq!(fields(odd), Ok(Ok((odd.len(), 7))));
        for cut in 0..22 {
            assert_eq!(fields(&plain[..cut]), Ok(Err(cut + 1)), "cut at {cut}");
        }
        assert_eq!(read_header(Framing::Units, &[0, 0, 1, 2, 3]), Ok(Ok((4, 258))));
        assert_eq!(read_header(Framing::Units, &[0, 0]), Ok(Err(4)));
    }

    #[test]
    fn a_header_that_can_not_be_read_is_a_fault() {
        for bad in [
            &b"\r\n"[..],
            b"X: 1\r\n\r\n",
            b"Content-Length: -1\r\n\r\n",
            b"Content-Length: +1\r\n\r\n",
            b"{}\n",
        ] {
            assert!(fields(bad).is_err(), "{bad:?}");
        }
        assert!(fields(b"Content-Length: 99999999999999999999999\r\n\r\n").is_err());
        let mut long = alloc::vec![b'x'; MAX_FRAME_HEADER - 1];
        assert_eq!(fields(&long), Ok(Err(MAX_FRAME_HEADER)));
        long.push(b'x');
        assert!(fields(&long).is_err());
    }

    #[test]
    fn headers_are_written_as_they_are_read() {
        for framing in [Framing::ContentLength, Framing::Units] {
            for len in [0_usize, 9, 10, 65_536, u32::MAX as usize] {
                let mut memory = [0; 40];
                let header = write_header(framing, len, &mut memory);
                assert_eq!(read_header(framing, header), Ok(Ok((header.len(), len as u64))));
            }
        }
    }
}
