//! Frames from the socket, as units

use std::io::{self, Cursor};

use bytes::{Buf, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control as Op, Data, OpCode};

use super::encoder::Control;
use super::mask::Mask;
use super::text::Utf8;
use super::{Kind, Options, Role};

/// Takes bytes from a socket and gives units
///
/// Read into [`space`](Self::space), say how much with [`filled`](Self::filled), then call [`units`](Self::units) until it gives
/// nothing more, and hand on what [`take_reply`](Self::take_reply) has. It never holds a whole message, unless the
/// peer sent it in fragments: then it must, to tell its length.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limit: usize,
    /// As it came from the socket
    raw: BytesMut,
    /// Bytes to read at a time
    chunk: usize,
    stage: Stage,
    /// The unit's length where it was not passed on yet: its last `head_left` bytes
    head: [u8; 4],
    head_left: usize,
    /// What kind of message is under way in fragments, and those that came
    fragmented: Option<Kind>,
    collected: BytesMut,
    utf8: Utf8,
    kind: Option<Kind>,
    reply: Option<Control>,
    closed: bool,
    failed: Option<Failure>,
}

/// What comes next
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// A frame's header
    Header,
    /// The payload of a message in one frame, which is passed on as it comes
    Whole(Payload),
    /// The payload of a fragment, of the last one or not
    Fragment(Payload, bool),
    /// The fragments of a message that is complete are passed on
    Collected,
}

/// What is to come of a frame's payload
#[derive(Clone, Copy, Debug)]
struct Payload {
    left: usize,
    mask: Option<Mask>,
    text: bool,
}

/// Why a peer's bytes can't be taken
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// For the close frame
    pub code: u16,
    why: &'static str,
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::new(io::ErrorKind::InvalidData, failure.why)
    }
}

/// First read of a connection, in bytes: enough for any control frame, and little for who says little
const FIRST: usize = 512;
/// A read grows to this much while there is as much to read
const LARGEST: usize = 64 << 10;
/// An idle connection keeps no larger buffer than this
const KEPT: usize = 4 << 10;
/// Payloads of which this much is still to come are read to where they are wanted
const DIRECT: usize = 4 << 10;
/// Longest payload of a control frame (RFC 6455 section 5.5)
pub(super) const CONTROL: usize = 125;

impl Decoder {
    /// Of one end of a connection, after the handshake
    #[must_use]
    pub fn new(role: Role, options: &Options) -> Self {
        Self::with(role, options, BytesMut::new())
    }

    /// The same, where bytes have come behind the handshake
    #[must_use]
    pub fn with(role: Role, options: &Options, received: BytesMut) -> Self {
        Self {
            role,
            limit: options.max_message,
            raw: received,
            chunk: FIRST,
            stage: Stage::Header,
            head: [0; 4],
            head_left: 0,
            fragmented: None,
            collected: BytesMut::new(),
            utf8: Utf8::default(),
            kind: None,
            reply: None,
            closed: false,
            failed: None,
        }
    }

    /// Room for the next read
    pub fn space(&mut self) -> &mut BytesMut {
        if self.raw.capacity() - self.raw.len() < self.chunk / 2 {
            self.raw.reserve(self.chunk);
        }
        &mut self.raw
    }

    /// Something was read into [`space`](Self::space)
    pub fn filled(&mut self) {
        if self.raw.len() == self.raw.capacity() {
            self.chunk = (self.chunk * 8).min(LARGEST);
        }
    }

    /// There is nothing to be read for now: gives memory back that an idle connection need not hold
    pub fn rest(&mut self) {
        if self.raw.is_empty() && self.raw.capacity() > KEPT {
            self.raw = BytesMut::new();
        }
    }

    /// Appends units, or parts of them, to `buf`, as far as its capacity goes; tells how many bytes
    ///
    /// # Errors
    /// The peer's fault, as every later call says again.
    pub fn units(&mut self, buf: &mut BytesMut) -> Result<usize, Failure> {
        let before = buf.len();
        self.guard()?;
        while self.advance(buf).map_err(|failure| self.fail(failure))? {}
        Ok(buf.len() - before)
    }

    /// Is so much of a payload to come that it is better read to the end of the units at once? Then see
    /// [`direct`](Self::direct)
    #[must_use]
    pub fn is_direct(&self) -> bool {
        let long = matches!(self.stage, Stage::Whole(payload) if payload.left >= DIRECT);
        long && self.head_left == 0 && self.raw.is_empty() && self.failed.is_none()
    }

