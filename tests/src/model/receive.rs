//! Bytes arrive, calls end: each compared with the book

use flyrpc_core::fly::Fly;
use flyrpc_core::{
    BadReply, Body, CloseReason, Event, Incoming, Instant, Overload, Oversize, Slots, State, What,
};

use super::book::{Flow, Kind, Owed, Sent};
use super::world::{End, World};
use crate::Side;

impl<S: Slots<Tag = u32>> World<S> {
    /// Up to `len` bytes reach `side`; false when there is nothing that could
    pub(super) fn deliver(&mut self, side: Side, len: u32) -> bool {
        let (me, you) = self.end(side);
        let len = you.wire.len().min(len as usize);
        let retry = me.blocked;
        me.inbox.extend(you.wire.drain(..len));
        if len > 0 || retry {
            self.handle(side);
        }
        let (me, you) = self.end(side);
        if you.wire.is_empty() && you.wire_closed && !me.blocked && me.book.eof_at.is_none() {
            self.end_of_stream(side);
            return true;
        }
        len > 0 || retry
    }

    pub(super) fn end_of_stream(&mut self, side: Side) {
        let now = self.now;
        let me = self.end(side).0;
        me.tick(now);
        if me.conn.state() != State::Closed && me.book.eof_at.is_none() {
            let cut_short = me.book.receiving.is_some() || !me.inbox.is_empty();
            me.book.eof_at = Some(me.book.seen);
            me.book.cut_short = (!me.blocked).then_some(cut_short);
            me.book.receiving = None;
        }
        me.conn.handle_eof(now);
    }

    /// Hands the inbox to the connection
    fn handle(&mut self, side: Side) {
        let now = self.now;
        let mut inbox = core::mem::take(&mut self.end(side).0.inbox);
        let mut used = 0;
        loop {
            let (me, you) = self.end(side);
            me.tick(now);
            me.blocked = false;
            let ended = me.conn.state() == State::Closed || me.book.eof_at.is_some();
            let rest = &inbox[used..];
            let step = match me.conn.handle_input(now, rest) {
                Ok(step) => step,
                Err(error) => {
                    if me.book.failed.is_none() {
                        me.check_fault(you.book.sent.front().copied(), error.limit);
                    }
                    assert_eq!(*me.book.failed.get_or_insert(error), error, "the error changes");
                    used = inbox.len();
                    self.note(|| format!("  {side:?}: {error}"));
                    break;
                }
            };
            assert_eq!(me.book.failed, None, "input was taken after a protocol error");
            used += step.consumed;
            match step.what {
                What::NeedMore { at_least } => {
                    assert!(step.consumed == 0 && rest.len() < at_least);
                    break;
                }
                What::Blocked => {
                    assert_eq!(step.consumed, 0);
                    me.blocked = true;
                    // Its own packets first, or a reply first; which of them is not told.
                    let limits = me.conn.limits();
                    let full = limits.get_overload() == Overload::Wait
                        && me.conn.unanswered() == limits.get_max_unanswered();
                    let due = me.conn.poll_timeout() == Some(me.book.seen) || me.book.sending.is_some();
                    assert!(full || due, "blocked for no reason");
                    self.note(|| {
                        format!("  blocked: {}", if full { "requests wait" } else { "packets wait" })
                    });
                    break;
                }
                What::Handled if ended => {
                    assert_eq!(step.consumed, rest.len());
                    break;
                }
                What::Handled => {
                    assert!(step.consumed > 0);
                    me.handled(step.consumed, &mut you.book.sent);
                }
                What::Incoming(incoming) => {
                    assert!(!ended && step.consumed > 0);
                    let line = me.take(incoming, &mut you.book.sent);
                    self.note(|| line);
                }
            }
        }
        inbox.drain(..used);
        self.end(side).0.inbox = inbox;
    }

    /// Takes one event; false when there is none
    pub(super) fn next_event(&mut self, side: Side) -> bool {
        let me = self.end(side).0;
        let Some(event) = me.conn.poll_event() else { return false };
        assert!(!me.book.told, "an event after the last");
        match event {
            Event::TimedOut { call, tag } => {
                let call = me.book.end(tag, call);
                assert!(call.deadline <= me.book.seen, "call {tag} timed out too early");
                me.give_up(call.sequence);
            }
            Event::Lost { call, tag, why } => {
                me.book.end(tag, call);
                me.book.lost += 1;
                me.check_reason(why);
            }
            Event::Closed { why } => {
                me.book.told = true;
                assert!(me.book.calls.is_empty(), "closed, and calls hang");
                assert_eq!(me.conn.close_reason(), Some(why));
                me.check_reason(why);
                // The owner sends what is written, and hears no more.
                me.send();
                me.wire_closed = true;
                me.inbox.clear();
                (me.book.sending, me.book.receiving) = (None, None);
            }
            other => panic!("unexpected {other:?}"),
        }
        self.note(|| format!("  {side:?} {event:?}"));
        true
    }
}

