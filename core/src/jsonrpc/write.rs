//! Messages to bytes

use alloc::borrow::Cow;

use super::framing::{Framing, write_header};
use super::{codes, text};
use crate::{NoRoom, Sink};

/// What stands around a message
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) framing: Framing,
    /// It is part of a batch, so it has no frame of its own
    pub(super) element: bool,
}

/// The answer to one request
#[derive(Clone, Debug)]
pub(super) enum Answer<'a> {
    /// Result, as JSON; empty for null
    Result(&'a [u8]),
    Error {
        code: i64,
        /// As it stands between quotes
        message: Cow<'a, [u8]>,
        /// JSON, or empty for none
        data: &'a [u8],
    },
}

impl<'a> Answer<'a> {
    pub(super) const fn error(code: i64, message: &'a str) -> Self {
        Self::Error { code, message: Cow::Borrowed(message.as_bytes()), data: &[] }
    }
}

/// Writes a request, or, without a sequence, a notification; `method` is as it stands between quotes
#[inline]
pub(super) fn call<O: Sink + ?Sized>(
    frame: Frame,
    sequence: Option<u32>,
    method: &[u8],
    params: &[u8],
    out: &mut O,
) -> Result<usize, NoRoom> {
    let after: &[u8] = if params.is_empty() { b"\"" } else { b"\",\"params\":" };
    let head = [b"{\"jsonrpc\":\"2.0\",\"method\":\"", method, after];
    let mut tail = Tail::new();
    if let Some(sequence) = sequence {
        tail.push(b",\"id\":");
        tail.push(decimal(u64::from(sequence), &mut [0; DIGITS]));
    }
    tail.push(b"}");
    message(frame, &head, params, tail, out)
}

/// Writes the answer to the request with this id; `old` in the form of version 1.0
#[inline]
pub(super) fn answer<O: Sink + ?Sized>(
    frame: Frame,
    id: &[u8],
    old: bool,
    answer: &Answer<'_>,
    out: &mut O,
) -> Result<usize, NoRoom> {
    if old {
        return old_answer(frame, id, answer, out);
    }
    match answer {
        Answer::Result(result) => {
            let result = if result.is_empty() { b"null" } else { *result };
            let head = [b"{\"jsonrpc\":\"2.0\",\"id\":", id, b",\"result\":"];
            message(frame, &head, result, Tail::of(b"}"), out)
        }
        Answer::Error { code, message: text, data } => {
            let before: &[u8] = if data.is_empty() { b"\"" } else { b"\",\"data\":" };
            let sign: &[u8] = if *code < 0 { b"-" } else { b"" };
            let mut digits = [0; DIGITS];
            let head = [
                b"{\"jsonrpc\":\"2.0\",\"id\":",
                id,
                b",\"error\":{\"code\":",
                sign,
                decimal(code.unsigned_abs(), &mut digits),
                b",\"message\":\"",
                text,
                before,
            ];
            message(frame, &head, data, Tail::of(b"}}"), out)
        }
    }
}

#[cold]
fn old_answer<O: Sink + ?Sized>(
    frame: Frame,
    id: &[u8],
    answer: &Answer<'_>,
    out: &mut O,
) -> Result<usize, NoRoom> {
    match answer {
        Answer::Result(result) => {
            let result = if result.is_empty() { b"null" } else { *result };
            message(frame, &[b"{\"id\":", id, b",\"result\":"], result, Tail::of(b",\"error\":null}"), out)
        }
        Answer::Error { message: text, .. } => {
            let head = [b"{\"id\":", id, b",\"result\":null,\"error\":\"", text, b"\""];
            message(frame, &head, &[], Tail::of(b"}"), out)
        }
    }
}

/// Writes the answers of a batch, which have commas between them
pub(super) fn array<O: Sink + ?Sized>(
    framing: Framing,
    answers: &[u8],
    out: &mut O,
) -> Result<usize, NoRoom> {
    message(Frame { framing, element: false }, &[b"["], answers, Tail::of(b"]"), out)
}

