//! JSON-RPC as a [`Dialect`]

use alloc::vec::Vec;

use super::batches::Batches;
use super::framing::Framing;
use super::owed::{NONE, Owed};
use super::scan::Scan;
use super::text;
use super::write::{self, Answer, Frame};
use super::{Notes, SEQUENCES, codes};
use crate::dialect::{Body, Call, Decoded, Dialect, Fault, Reject, Reply};
use crate::{Limits, NoRoom, Refusal, Sink};

/// The JSON-RPC 2.0 dialect
///
/// Its methods set it up, before the connection is made.
///
/// ```
/// use flyrpc_core::jsonrpc::{Framing, JsonRpc};
///
/// let dialect = JsonRpc::new().framing(Framing::ContentLength).cancel_method(Some("$/cancelRequest"));
/// assert_eq!(dialect.get_framing(), Framing::ContentLength);
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "_test", derive(Hash))]
pub struct JsonRpc {
    cancel_method: Option<&'static str>,
    max_batch: u32,
    max_depth: u8,
    lenient: bool,
    framing: Framing,
    /// Of the value that the input starts with
    scan: Scan,
    place: Place,
    /// What becomes so when the message that was decoded last is taken
    next: Next,
    /// The id of a message that is longer than the limit
    long_id: Vec<u8>,
    owed: Owed,
    batches: Batches,
    /// What is sent is part of a batch
    collecting: bool,
}

/// Where in the stream the input starts
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "_test", derive(Hash))]
enum Place {
    /// At a message
    Message,
    /// In a line whose rest is passed over
    Line,
    /// Before as many bytes that are passed over
    Rest(u64),
    /// In a message that is longer than the limit, of which so many bytes are left; its sender may have been told already
    Long { left: u64, told: bool },
    /// Among the elements of a batch that takes so many bytes yet
    Batch { batch: u32, left: u32 },
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "_test", derive(Hash))]
struct Next {
    place: Place,
    /// The id that was proposed is owed an answer
    owed: bool,
    /// What is added to the batch
    answer: Option<(u32, Own)>,
    /// The message is part of a batch, or begins one
    batch: bool,
    /// The batch whose last element it was
    closes: u32,
    /// The message goes on behind so many bytes
    drops: Option<usize>,
}

impl Next {
    const fn at(place: Place) -> Self {
        Self {
            place,
            owed: false,
            answer: None,
            batch: matches!(place, Place::Batch { .. }),
            closes: NONE,
            drops: None,
        }
    }

    const fn end_of(batch: u32) -> Self {
        Self { place: Place::Message, owed: false, answer: None, batch: true, closes: batch, drops: None }
    }
}

/// An answer of the dialect's own
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Own {
    /// `null`, to a ping
    Pong,
    /// [`codes::PARSE_ERROR`]
    ParseError,
    /// [`codes::INVALID_REQUEST`]
    InvalidRequest,
    /// [`codes::INVALID_REQUEST`]: longer than the limits
    TooLarge,
    /// [`codes::BUSY`]
    Busy,
    /// [`codes::BUSY`]: the connection drains
    Draining,
}

impl Own {
    const fn answer(self) -> Answer<'static> {
        let code = match self {
            Self::Pong => return Answer::Result(&[]),
            Self::ParseError => codes::PARSE_ERROR,
            Self::InvalidRequest => codes::INVALID_REQUEST,
            Self::TooLarge => return Answer::error(codes::INVALID_REQUEST, "Request too large"),
            Self::Busy => codes::BUSY,
            Self::Draining => return Answer::error(codes::BUSY, codes::DRAINING_MESSAGE),
        };
        Answer::error(code, codes::message(code))
    }
}

/// The small messages that the dialect sends of itself
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Control {
    /// An answer to a request
    Answer {
        /// The request
        key: u32,
        /// The answer
        own: Own,
    },
    /// A notification: we no longer wait for this request of ours
    Cancel {
        /// The request's sequence
        sequence: u32,
    },
}