impl<S: Slots<Tag = u32>> End<S> {
    fn take(
        &mut self,
        incoming: Incoming<'_, Fly, u32>,
        sent: &mut std::collections::VecDeque<Sent>,
    ) -> String {
        let line = describe(&incoming);
        if let Incoming::Piece { bytes, left } = incoming {
            let flow = self.book.receiving.take().expect("a piece of a body");
            assert!(!flow.skipped, "a piece of a body that was refused");
            if let Some(fill) = flow.fill {
                assert_eq!(
                    bytes,
                    fill.bytes(flow.len - flow.left, bytes.len() as u32),
                    "other bytes than were sent"
                );
            }
            let flow = Flow { left: flow.left - bytes.len() as u32, ..flow };
            assert_eq!(left, u64::from(flow.left));
            self.book.receiving = Some(flow).filter(|flow| flow.left > 0);
            return line;
        }
        assert_eq!(self.book.receiving, None, "a message inside another's body");
        let packet = sent.pop_front().expect("nothing arrives that was not sent");
        match incoming {
            Incoming::Request { method, body, token, .. } => {
                let Sent::Request { kind, tag, sequence, .. } = packet else {
                    panic!("{packet:?} came as a request")
                };
                let expected = match kind {
                    Kind::Call => "call",
                    Kind::Ping => "$ping",
                    Kind::Hello => "$hello",
                };
                assert_eq!((method, token.key()), (expected.as_bytes(), sequence));
                assert_eq!(self.conn.state(), State::Open, "a request was taken while draining");
                self.begin(packet, body);
                self.book.owed.push(Owed { token, tag });
            }
            Incoming::Notification { method, body, .. } => {
                assert!(matches!(packet, Sent::Notification { .. }), "{packet:?} came as a notification");
                assert_eq!(method, b"note");
                self.begin(packet, body);
            }
            Incoming::Reply { call, tag, code, body, .. } => {
                let waiting = self.book.end(tag, call);
                self.answers(&waiting, packet, code);
                self.begin(packet, body);
                if waiting.kind == Kind::Hello && code.is_empty() && matches!(packet, Sent::Own { .. }) {
                    self.conn.dialect_mut().learn(body.bytes());
                }
            }
            Incoming::BadReply { call, tag, why: BadReply::TooLarge { len, limit } } => {
                let waiting = self.book.end(tag, call);
                self.answers(&waiting, packet, b"?");
                assert_eq!(self.conn.limits().get_oversize(), Oversize::Refuse);
                assert_eq!(
                    (len, limit),
                    (u64::from(packet.len()), u64::from(self.conn.limits().get_max_payload()))
                );
                assert!(len > limit);
                self.skip(packet);
            }
            Incoming::Pong { call, tag, len } => {
                let waiting = self.book.end(tag, call);
                self.answers(&waiting, packet, b"?");
                assert_eq!((waiting.kind, len), (Kind::Ping, u64::from(packet.len())));
                self.skip(packet);
            }
            Incoming::Cancel { request } => {
                // The request has been handled: packets come in the order they were sent in (P3).
                assert_eq!(packet, Sent::Cancel { sequence: request });
            }
            Incoming::BadReply { why, .. } => panic!("unexpected {why}"),
            Incoming::Piece { .. } => unreachable!("dealt with above"),
            other => panic!("unexpected {other:?}"),
        }
        line
    }

    /// The packet answers this call and no other
    fn answers(&self, call: &super::book::Waiting, packet: Sent, code: &[u8]) {
        assert!(call.deadline > self.book.seen, "an answer was taken after the deadline");
        match packet {
            Sent::Reply { tag, sequence, answer } => {
                assert_eq!((tag, sequence), (call.tag, call.sequence), "the answer to another call");
                let expected: &[u8] = if matches!(answer, super::Answer::Error(_)) { b"FAIL" } else { b"" };
                assert!(code == b"?" || code == expected, "another code than was sent");
            }
            Sent::Own { sequence, .. } => {
                assert_eq!(sequence, call.sequence, "the answer to another call");
                let own: [&[u8]; 6] = [b"?", b"", b"BUSY", b"DRAINING", b"TOO_LARGE", b"BAD_CODE"];
                assert!(own.contains(&code) && (!code.is_empty() || call.kind == Kind::Hello));
            }
            Sent::Request { .. } | Sent::Notification { .. } | Sent::Cancel { .. } => {
                panic!("{packet:?} came as an answer")
            }
        }
    }