/// Writes the notification that takes a request of ours back
pub(super) fn cancel<O: Sink + ?Sized>(
    framing: Framing,
    method: &str,
    sequence: u32,
    out: &mut O,
) -> Result<usize, NoRoom> {
    let mut digits = [0; DIGITS];
    let method = text::escape(method.as_bytes()).unwrap_or(Cow::Borrowed(codes::CANCEL_REQUEST.as_bytes()));
    let head = [
        b"{\"jsonrpc\":\"2.0\",\"method\":\"",
        &*method,
        b"\",\"params\":{\"id\":",
        decimal(u64::from(sequence), &mut digits),
    ];
    message(Frame { framing, element: false }, &head, &[], Tail::of(b"}}"), out)
}

/// Writes one message with what its frame puts around it, and tells the length of both
#[inline]
fn message<O: Sink + ?Sized>(
    frame: Frame,
    head: &[&[u8]],
    body: &[u8],
    mut tail: Tail,
    out: &mut O,
) -> Result<usize, NoRoom> {
    let head_len: usize = head.iter().map(|piece| piece.len()).sum();
    let lines = frame.framing == Framing::Lines;
    if lines && body.contains(&b'\n') {
        return one_line(frame, head, body, &tail, out);
    }
    if frame.element || lines {
        if !frame.element {
            tail.push(b"\n");
        }
        let place = out.packet(head_len, body, tail.bytes())?;
        fill(place, head);
        return Ok(head_len + body.len() + tail.bytes().len());
    }
    let len = head_len + body.len() + tail.bytes().len();
    let mut memory = [0; 40];
    let header = write_header(frame.framing, len, &mut memory);
    let place = out.packet(header.len() + head_len, body, tail.bytes())?;
    if let Some((first, rest)) = place.split_at_mut_checked(header.len()) {
        first.copy_from_slice(header);
        fill(rest, head);
    }
    Ok(header.len() + len)
}

/// A body with line ends between its tokens: there are none inside of its strings, so each may be a space
#[cold]
fn one_line<O: Sink + ?Sized>(
    frame: Frame,
    head: &[&[u8]],
    body: &[u8],
    tail: &Tail,
    out: &mut O,
) -> Result<usize, NoRoom> {
    let end: &[u8] = if frame.element { b"" } else { b"\n" };
    let pieces = || head.iter().copied().chain([body, tail.bytes()]);
    let len = pieces().map(<[u8]>::len).sum::<usize>() + end.len();
    let place = out.packet(len - end.len(), &[], end)?;
    for (place, byte) in place.iter_mut().zip(pieces().flatten()) {
        *place = if *byte == b'\n' { b' ' } else { *byte };
    }
    Ok(len)
}

#[inline]
fn fill(mut place: &mut [u8], pieces: &[&[u8]]) {
    for piece in pieces {
        let Some((now, rest)) = place.split_at_mut_checked(piece.len()) else { return };
        now.copy_from_slice(piece);
        place = rest;
    }
}

/// What stands behind the body: a few bytes
#[derive(Clone, Copy)]
struct Tail {
    bytes: [u8; TAIL],
    len: usize,
}

/// `,"id":` with its number, a brace and a line end
const TAIL: usize = 32;

impl Tail {
    const fn new() -> Self {
        Self { bytes: [0; TAIL], len: 0 }
    }

    #[inline]
    fn of(bytes: &[u8]) -> Self {
        let mut tail = Self::new();
        tail.push(bytes);
        tail
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Decimal digits of the longest number
pub(super) const DIGITS: usize = 20;

/// A number in decimal digits
#[inline]
pub(super) fn decimal(mut number: u64, memory: &mut [u8; DIGITS]) -> &[u8] {
    let mut start = DIGITS;
    loop {
        start -= 1;
        if let Some(digit) = memory.get_mut(start) {
            *digit = b'0' + (number % 10) as u8;
        }
        number /= 10;
        if number == 0 {
            return memory.get(start..).unwrap_or_default();
        }
    }
}