/// Bytes that a message may be longer than its payload and method: the rest of the envelope
const ENVELOPE: usize = 1024;
/// Bytes of a message beyond the limit that are read, to find its id
const PEEK: u64 = 1024;
/// The deepest that an answer's data may be in: array, answer, error
const OUTER_DEPTH: u8 = 3;

impl Default for JsonRpc {
    fn default() -> Self {
        Self::new()
    }
}

impl JsonRpc {
    /// The dialect as the specification has it, one message a line
    #[must_use]
    pub fn new() -> Self {
        Self {
            cancel_method: None,
            max_batch: 1024,
            max_depth: 128,
            lenient: false,
            framing: Framing::Lines,
            scan: Scan::default(),
            place: Place::Message,
            next: Next::at(Place::Message),
            long_id: Vec::new(),
            owed: Owed::default(),
            batches: Batches::default(),
            collecting: false,
        }
    }

    /// Calls and notifications are written as elements of a batch from now on: without anything around or between them
    ///
    /// Into a sink of their own, that is; the owner puts commas between them and gives it to [`end_batch`](Self::end_batch).
    /// Nothing else may be sent meanwhile.
    pub const fn begin_batch(&mut self) {
        self.collecting = true;
    }

    /// Writes the batch of these elements, which have commas between them, and tells its length
    ///
    /// # Errors
    /// It did not fit; nothing was written, and the elements may be given again.
    pub fn end_batch<O: Sink + ?Sized>(&mut self, elements: &[u8], out: &mut O) -> Result<usize, NoRoom> {
        self.collecting = false;
        write::array(self.framing, elements, out)
    }

    /// How messages follow each other, both ways; default [`Framing::Lines`]
    #[must_use]
    pub const fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Takes messages of version 1.0 too, and answers them in their form: `"error":null` beside a result, a text as error;
    /// default false
    ///
    /// Requests of ours are of version 2.0 all the same. Peers of version 1.0 want an array of one element as parameters.
    #[must_use]
    pub const fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// The notification, with `{"id": …}` as parameters, that takes a request back, both ways; default none
    ///
    /// `"$/cancelRequest"` for the Language Server Protocol ([`codes::CANCEL_REQUEST`]).
    #[must_use]
    pub const fn cancel_method(mut self, method: Option<&'static str>) -> Self {
        self.cancel_method = method;
        self
    }

    /// How deep arrays and objects may be nested, the message and a batch around it included; default 128
    ///
    /// Text that is nested deeper is answered as if it were not JSON; a payload of ours is refused. At least 4.
    #[must_use]
    pub const fn max_depth(mut self, depth: u8) -> Self {
        self.max_depth = if depth > OUTER_DEPTH { depth } else { OUTER_DEPTH + 1 };
        self
    }

    /// Longest batch, in elements; default 1,024
    ///
    /// A longer one is answered with one error, and nothing of it is run.
    #[must_use]
    pub const fn max_batch(mut self, elements: u32) -> Self {
        self.max_batch = elements;
        self
    }

    /// See [`framing`](Self::framing)
    #[must_use]
    pub const fn get_framing(&self) -> Framing {
        self.framing
    }

    /// See [`lenient`](Self::lenient)
    #[must_use]
    pub const fn is_lenient(&self) -> bool {
        self.lenient
    }

    /// See [`cancel_method`](Self::cancel_method)
    #[must_use]
    pub const fn get_cancel_method(&self) -> Option<&'static str> {
        self.cancel_method
    }

    /// See [`max_depth`](Self::max_depth)
    #[must_use]
    pub const fn get_max_depth(&self) -> u8 {
        self.max_depth
    }

    /// See [`max_batch`](Self::max_batch)
    #[must_use]
    pub const fn get_max_batch(&self) -> u32 {
        self.max_batch
    }

    /// The id of a request that is owed an answer, as it came
    #[must_use]
    pub fn id(&self, key: u32) -> Option<&[u8]> {
        self.owed.get(key).map(|(id, ..)| id)
    }

    const fn frame(&self, element: bool) -> Frame {
        Frame { framing: self.framing, element }
    }
}

