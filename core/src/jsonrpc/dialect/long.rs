//! Messages longer than the limit: whoever waits for them is told, and they are passed over in constant memory
//!
//! They are read to their end all the same, since their end is where the next begins, and since the id may come last.

use super::super::envelope::{self, Envelope};
use super::super::framing::Framing;
use super::super::scan::{Member, Outcome, Scan};
use super::super::text;
use super::{JsonRpc, Next, Own, PEEK, Place};
use crate::dialect::{Body, Decoded, Fault, Message};
use crate::limits::Oversize;
use crate::{Limits, WireError};

impl JsonRpc {
    /// A line that does not end within the limit, which `view` reaches to
    #[cold]
    pub(super) fn begin_long_line<'i>(&mut self, view: &'i [u8], limits: &Limits) -> Decoded<'i, Self> {
        let (left, seen) = (u64::MAX, self.scan.position());
        let on = |told, bytes| Next { drops: Some(bytes), ..Next::at(Place::Long { left, told }) };
        self.long_id.clear();
        let Some(id) = envelope::id(view, &self.scan) else {
            let consumed = self.scan.droppable();
            self.next = on(false, consumed);
            return Decoded::Skip { consumed };
        };
        self.next = on(true, seen);
        let envelope = envelope::read_part(Some(id), &self.scan);
        if let (Envelope::Reply { sequence, notes, .. }, true) = (&envelope, refuses(limits)) {
            // The connection passes over these bytes, and tells the call why.
            let (sequence, body, meta) = (*sequence, Body::Streamed(seen as u64), *notes);
            return Decoded::Message {
                consumed: 0,
                message: Message::Reply { sequence, code: &[], body, meta },
            };
        }
        Decoded::Message { consumed: seen, message: self.tell(&envelope) }
    }

    /// A frame that announces more than the limit
    #[cold]
    pub(super) fn begin_long_unit<'i>(
        &mut self,
        input: &'i [u8],
        header: usize,
        len: u64,
        limits: &Limits,
    ) -> Result<Decoded<'i, Self>, Fault> {
        if len > limits.get_max_body() {
            return Err(Fault { what: WireError::BodyTooLong, at: 0 });
        }
        let peek = header + len.min(PEEK) as usize;
        let Some(unit) = input.get(header..peek) else { return Ok(Decoded::NeedMore { at_least: peek }) };
        let text = text::skip_space(unit);
        self.scan = Scan::default();
        let _ = self.scan.run(text, false, self.max_depth);
        self.long_id.clear();
        let Some(id) = envelope::id(text, &self.scan) else {
            self.next = Next::at(Place::Long { left: len, told: false });
            return Ok(Decoded::Skip { consumed: header });
        };
        let envelope = envelope::read_part(Some(id), &self.scan);
        let message = if let (Envelope::Reply { sequence, notes, .. }, true) = (&envelope, refuses(limits)) {
            self.next = Next::at(Place::Message);
            Message::Reply { sequence: *sequence, code: &[], body: Body::Streamed(len), meta: *notes }
        } else {
            self.next = Next::at(Place::Rest(len));
            self.tell(&envelope)
        };
        Ok(Decoded::Message { consumed: header, message })
    }

    /// More of a long message
    #[cold]
    pub(super) fn decode_long<'i>(&mut self, input: &'i [u8], left: u64, told: bool) -> Decoded<'i, Self> {
        let end = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let Some(view @ [_, ..]) = input.get(..end) else { return Decoded::NeedMore { at_least: 1 } };
        let outcome = self.scan.run(view, end as u64 == left, self.max_depth);
        if self.scan.get(Member::Id, view).is_some() {
            self.long_id.clear();
            self.long_id.extend_from_slice(envelope::id(view, &self.scan).unwrap_or_default());
        }
        let (consumed, parsed) = match outcome {
            Outcome::More => {
                let consumed = self.scan.droppable();
                if consumed == 0 {
                    return Decoded::NeedMore { at_least: input.len() + 1 };
                }
                let place = Place::Long { left: less(left, consumed), told };
                self.next = Next { drops: Some(consumed), ..Next::at(place) };
                return Decoded::Skip { consumed };
            }
            Outcome::Done(end) => {
                let left = less(left, end);
                self.next =
                    Next::at(if left == 0 || left == u64::MAX { Place::Message } else { Place::Rest(left) });
                (end, true)
            }
            Outcome::Bad(at) if self.framing == Framing::Lines => (self.pass_rest_of_line(input, at), false),
            Outcome::Bad(_) => {
                let left = less(left, end);
                self.next = Next::at(if left == 0 { Place::Message } else { Place::Rest(left) });
                (end, false)
            }
        };
        if told {
            return Decoded::Skip { consumed };
        }
        let message = if parsed {
            let id = core::mem::take(&mut self.long_id);
            let envelope = envelope::read_end((!id.is_empty()).then_some(&id), &self.scan);
            let message = self.tell(&envelope);
            self.long_id = id;
            message
        } else {
            let answer = self.answer_now(b"null", Own::ParseError);
            Message::Invalid { answer, body: Body::Whole(&[]) }
        };
        Decoded::Message { consumed, message }
    }

    /// What tells whoever waits for a long message
    fn tell<'i>(&mut self, envelope: &Envelope<'_>) -> Message<'i, Self> {
        let answer = match envelope {
            Envelope::Reply { sequence, notes, .. } => {
                let (code, body) = (envelope::TOO_LARGE, Body::Whole(&[][..]));
                return Message::Reply { sequence: *sequence, code, body, meta: *notes };
            }
            Envelope::Invalid { id } => self.answer_now(id, Own::TooLarge),
            Envelope::Request { .. } | Envelope::Notification { .. } | Envelope::InvalidNotification => None,
        };
        Message::Invalid { answer, body: Body::Whole(&[]) }
    }
}

/// Does the connection pass over long bodies by itself?
fn refuses(limits: &Limits) -> bool {
    limits.get_oversize() == Oversize::Refuse
}

/// What is left behind so many bytes; of a line that is never known
const fn less(left: u64, bytes: usize) -> u64 {
    if left == u64::MAX { left } else { left.saturating_sub(bytes as u64) }
}
