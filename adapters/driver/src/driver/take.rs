//! What was received, packet by packet

use core::ops::Range;

use bytes::Bytes;
use flyrpc_core::fly::zip::ZipError;
use flyrpc_core::fly::{Flag, codes};
use flyrpc_core::{Dialect as _, Incoming, Instant, Overload, ReplyToken, What};

use super::{Held, Io, Item};
use crate::calls::Done;
use crate::dialect::{AnyDialect, Meta, method_name, remote_error};
use crate::inbox::range_of;
use crate::link::{HELLO, Link, State};
use crate::runtime::{Runtime, Transport};
use crate::{Error, Packet, Protocol, RemoteError, UnreadableReply};

/// Packets handled under one lock, and at most between two flushes
///
/// Callers that are woken fill the scheduler's queue, which for tokio holds 256; beyond that it gets unfair.
const BATCH: usize = 128;
/// Fewer packets than this are not worth a write of their own
const LEAST_BATCH: usize = 16;
/// Most bytes of refusals beyond the owed buffer; then reading stops
const MAX_REFUSALS: usize = 256 << 10;

impl<R: Runtime, T: Transport> Io<R, T> {
    /// Takes packets from the inbox; what needs the application's code becomes an item
    pub(super) fn decode(&mut self, link: &Link, state: &mut State) {
        (self.more, self.held, state.held) = (false, Held::Not, false);
        // Half of what is outstanding at a time: one end works while the other does.
        let mut may = self.take_more(link, state);
        let mut left = match state.conn.in_flight() as usize / 2 {
            0 => BATCH,
            half => half.clamp(LEAST_BATCH, BATCH),
        };
        while self.inbox.is_ready() {
            if left == 0 {
                self.more = true;
                return;
            }
            left -= 1;
            let Some(busy) = may else {
                (self.held, state.held) = (Held::Owed, true);
                return;
            };
            let data = self.inbox.data();
            let Ok(step) = state.conn.handle_input(state.now, data) else {
                self.inbox.clear();
                return;
            };
            let consumed = step.consumed;
            let incoming = match step.what {
                What::NeedMore { at_least } => {
                    self.inbox.needs(at_least);
                    return;
                }
                What::Blocked => {
                    let before = state.out.len();
                    state.transmit();
                    if state.out.len() == before {
                        (self.held, state.held) = (Held::Handlers, true);
                        return;
                    }
                    continue;
                }
                What::Handled => {
                    self.see(link, consumed);
                    self.inbox.skip(consumed);
                    continue;
                }
                What::Incoming(incoming) => incoming,
            };
            let taken = match incoming {
                Incoming::Reply { tag, code, body, meta, .. } if meta.notes.error.is_some() => {
                    Taken::Done(tag, Done::Answer(Err(remote_error(code, body.bytes(), meta.notes))))
                }
                Incoming::Reply { tag, code, body, meta, .. } => {
                    Taken::Reply(tag, Parts::of(data, code, body.bytes(), meta))
                }
                Incoming::Request { method, body, meta, token } => {
                    Taken::Request(token, Parts::of(data, method, body.bytes(), meta))
                }
                Incoming::Notification { method, body, meta } => {
                    Taken::Message(Parts::of(data, method, body.bytes(), meta))
                }
                Incoming::Pong { tag, len, .. } => Taken::Done(tag, Done::Pong(len)),
                Incoming::BadReply { tag, why, .. } => {
                    Taken::Done(tag, Done::Failed(Error::UnreadableReply(UnreadableReply::Bad(why))))
                }
                Incoming::Cancel { request } => Taken::Cancel(request),
                // Bodies are always taken whole.
                Incoming::Piece { .. } | _ => Taken::Nothing,
            };
            self.see(link, consumed);
            let is_reply = matches!(taken, Taken::Reply(..));
            self.take(link, state, taken, consumed, busy);
            if !is_reply {
                may = self.take_more(link, state);
            }
        }
    }

    /// May more packets be handled, and if so, must requests be refused?
    pub(super) fn take_more(&self, link: &Link, state: &State) -> Option<bool> {
        let calling = state.conn.in_flight() > 0;
        if state.lane.is_full(calling) {
            return None;
        }
        // A handler may wait for an answer that comes behind (P9), so what handlers hold counts only while none can.
        let held = if calling { 0 } else { state.requests.held() };
        // Answers that wait for the rest of their batch leave when that has been handled: reading less would not help.
        let batched = state.conn.dialect().held();
        let (owed, limit) = (state.owed + held + batched, link.options.owed_buffer);
        if batched >= limit {
            return Some(true);
        }
        if owed < limit {
            return Some(false);
        }
        // Where both ends wait for answers and neither takes what it is sent, one must go on reading.
        let deadlocked = calling && self.stalled.is_some();
        let refuses = deadlocked || link.options.when_owed == Overload::Refuse;
        (refuses && owed < limit.saturating_add(MAX_REFUSALS)).then_some(true)
    }

    /// Keeps a packet for the hook
    fn see(&mut self, link: &Link, consumed: usize) {
        if link.is_observed() {
            self.seen.push(Bytes::copy_from_slice(self.inbox.data().get(..consumed).unwrap_or_default()));
        }
    }