    /// A message whose body is taken: here, or from now on
    fn begin(&mut self, packet: Sent, body: Body<'_>) {
        let (fill, len) = (packet.fill(), packet.len());
        let limits = self.conn.limits();
        match body {
            Body::Whole(bytes) => {
                assert!(bytes.len() <= limits.get_max_payload() as usize);
                assert_eq!(bytes.len(), len as usize);
                if let Some(fill) = fill {
                    assert_eq!(bytes, fill.bytes(0, len), "other bytes than were sent");
                }
            }
            Body::Streamed(announced) => {
                assert_eq!(limits.get_oversize(), Oversize::Stream);
                assert!(announced > u64::from(limits.get_max_payload()));
                assert_eq!(announced, u64::from(len));
                let reply = matches!(packet, Sent::Reply { .. } | Sent::Own { .. });
                self.book.receiving = Some(Flow { fill, len, left: len, skipped: false, reply });
            }
        }
    }

    /// A message whose body, if it is long, nobody is given
    fn skip(&mut self, packet: Sent) {
        let len = packet.len();
        if len > self.conn.limits().get_max_payload() {
            self.book.receiving = Some(Flow { fill: None, len, left: len, skipped: true, reply: false });
        }
    }

    /// The connection has dealt with it alone
    fn handled(&mut self, consumed: usize, sent: &mut std::collections::VecDeque<Sent>) {
        if let Some(flow) = self.book.receiving.take() {
            assert!(flow.skipped && consumed <= flow.left as usize, "bytes of a body were swallowed");
            let flow = Flow { left: flow.left - consumed as u32, ..flow };
            self.book.receiving = Some(flow).filter(|flow| flow.left > 0);
            return;
        }
        let packet = sent.pop_front().expect("nothing arrives that was not sent");
        let limits = self.conn.limits();
        let long = packet.len() > limits.get_max_payload();
        let too_long = long && limits.get_oversize() == Oversize::Refuse;
        match packet {
            Sent::Request { kind, len, .. } => {
                let busy = limits.get_overload() == Overload::Refuse
                    && self.conn.unanswered() == limits.get_max_unanswered();
                let own = !long && (kind == Kind::Hello || kind == Kind::Ping && len <= 8);
                let draining = self.conn.state() == State::Draining;
                assert!(busy || own || draining || too_long, "{packet:?} was refused for no reason");
            }
            Sent::Notification { .. } => assert!(too_long, "{packet:?} was dropped for no reason"),
            Sent::Reply { sequence, .. } | Sent::Own { sequence, .. } => {
                let seen = self.book.seen;
                let waits = |call: &&super::book::Waiting| call.sequence == sequence && call.deadline > seen;
                assert!(
                    self.book.calls.iter().find(waits).is_none(),
                    "{packet:?} was dropped, and its call waits"
                );
                self.book.resting.retain(|(resting, _)| *resting != sequence);
            }
            Sent::Cancel { .. } => panic!("a cancel was not passed on"),
        }
        self.skip(packet);
    }

    /// A protocol error follows from the limits
    fn check_fault(&self, packet: Option<Sent>, limit: u64) {
        let limits = self.conn.limits();
        let short_names = limits.get_max_method() < 10 && limit == u64::from(limits.get_max_method());
        let long = packet.is_some_and(|packet| u64::from(packet.len()) > limits.get_max_body());
        assert!(short_names || long && limit == limits.get_max_body(), "a protocol error for no reason");
        assert_eq!(self.conn.state(), State::Closed);
    }

    fn check_reason(&self, why: CloseReason) {
        let book = &self.book;
        let holds = match why {
            CloseReason::PeerClosed => book.eof_at.is_some() && book.cut_short != Some(true),
            CloseReason::CutShort => book.eof_at.is_some() && book.cut_short != Some(false),
            CloseReason::Local => book.closed_here,
            CloseReason::Drained => {
                let cut = book.receiving.is_some_and(|flow| flow.reply && !flow.skipped);
                assert!(!cut, "drained in the middle of a reply");
                book.drain_by.is_some() && book.sending.is_none() && book.owed.is_empty()
            }
            CloseReason::DrainDeadline => book.drain_by.is_some_and(|by| by <= book.seen),
            CloseReason::Protocol(error) => book.failed == Some(error),
            other @ (CloseReason::Transport(_) | _) => panic!("unexpected {other:?}"),
        };
        assert!(holds, "closed for a reason that is none: {why:?}");
    }
}

/// The deadline until which an end of the stream may leave replies owed
pub(super) fn eof_deadline<S: Slots<Tag = u32>>(end: &End<S>) -> Option<Instant> {
    end.book.eof_at.map(|at| at + end.conn.limits().get_call_timeout())
}

/// A line of the transcript
fn describe(incoming: &Incoming<'_, Fly, u32>) -> String {
    if let Incoming::Piece { bytes, left } = incoming {
        return format!("  piece of {} bytes, {left} left", bytes.len());
    }
    format!("  {incoming:?}")
}