impl Dialect for JsonRpc {
    type Key = u32;
    type Meta = Notes;
    type Control = Control;

    #[inline]
    fn sequence_mask(&self) -> u32 {
        SEQUENCES
    }

    #[inline]
    fn decode<'i>(&mut self, input: &'i [u8], limits: &Limits) -> Result<Decoded<'i, Self>, Fault> {
        match self.place {
            Place::Message if self.framing == Framing::Lines => Ok(self.decode_line(input, limits)),
            Place::Message => self.decode_unit(input, limits),
            Place::Line => Ok(self.pass_line(input)),
            Place::Rest(left) => Ok(self.pass_bytes(input, left)),
            Place::Long { left, told } => Ok(self.decode_long(input, left, told)),
            Place::Batch { batch, left } => Ok(self.decode_element(input, batch, left as usize, limits)),
        }
    }

    #[inline]
    fn taken(&mut self) {
        match self.next.drops {
            None => self.scan = Scan::default(),
            Some(bytes) => self.scan.dropped(bytes),
        }
        self.place = self.next.place;
        if self.next.owed {
            self.owed.accept();
        }
        if self.next.batch {
            self.taken_in_batch();
        }
    }

    #[inline]
    fn encode_call<O: Sink + ?Sized>(
        &self,
        sequence: u32,
        call: &Call<'_, Notes>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal> {
        self.encode_request(Some(sequence), call, limits, out)
    }

    #[inline]
    fn encode_notification<O: Sink + ?Sized>(
        &self,
        call: &Call<'_, Notes>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal> {
        self.encode_request(None, call, limits, out)
    }

    #[inline]
    fn encode_reply<O: Sink + ?Sized>(
        &mut self,
        key: u32,
        reply: &Reply<'_, Notes>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal> {
        let _ = limits;
        let body = self.check_payload(reply.body)?;
        let answer = match reply.code {
            None => Answer::Result(body),
            Some(code) => {
                let number = reply.meta.error.unwrap_or(codes::SERVER_ERROR);
                let code = if code.is_empty() { codes::message(number).as_bytes() } else { code };
                let message = text::escape(code).ok_or(Refusal::BadMethod)?;
                Answer::Error { code: number, message, data: body }
            }
        };
        Ok(self.settle(key, &answer, out).map(drop)?)
    }

    fn encode_ping<O: Sink + ?Sized>(&self, sequence: u32, len: usize, out: &mut O) -> Result<(), Refusal> {
        // The answer is null whatever is sent.
        let _ = len;
        write::call(self.frame(false), Some(sequence), codes::PING.as_bytes(), &[], out)?;
        Ok(())
    }

    fn encode_control<O: Sink + ?Sized>(
        &mut self,
        control: &Control,
        limits: &Limits,
        out: &mut O,
    ) -> Result<usize, NoRoom> {
        let _ = limits;
        match *control {
            Control::Answer { key, own } => self.settle(key, &own.answer(), out),
            Control::Cancel { sequence } => {
                let method = self.cancel_method.unwrap_or(codes::CANCEL_REQUEST);
                write::cancel(self.framing, method, sequence, out)
            }
        }
    }

    fn reject(&mut self, key: u32, why: Reject) -> Option<Control> {
        let own = match why {
            Reject::Busy => Own::Busy,
            Reject::Draining => Own::Draining,
            Reject::TooLarge => Own::TooLarge,
        };
        let (_, _, batch) = self.owed.get(key)?;
        if batch == NONE {
            return Some(Control::Answer { key, own });
        }
        self.answer_in_batch(key, batch, own);
        None
    }

    fn abandon(&mut self, key: u32) {
        let batch = self.owed.get(key).map_or(NONE, |(_, _, batch)| batch);
        self.owed.release(key);
        if batch != NONE {
            self.batches.settle_one(batch);
        }
    }

    #[inline]
    fn is_due(&self) -> bool {
        self.batches.due().is_some()
    }

    fn encode_due<O: Sink + ?Sized>(
        &mut self,
        limits: &Limits,
        out: &mut O,
    ) -> Result<Option<usize>, NoRoom> {
        let _ = limits;
        let Some(batch) = self.batches.due() else { return Ok(None) };
        let len = write::array(self.framing, self.batches.answers(batch), out)?;
        self.batches.sent();
        Ok(Some(len))
    }

    #[inline]
    fn held(&self) -> usize {
        self.batches.held()
    }

    fn cancel(&self, sequence: u32) -> Option<Control> {
        self.cancel_method.map(|_| Control::Cancel { sequence })
    }
}