    /// Acts on a packet, whose bytes leave the inbox
    fn take(&mut self, link: &Link, state: &mut State, taken: Taken, consumed: usize, busy: bool) {
        match taken {
            Taken::Reply(HELLO, parts) => {
                if let Ok((code, list)) = self.open(link, state, parts, consumed)
                    && code.is_empty()
                {
                    state.conn.dialect_mut().learn(&list);
                }
            }
            Taken::Reply(tag, parts) if parts.code.is_empty() && !parts.meta.zip.any() => {
                let mut payload = self.inbox.take(consumed);
                bytes::Buf::advance(&mut payload, parts.payload.start.min(consumed));
                payload.truncate(parts.payload.len());
                if let Some(waker) = state.calls.finish(tag, Done::Answer(Ok(payload))) {
                    self.wakers.push(waker);
                }
            }
            Taken::Reply(tag, parts) => {
                let done = match self.open(link, state, parts, consumed) {
                    Ok((code, payload)) if code.is_empty() => Done::Answer(Ok(payload)),
                    Ok((code, payload)) => {
                        let code = String::from_utf8_lossy(&code).into_owned();
                        Done::Answer(Err(RemoteError { code, number: None, details: payload.into() }))
                    }
                    Err(error) => Done::Failed(Error::UnreadableReply(UnreadableReply::Zip(error))),
                };
                self.wakers.extend(state.calls.finish(tag, done));
            }
            Taken::Request(token, parts) => {
                let zip = parts.meta.zip;
                let flies = link.info.protocol == Protocol::FlyRpc;
                let refusal = match self.open(link, state, parts, consumed) {
                    // Longer than those that the core answers itself.
                    Ok((code, payload)) if flies && *code == *codes::PING.as_bytes() => Ok(payload),
                    Ok(_) if busy => Err(RemoteError::new(codes::BUSY)),
                    Ok((code, payload)) => {
                        let deadline =
                            link.options.handler_timeout.map_or(Instant::FAR, |time| state.now + time);
                        let id = state.requests.start(token.key(), payload.len(), deadline);
                        let flag = Flag::REQUEST.with(zip, 0);
                        // Of the others, whose numbers are the peer's own, it says nothing.
                        let sequence = if flies { token.key() as u16 } else { 0 };
                        let packet = Packet { flag, sequence, code, payload };
                        if self.items.capacity() == 0 {
                            // Many connections never have more at a time.
                            self.items.reserve_exact(1);
                        }
                        self.items.push(Item::Request(packet, token, id, deadline));
                        return;
                    }
                    Err(error) => Err(RemoteError::new(error.code())),
                };
                link.reply(state, token, &refusal);
            }
            Taken::Message(parts) => {
                let zip = parts.meta.zip;
                let Ok((code, payload)) = self.open(link, state, parts, consumed) else { return };
                let packet = Packet { flag: Flag::MESSAGE.with(zip, 0), sequence: 0, code, payload };
                if state.lane.is_running() {
                    state.lane.push(packet);
                } else {
                    self.items.push(Item::Message(packet));
                }
            }
            Taken::Done(tag, done) => {
                self.inbox.skip(consumed);
                self.wakers.extend(state.calls.finish(tag, done));
            }
            Taken::Cancel(key) => {
                self.inbox.skip(consumed);
                state.requests.cancel(key, &mut self.wakers);
            }
            Taken::Nothing => self.inbox.skip(consumed),
        }
    }

    /// Code and payload as they were meant: slices of what was read, or inflated
    fn open(
        &mut self,
        link: &Link,
        state: &mut State,
        parts: Parts,
        consumed: usize,
    ) -> Result<(Bytes, Bytes), ZipError> {
        let mut packet = self.inbox.take(consumed);
        if parts.meta.zip.any() {
            state.packer.peer_unzips();
            let code = packet.get(parts.code).unwrap_or_default();
            let payload = packet.get(parts.payload).unwrap_or_default();
            let unzip = self.unzip.get_or_insert_with(Box::default);
            let opened = unzip.open(code, payload, parts.meta.zip, &link.options.limits)?;
            return Ok((
                Bytes::copy_from_slice(opened.code.as_bytes()),
                Bytes::copy_from_slice(opened.payload),
            ));
        }
        let code = if parts.code.is_empty() {
            Bytes::new()
        } else if parts.meta.notes.escaped {
            method_name(packet.get(parts.code).unwrap_or_default(), parts.meta.notes).into_owned().into()
        } else {
            packet.slice(parts.code)
        };
        bytes::Buf::advance(&mut packet, parts.payload.start.min(consumed));
        packet.truncate(parts.payload.len());
        Ok((code, packet))
    }
}

/// A packet without its bytes
enum Taken {
    Reply(u32, Parts),
    Request(ReplyToken<AnyDialect>, Parts),
    Message(Parts),
    Done(u32, Done),
    Cancel(u32),
    Nothing,
}

/// Where in a packet its parts are
struct Parts {
    code: Range<usize>,
    payload: Range<usize>,
    meta: Meta,
}

impl Parts {
    fn of(data: &[u8], code: &[u8], payload: &[u8], meta: Meta) -> Self {
        Self { code: range_of(data, code), payload: range_of(data, payload), meta }
    }
}
