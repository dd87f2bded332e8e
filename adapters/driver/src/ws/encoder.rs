//! Units as frames for the socket

use std::io::{self, IoSlice};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control as Op, Data, OpCode};

use super::decoder::CONTROL;
use super::mask::{Mask, Masks};
use super::text::Utf8;
use super::{Kind, Options, Role};

/// Takes units, cut anywhere, and gives bytes for a socket
///
/// [`take`](Self::take) while there is room, write [`outgoing`](Self::outgoing) and say how much of it was written with
/// [`sent`](Self::sent). Answers to pings, and the close, go between two messages.
#[derive(Debug)]
pub struct Encoder {
    kind: Kind,
    /// A client's
    masks: Option<Masks>,
    out: Vec<u8>,
    /// Bytes of `out` that were written
    sent: usize,
    /// The length of the unit that begins, as far as it was taken
    head: [u8; 4],
    head_len: usize,
    /// What is to come of the message that has begun
    left: usize,
    mask: Option<Mask>,
    utf8: Utf8,
    /// Bytes of units that were taken, and are not all written yet
    unreported: usize,
    control: Option<Control>,
    closed: bool,
}

/// A control frame that is owed to the peer
#[derive(Clone, Copy, Debug)]
pub struct Control {
    op: Op,
    payload: [u8; CONTROL],
    len: usize,
}

/// No more is taken while as much waits to be written, in bytes
const MOST: usize = 64 << 10;
/// An idle connection keeps no larger buffer than this
const KEPT: usize = 4 << 10;
/// Longest header of a frame
const HEADER: usize = 14;

impl Encoder {
    /// Of one end of a connection, after the handshake
    #[must_use]
    pub fn new(role: Role, options: &Options) -> Self {
        Self {
            kind: options.kind,
            masks: (role == Role::Client).then(Masks::default),
            out: Vec::new(),
            sent: 0,
            head: [0; 4],
            head_len: 0,
            left: 0,
            mask: None,
            utf8: Utf8::default(),
            unreported: 0,
            control: None,
            closed: false,
        }
    }

    /// Takes bytes of units, as far as there is room, and tells how many; all of them count as not
    /// [written](Self::written) until everything is
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] after the close, [`io::ErrorKind::InvalidInput`] for a text that is not UTF-8: both fatal.
    pub fn take(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: usize = parts.iter().map(|part| part.len()).sum();
        if self.closed {
            // The peer wants no more, as the next read says; that there was more to send is no failure.
            self.unreported += all;
            return Ok(all);
        }
        // Small messages, whose headers count, come with four bytes each that are not sent.
        self.out.reserve((all + HEADER).min(self.room() + HEADER));
        let mut taken = 0;
        for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() && self.room() > 0 {
                let n = if self.left == 0 { self.begin(rest) } else { self.go_on(rest)? };
                taken += n;
                rest = rest.get(n..).unwrap_or_default();
            }
        }
        self.unreported += taken;
        Ok(taken)
    }

    /// What is to be written
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// The next `n` bytes were written
    pub fn sent(&mut self, n: usize) {
        self.sent += n;
        if self.sent >= self.out.len() {
            self.sent = 0;
            if self.out.capacity() > KEPT {
                self.out = Vec::new();
            } else {
                self.out.clear();
            }
            self.add_control();
        }
    }

    /// How many bytes of units have been written that were not asked for before; 0 while any is not
    pub const fn written(&mut self) -> usize {
        if self.sent < self.out.len() { 0 } else { core::mem::replace(&mut self.unreported, 0) }
    }

    /// Is there something that was [taken](Self::take) and has not been [written](Self::written)?
    #[must_use]
    pub const fn has_unreported(&self) -> bool {
        self.unreported > 0
    }

    /// Sends a control frame as soon as no message is under way; a close is the last that is sent
    pub fn control(&mut self, control: Control) {
        let closing = matches!(self.control, Some(Control { op: Op::Close, .. }));
        if !closing && !self.closed {
            self.control = Some(control);
            self.add_control();
        }
    }

    /// Is there a control frame that waits for the end of a message?
    #[must_use]
    pub const fn is_owing(&self) -> bool {
        self.control.is_some()
    }

    /// The head of a unit, and then of its frame
    fn begin(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.head.len() - self.head_len);
        for (to, from) in self.head.iter_mut().skip(self.head_len).zip(bytes) {
            *to = *from;
        }
        self.head_len += n;
        if self.head_len == self.head.len() {
            self.head_len = 0;
            self.left = usize::try_from(u32::from_be_bytes(self.head)).unwrap_or(usize::MAX);
            let data = if self.kind == Kind::Text { Data::Text } else { Data::Binary };
            self.mask = self.header(OpCode::Data(data), self.left);
            if self.left == 0 {
                self.add_control();
            }
        }
        n
    }

    /// The payload of a unit
    fn go_on(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.left).min(self.room());
        let piece = bytes.get(..n).unwrap_or_default();
        self.left -= n;
        let is_text = self.kind == Kind::Binary
            || (self.utf8.accepts(piece) && (self.left > 0 || core::mem::take(&mut self.utf8).is_whole()));
        if !is_text {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a WebSocket text that is not UTF-8"));
        }
        let start = self.out.len();
        self.out.extend_from_slice(piece);
        if let Some(mask) = &mut self.mask {
            mask.apply(self.out.get_mut(start..).unwrap_or_default());
        }
        if self.left == 0 {
            self.add_control();
        }
        Ok(n)
    }

    fn header(&mut self, opcode: OpCode, len: usize) -> Option<Mask> {
        let mask = self.masks.as_mut().map(Masks::next);
        let header = FrameHeader { opcode, mask: mask.map(|mask| mask.0), ..FrameHeader::default() };
        // A vector takes everything.
        let _ = header.format(len as u64, &mut self.out);
        mask
    }

    /// Adds the control frame that is owed, where it may stand
    fn add_control(&mut self) {
        let between = self.left == 0 && self.head_len == 0;
        if !between || self.room() == 0 || self.closed {
            return;
        }
        let Some(control) = self.control.take() else { return };
        let mask = self.header(OpCode::Control(control.op), control.len);
        let start = self.out.len();
        self.out.extend_from_slice(control.payload.get(..control.len).unwrap_or_default());
        if let Some(mut mask) = mask {
            mask.apply(self.out.get_mut(start..).unwrap_or_default());
        }
        self.closed = control.op == Op::Close;
    }

    const fn room(&self) -> usize {
        MOST.saturating_sub(self.out.len() - self.sent)
    }
}

impl Control {
    /// An end of the conversation, with a code of RFC 6455 section 7.4
    #[must_use]
    pub fn close(code: Option<u16>) -> Self {
        Self::new(Op::Close, code.map(u16::to_be_bytes).as_ref().map_or(&[], |code| code))
    }

    pub(super) fn pong(payload: &[u8]) -> Self {
        Self::new(Op::Pong, payload)
    }

    fn new(op: Op, payload: &[u8]) -> Self {
        let mut control = Self { op, payload: [0; CONTROL], len: payload.len().min(CONTROL) };
        for (to, from) in control.payload.iter_mut().zip(payload) {
            *to = *from;
        }
        control
    }
}
