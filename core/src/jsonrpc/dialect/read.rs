//! What is received

use super::super::Notes;
use super::super::envelope::{self, Envelope};
use super::super::framing::read_header;
use super::super::owed::NONE;
use super::super::scan::{Outcome, Scan};
use super::super::text::{self, space};
use super::{Control, ENVELOPE, JsonRpc, Next, Own, Place, codes};
use crate::Limits;
use crate::dialect::{Body, Decoded, Fault, Message};
use crate::limits::Oversize;

impl JsonRpc {
    /// Longest message that is read whole, in bytes
    #[inline]
    fn longest(limits: &Limits) -> usize {
        let longest = limits.get_max_payload() as usize;
        let longest = longest.saturating_add(usize::from(limits.get_max_method()) + ENVELOPE);
        longest.min(u32::MAX as usize - 1)
    }

    /// [`Framing::Lines`](super::Framing::Lines): a value, with whatever white space is behind it
    #[inline]
    pub(super) fn decode_line<'i>(&mut self, input: &'i [u8], limits: &Limits) -> Decoded<'i, Self> {
        if let Some(b' ' | b'\n' | b'\r' | b'\t') | None = input.first() {
            return self.pass_space(input);
        }
        let longest = Self::longest(limits);
        let view = input.get(..longest).unwrap_or(input);
        match self.scan.run(view, false, self.max_depth) {
            Outcome::Done(end) => {
                let (text, rest) = input.split_at_checked(end).unwrap_or((input, &[]));
                self.decode_whole(text, 0, end + space(rest), limits)
            }
            Outcome::More if input.len() < longest => Decoded::NeedMore { at_least: input.len() + 1 },
            Outcome::More => self.begin_long_line(view, limits),
            Outcome::Bad(at) => {
                let consumed = self.pass_rest_of_line(input, at);
                let answer = self.answer_now(b"null", Own::ParseError);
                Decoded::Message { consumed, message: Message::Invalid { answer, body: Body::Whole(&[]) } }
            }
        }
    }

    /// The other framings: a value that fills its frame
    pub(super) fn decode_unit<'i>(
        &mut self,
        input: &'i [u8],
        limits: &Limits,
    ) -> Result<Decoded<'i, Self>, Fault> {
        let (header, len) = match read_header(self.framing, input)? {
            Ok(found) => found,
            Err(at_least) => return Ok(Decoded::NeedMore { at_least }),
        };
        if len > Self::longest(limits) as u64 {
            return self.begin_long_unit(input, header, len, limits);
        }
        let total = header.saturating_add(len as usize);
        let Some(unit) = input.get(header..total) else { return Ok(Decoded::NeedMore { at_least: total }) };
        let start = space(unit);
        let text = unit.get(start..).unwrap_or_default();
        self.scan = Scan::default();
        match self.scan.run(text, true, self.max_depth) {
            Outcome::Done(end) if space(text.get(end..).unwrap_or_default()) + end == text.len() => {
                let text = text.get(..end).unwrap_or_default();
                Ok(self.decode_whole(text, header + start, total, limits))
            }
            Outcome::Done(_) | Outcome::More | Outcome::Bad(_) => {
                self.next = Next::at(Place::Message);
                let answer = self.answer_now(b"null", Own::ParseError);
                let message = Message::Invalid { answer, body: Body::Whole(&[]) };
                Ok(Decoded::Message { consumed: total, message })
            }
        }
    }

    /// One whole value, which the scanner has read; it starts `before` bytes into the input and takes `total` bytes of it
    #[inline]
    fn decode_whole<'i>(
        &mut self,
        text: &'i [u8],
        before: usize,
        total: usize,
        limits: &Limits,
    ) -> Decoded<'i, Self> {
        if text.first() == Some(&b'[') {
            return self.decode_batch(before, total, limits);
        }
        self.next = Next::at(Place::Message);
        let envelope = envelope::read(text, &self.scan, self.lenient, limits.get_max_method() as usize);
        self.decode_envelope(envelope, NONE, total, limits)
    }

    #[inline]
    fn decode_envelope<'i>(
        &mut self,
        envelope: Envelope<'i>,
        batch: u32,
        total: usize,
        limits: &Limits,
    ) -> Decoded<'i, Self> {
        let (consumed, message) = match envelope {
            Envelope::Request { id, method, params, escaped, old } => {
                let key = self.owed.propose(id, old, batch);
                if method.starts_with(b"rpc.") && method == codes::PING.as_bytes() {
                    let answer = self.answer(key, batch, Own::Pong);
                    (total, Message::Control(answer))
                } else {
                    self.next.owed = true;
                    let (consumed, body) = cut(params, total, limits);
                    let meta = Notes { escaped, error: None };
                    (consumed, Message::Request { key, method, body, meta })
                }
            }
            Envelope::Notification { method, params, escaped } => {
                if method == codes::PING.as_bytes() {
                    (total, Message::Control(None))
                } else if self.cancel_method.is_some_and(|name| text::is(method, name.as_bytes())) {
                    (total, self.decode_cancel(params))
                } else {
                    let (consumed, body) = cut(params, total, limits);
                    let meta = Notes { escaped, error: None };
                    (consumed, Message::Notification { method, body, meta })
                }
            }
            Envelope::Reply { sequence, code, body, notes } => {
                let (consumed, body) = cut(body, total, limits);
                (consumed, Message::Reply { sequence, code, body, meta: notes })
            }
            Envelope::Invalid { id } => {
                let key = self.owed.propose(id, false, batch);
                let answer = self.answer(key, batch, Own::InvalidRequest);
                (total, Message::Invalid { answer, body: Body::Whole(&[]) })
            }
            Envelope::InvalidNotification => {
                (total, Message::Invalid { answer: None, body: Body::Whole(&[]) })
            }
        };
        Decoded::Message { consumed, message }
    }

    #[cold]
    fn decode_cancel<'i>(&self, params: &[u8]) -> Message<'i, Self> {
        match text::member(params, "id").and_then(|id| self.owed.find(id)) {
            Some(key) => Message::Cancel { key },
            // Answered already, or never asked.
            None => Message::Control(None),
        }
    }

    /// An answer of the dialect's own: a packet, or, in a batch, what is added when the message is taken
    #[cold]
    fn answer(&mut self, key: u32, batch: u32, own: Own) -> Option<Control> {
        self.next.owed = true;
        if batch == NONE {
            return Some(Control::Answer { key, own });
        }
        self.next.answer = Some((key, own));
        None
    }

    #[cold]
    pub(super) fn answer_now(&mut self, id: &[u8], own: Own) -> Option<Control> {
        let key = self.owed.propose(id, false, NONE);
        self.answer(key, NONE, own)
    }

    /// The start of a batch that has been read whole: its elements are handed out one by one
    #[cold]
    fn decode_batch<'i>(&mut self, before: usize, total: usize, limits: &Limits) -> Decoded<'i, Self> {
        self.next = Next::at(Place::Message);
        let elements = self.scan.elements();
        let refused = if elements == 0 || elements > self.max_batch {
            Own::InvalidRequest
        } else if self.batches.held() > limits.get_max_payload() as usize {
            // So that batches that each keep answers back can't make memory grow.
            Own::Busy
        } else {
            let left = (total - before - 1) as u32;
            self.next = Next::at(Place::Batch { batch: NONE, left });
            return Decoded::Skip { consumed: before + 1 };
        };
        let answer = self.answer_now(b"null", refused);
        Decoded::Message { consumed: total, message: Message::Invalid { answer, body: Body::Whole(&[]) } }
    }

    /// The next element of a batch; the bracket behind the last is taken with it
    #[cold]
    pub(super) fn decode_element<'i>(
        &mut self,
        input: &'i [u8],
        batch: u32,
        left: usize,
        limits: &Limits,
    ) -> Decoded<'i, Self> {
        let Some(view) = input.get(..left) else { return Decoded::NeedMore { at_least: left } };
        let start = separators(view);
        let text = view.get(start..).unwrap_or_default();
        let Outcome::Done(end) = self.scan.run(text, false, self.max_depth) else {
            debug_assert!(false, "a batch was read whole, and is not what it was");
            self.next = Next::end_of(batch);
            return Decoded::Skip { consumed: left };
        };
        let (text, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
        let behind = separators(rest);
        let total = if rest.get(behind) == Some(&b']') {
            self.next = Next::end_of(batch);
            left
        } else {
            let total = start + end + behind;
            self.next = Next::at(Place::Batch { batch, left: (left - total) as u32 });
            total
        };
        let envelope = envelope::read(text, &self.scan, self.lenient, limits.get_max_method() as usize);
        self.decode_envelope(envelope, batch, total, limits)
    }

    /// The part of `taken` that is about batches
    #[cold]
    pub(super) fn taken_in_batch(&mut self) {
        let batch = match &mut self.place {
            Place::Batch { batch, .. } => {
                if *batch == NONE {
                    *batch = self.batches.open();
                    return;
                }
                *batch
            }
            Place::Message | Place::Line | Place::Rest(_) | Place::Long { .. } => self.next.closes,
        };
        if self.next.owed {
            self.batches.owe(batch);
        }
        if let Some((key, own)) = self.next.answer {
            self.answer_in_batch(key, batch, own);
        }
        if self.next.closes != NONE {
            self.batches.close(batch);
        }
    }

    #[cold]
    fn pass_space<'i>(&mut self, input: &[u8]) -> Decoded<'i, Self> {
        self.next = Next::at(Place::Message);
        match space(input) {
            0 => Decoded::NeedMore { at_least: 1 },
            consumed => Decoded::Skip { consumed },
        }
    }

    /// Decides where to go on when the line is of no use from `at` on, and how much of the input that takes
    #[cold]
    pub(super) fn pass_rest_of_line(&mut self, input: &[u8], at: usize) -> usize {
        let end = input.get(at..).unwrap_or_default().iter().position(|byte| *byte == b'\n');
        self.next = Next::at(if end.is_some() { Place::Message } else { Place::Line });
        end.map_or(input.len(), |end| at + end + 1)
    }

    #[cold]
    pub(super) fn pass_line<'i>(&mut self, input: &[u8]) -> Decoded<'i, Self> {
        match self.pass_rest_of_line(input, 0) {
            0 => Decoded::NeedMore { at_least: 1 },
            consumed => Decoded::Skip { consumed },
        }
    }

    #[cold]
    pub(super) fn pass_bytes<'i>(&mut self, input: &[u8], left: u64) -> Decoded<'i, Self> {
        let consumed = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        if consumed == 0 {
            return Decoded::NeedMore { at_least: 1 };
        }
        let left = left - consumed as u64;
        self.next = Next::at(if left == 0 { Place::Message } else { Place::Rest(left) });
        Decoded::Skip { consumed }
    }
}

/// A payload that is longer than its limit though the message is not: the connection refuses it, and passes over as many
/// bytes, to the end of the message
#[inline]
fn cut<'i>(payload: &'i [u8], total: usize, limits: &Limits) -> (usize, Body<'i>) {
    if payload.len() <= limits.get_max_payload() as usize || limits.get_oversize() != Oversize::Refuse {
        return (total, Body::Whole(payload));
    }
    (total - payload.len(), Body::Streamed(payload.len() as u64))
}

/// Bytes of white space and commas that a text begins with
fn separators(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',')).count()
}