/// What is sent
impl JsonRpc {
    #[inline]
    fn encode_request<O: Sink + ?Sized>(
        &self,
        sequence: Option<u32>,
        call: &Call<'_, Notes>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal> {
        if call.method.len() > limits.get_max_method() as usize {
            return Err(Refusal::BadMethod);
        }
        let method = text::escape(call.method).ok_or(Refusal::BadMethod)?;
        let params = self.check_payload(call.body)?;
        if !matches!(params, [] | [b'{' | b'[', ..]) {
            return Err(Refusal::BadPayload);
        }
        write::call(self.frame(self.collecting), sequence, &method, params, out)?;
        Ok(())
    }

    /// A payload of ours must be JSON, and here as a whole: the envelope goes on behind it
    #[inline]
    fn check_payload<'p>(&self, body: Body<'p>) -> Result<&'p [u8], Refusal> {
        match body {
            Body::Whole([]) => Ok(&[]),
            Body::Whole(payload) if payload.len() >= LONGEST => {
                Err(Refusal::TooLarge { len: payload.len() as u64, limit: LONGEST as u64 })
            }
            Body::Whole(payload) => {
                text::check(payload, self.max_depth - OUTER_DEPTH).ok_or(Refusal::BadPayload)
            }
            Body::Streamed(_) => Err(Refusal::BadPayload),
        }
    }

    /// Gives the request of `key` its answer: to the wire, or to its batch, which goes to the wire when it is complete
    #[inline]
    fn settle<O: Sink + ?Sized>(
        &mut self,
        key: u32,
        answer: &Answer<'_>,
        out: &mut O,
    ) -> Result<usize, NoRoom> {
        let Some((id, old, batch)) = self.owed.get(key) else { return Ok(0) };
        let len = if batch == NONE {
            write::answer(self.frame(false), id, old, answer, out)?
        } else {
            self.settle_in_batch(key, batch, answer, out)?
        };
        self.owed.release(key);
        Ok(len)
    }

    #[cold]
    fn settle_in_batch<O: Sink + ?Sized>(
        &mut self,
        key: u32,
        batch: u32,
        answer: &Answer<'_>,
        out: &mut O,
    ) -> Result<usize, NoRoom> {
        let before = self.batches.answers(batch).len();
        let last = self.batches.is_last(batch);
        self.add_to_batch(key, batch, answer);
        if !last {
            self.batches.settle_one(batch);
            return Ok(0);
        }
        match write::array(self.framing, self.batches.answers(batch), out) {
            Ok(len) => {
                self.batches.release(batch);
                Ok(len)
            }
            Err(room) => {
                self.batches.cut(batch, before);
                Err(room)
            }
        }
    }

    /// An answer of the dialect's own to an element of a batch
    #[cold]
    fn answer_in_batch(&mut self, key: u32, batch: u32, own: Own) {
        self.add_to_batch(key, batch, &own.answer());
        self.owed.release(key);
        self.batches.settle_one(batch);
    }

    fn add_to_batch(&mut self, key: u32, batch: u32, answer: &Answer<'_>) {
        let frame = self.frame(true);
        let Some((id, old, _)) = self.owed.get(key) else { return };
        self.batches.add(batch, |answers| {
            let written = write::answer(frame, id, old, answer, answers);
            debug_assert!(written.is_ok(), "a vector always has room");
        });
    }
}

/// Longest message of ours: its length has to fit into four bytes, with the envelope
const LONGEST: usize = u32::MAX as usize - 65_536 * 8;

mod long;
mod read;

#[cfg(test)]
#[path = "dialect_tests.rs"]
mod tests;