    /// Bytes were read from the socket to the end of `buf`, from `start` on; tells how many of them are of units, and keeps
    /// the others
    ///
    /// # Errors
    /// The peer's fault, as every later call says again.
    pub fn direct(&mut self, buf: &mut BytesMut, start: usize) -> Result<usize, Failure> {
        self.guard()?;
        let Stage::Whole(mut payload) = self.stage else { return Ok(buf.len().saturating_sub(start)) };
        let end = (start + payload.left).min(buf.len());
        self.raw.extend_from_slice(buf.get(end..).unwrap_or_default());
        buf.truncate(end);
        let piece = buf.get_mut(start..).unwrap_or_default();
        payload.open(piece, &mut self.utf8).map_err(|failure| self.fail(failure))?;
        let taken = piece.len();
        self.stage = Stage::Whole(payload);
        if payload.left == 0 {
            self.end_message(payload.text).map_err(|failure| self.fail(failure))?;
            self.stage = Stage::Header;
        }
        Ok(taken)
    }

    /// What the peer is owed for its pings and for its close; a later one replaces an earlier one
    pub const fn take_reply(&mut self) -> Option<Control> {
        self.reply.take()
    }

    /// Has the peer said that it sends no more?
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// The kind of the message that began last
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The socket's stream has ended
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] in the middle of a message or a frame
    pub fn end(&self) -> io::Result<()> {
        let between = matches!(self.stage, Stage::Header) && self.raw.is_empty() && self.fragmented.is_none();
        if self.closed || between {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream has ended within a WebSocket message"))
    }

    fn guard(&self) -> Result<(), Failure> {
        self.failed.map_or(Ok(()), Err)
    }

    fn fail(&mut self, failure: Failure) -> Failure {
        self.failed = Some(failure);
        self.raw = BytesMut::new();
        self.collected = BytesMut::new();
        failure
    }

    /// Does one thing; false when it can't before there is more to read, or more room
    fn advance(&mut self, buf: &mut BytesMut) -> Result<bool, Failure> {
        let spare = buf.capacity() - buf.len();
        if self.head_left > 0 {
            let from = self.head.len().saturating_sub(self.head_left);
            let part = self.head.get(from..).unwrap_or_default();
            let n = part.len().min(spare);
            buf.extend_from_slice(part.get(..n).unwrap_or_default());
            self.head_left -= n;
            return Ok(self.head_left == 0);
        }
        match &mut self.stage {
            Stage::Header => self.header(),
            Stage::Whole(payload) => {
                let n = payload.left.min(self.raw.len()).min(spare);
                let start = buf.len();
                buf.extend_from_slice(self.raw.get(..n).unwrap_or_default());
                self.raw.advance(n);
                payload.open(buf.get_mut(start..).unwrap_or_default(), &mut self.utf8)?;
                if payload.left > 0 {
                    return Ok(false);
                }
                let text = payload.text;
                self.end_message(text)?;
                self.stage = Stage::Header;
                Ok(true)
            }
            Stage::Fragment(payload, last) => {
                let n = payload.left.min(self.raw.len());
                let start = self.collected.len();
                self.collected.extend_from_slice(self.raw.get(..n).unwrap_or_default());
                self.raw.advance(n);
                payload.open(self.collected.get_mut(start..).unwrap_or_default(), &mut self.utf8)?;
                if payload.left > 0 {
                    return Ok(false);
                }
                let (text, last) = (payload.text, *last);
                if last {
                    self.end_message(text)?;
                    self.fragmented = None;
                    self.begin_unit(self.collected.len());
                    self.stage = Stage::Collected;
                } else {
                    self.stage = Stage::Header;
                }
                Ok(true)
            }
            Stage::Collected => {
                let n = self.collected.len().min(spare);
                buf.extend_from_slice(self.collected.get(..n).unwrap_or_default());
                self.collected.advance(n);
                if !self.collected.is_empty() {
                    return Ok(false);
                }
                self.collected = BytesMut::new();
                self.stage = Stage::Header;
                Ok(true)
            }
        }
    }

    /// Takes a frame's header, and all of a control frame; false when it is not there yet
    fn header(&mut self) -> Result<bool, Failure> {
        if self.closed {
            // What comes behind a close is of no interest.
            self.raw.clear();
            return Ok(false);
        }
        let mut cursor = Cursor::new(&self.raw);
        let header =
            FrameHeader::parse(&mut cursor).map_err(|_| protocol("a WebSocket frame of an unknown kind"))?;
        let Some((header, len)) = header else { return Ok(false) };
        let head = usize::try_from(cursor.position()).unwrap_or_default();
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(protocol("a WebSocket frame of an extension that was not agreed on"));
        }
        if header.mask.is_some() != (self.role == Role::Server) {
            return Err(protocol("a WebSocket client that does not mask, or a server that does"));
        }
        let mask = header.mask.map(Mask);
        match header.opcode {
            OpCode::Control(op) => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                if len > CONTROL || !header.is_final {
                    return Err(protocol("a WebSocket control frame that is long, or in fragments"));
                }
                if self.raw.len() < head + len {
                    return Ok(false);
                }
                self.raw.advance(head);
                let mut payload = self.raw.split_to(len);
                if let Some(mut mask) = mask {
                    mask.apply(&mut payload);
                }
                self.control(op, &payload)?;
            }
            OpCode::Data(data) => {
                let before = if data == Data::Continue { self.collected.len() } else { 0 };
                let len = usize::try_from(len)
                    .ok()
                    .filter(|len| *len <= self.limit.saturating_sub(before))
                    .ok_or(Failure { code: 1009, why: "a WebSocket message longer than the limit" })?;
                self.raw.advance(head);
                self.data(data, header.is_final, Payload { left: len, mask, text: false })?;
            }
        }
        Ok(true)
    }

    fn data(&mut self, data: Data, last: bool, payload: Payload) -> Result<(), Failure> {
        let kind = match (data, self.fragmented) {
            (Data::Text, None) => Kind::Text,
            (Data::Binary, None) => Kind::Binary,
            (Data::Continue, Some(kind)) => kind,
            (Data::Text | Data::Binary | Data::Continue | Data::Reserved(_), _) => {
                return Err(protocol("a WebSocket message within another, or the rest of none"));
            }
        };
        self.kind = Some(kind);
        let payload = Payload { text: kind == Kind::Text, ..payload };
        if self.fragmented.is_none() && last {
            self.begin_unit(payload.left);
            self.stage = Stage::Whole(payload);
        } else {
            self.fragmented = Some(kind);
            self.stage = Stage::Fragment(payload, last);
        }
        Ok(())
    }

    fn control(&mut self, op: Op, payload: &[u8]) -> Result<(), Failure> {
        match op {
            Op::Ping => self.reply = Some(Control::pong(payload)),
            Op::Pong | Op::Reserved(_) => {}
            Op::Close => {
                let code = match payload {
                    [] => None,
                    [high, low, reason @ ..] => {
                        let code = u16::from_be_bytes([*high, *low]);
                        if !CloseCode::from(code).is_allowed() {
                            return Err(protocol("a WebSocket close with a code that is not for the wire"));
                        }
                        core::str::from_utf8(reason).map_err(|_| not_text())?;
                        Some(code)
                    }
                    [_] => return Err(protocol("a WebSocket close with half a code")),
                };
                self.closed = true;
                self.reply = Some(Control::close(code));
            }
        }
        Ok(())
    }

    fn begin_unit(&mut self, len: usize) {
        // The limit is not above what four bytes can say.
        self.head = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        self.head_left = self.head.len();
    }

    fn end_message(&mut self, text: bool) -> Result<(), Failure> {
        let utf8 = core::mem::take(&mut self.utf8);
        if text && !utf8.is_whole() { Err(not_text()) } else { Ok(()) }
    }
}

impl Payload {
    /// The next bytes of it, as they came: unmasks and checks them
    fn open(&mut self, piece: &mut [u8], utf8: &mut Utf8) -> Result<(), Failure> {
        self.left = self.left.saturating_sub(piece.len());
        if let Some(mask) = &mut self.mask {
            mask.apply(piece);
        }
        if self.text && !utf8.accepts(piece) { Err(not_text()) } else { Ok(()) }
    }
}

const fn protocol(why: &'static str) -> Failure {
    Failure { code: 1002, why }
}

const fn not_text() -> Failure {
    Failure { code: 1007, why: "a WebSocket text that is not UTF-8" }
}
