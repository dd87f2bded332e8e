//! Two connections, the streams between them, and what their owners do

use flyrpc_core::fly::{Capabilities, Flag, Fly, Zip, decode_head};
use flyrpc_core::{Call, Connection, Instant, Limits, NoRoom, Refusal, Reply, Sink, Slots, State};

use super::book::{Book, Fill, Flow, Kind, Owed, Sent, Waiting};
use super::op::{Answer, Op, Timeout};
use crate::Side;

/// Two connections, the streams between them, and beside each what must be true of it
#[derive(Clone)]
pub struct World<S: Slots<Tag = u32>> {
    pub(crate) now: Instant,
    pub(crate) ends: [End<S>; 2],
    /// The owners take all events and packets after each operation
    eager: bool,
    log: Option<Log>,
}

/// A connection, its buffers and its book
#[derive(Clone)]
pub(crate) struct End<S: Slots<Tag = u32>> {
    pub(crate) conn: Connection<Fly, S>,
    /// Slots, or what the sequences allow
    pub(super) capacity: u32,
    /// Written and not sent
    pub(crate) outbox: Vec<u8>,
    /// Bytes that the outbox may hold
    pub(crate) room: usize,
    /// Sent and not received
    pub(crate) wire: Vec<u8>,
    /// Nothing more can be sent
    pub(crate) wire_closed: bool,
    /// Received and not handled
    pub(crate) inbox: Vec<u8>,
    /// The connection would not take what lies in the inbox
    pub(crate) blocked: bool,
    pub(crate) book: Book,
}

impl<S: Slots<Tag = u32>> World<S> {
    /// Two open connections whose calls are numbered from `first` on
    #[must_use]
    pub fn new(limits: [Limits; 2], capacity: u32, first: [u32; 2], eager: bool) -> Self {
        let [a, b] = limits;
        Self {
            now: Instant::ZERO,
            ends: [End::new(a, capacity, first[0]), End::new(b, capacity, first[1])],
            eager,
            log: None,
        }
    }

    /// The same, where each side knows what the other can do
    #[must_use]
    pub fn introduced(mut self) -> Self {
        for end in &mut self.ends {
            end.conn.dialect_mut().learn(b"version=1\ncancel=1\n");
        }
        self
    }

    /// The same with a transcript, printed under this title if something fails
    #[must_use]
    pub fn logged(mut self, title: String) -> Self {
        self.log = Some(Log(vec![title]));
        self
    }

    /// Does it, and checks what must be true afterwards; false where there was nothing to do it with
    pub fn apply(&mut self, op: Op) -> bool {
        self.note(|| format!("{op:?}"));
        let done = self.perform(op);
        if self.eager && done {
            self.flush(Side::A);
            self.flush(Side::B);
        }
        self.ends.iter_mut().for_each(End::check);
        done
    }

    /// The lines of the transcript so far
    #[must_use]
    pub fn transcript(&self) -> &[String] {
        self.log.as_ref().map_or(&[], |log| &log.0)
    }

    /// Have both sides told their last?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ends.iter().all(|end| end.book.told)
    }

    /// The earliest time, still to come, that a connection asks for
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let timers = self.ends.iter().filter_map(|end| end.conn.poll_timeout());
        timers.filter(|at| *at > self.now && *at != Instant::FAR).min()
    }

    pub(super) fn end(&mut self, side: Side) -> (&mut End<S>, &mut End<S>) {
        let [a, b] = &mut self.ends;
        match side {
            Side::A => (a, b),
            Side::B => (b, a),
        }
    }

    /// Adds a line to the transcript
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now.as_micros();
        if let Some(log) = &mut self.log {
            log.0.push(format!("{now:>9} {}", line()));
        }
    }

    fn perform(&mut self, op: Op) -> bool {
        let now = self.now;
        match op {
            Op::Call { side, len, streamed, timeout } => self.call(side, Kind::Call, len, streamed, timeout),
            Op::Ping { side, len, timeout } => self.call(side, Kind::Ping, len, false, timeout),
            Op::Hello { side } => self.call(side, Kind::Hello, 0, false, Timeout::Default),
            Op::Notify { side, len, streamed } => {
                let refused = self.end(side).0.notify(now, len, streamed);
                self.note_refusal(refused);
            }
            Op::Reply { side, which, answer } => {
                let Some(place) = self.end(side).0.owed_place(which) else { return false };
                let refused = self.end(side).0.reply(place, answer);
                self.note_refusal(refused);
            }
            Op::Abandon { side, which } => return self.end(side).0.abandon(which),
            Op::Cancel { side, which } => return self.end(side).0.cancel(which),
            Op::SendBody { side, len, beyond } => return self.end(side).0.send_body(len, beyond),
            Op::Drain { side, timeout } => self.end(side).0.drain(now, timeout),
            Op::Close { side } => self.end(side).0.close(),
            Op::Deliver { side, len } => return self.deliver(side, len),
            Op::Poll { side } => self.poll(side),
            Op::Flush { side } => self.flush(side),
            Op::Pass { micros } => self.pass(now + core::time::Duration::from_micros(u64::from(micros))),
            Op::NextTimer => match self.next_timer() {
                Some(at) => self.pass(at),
                None => return false,
            },
            Op::Room { side, bytes } => self.end(side).0.room = bytes as usize,
            Op::HalfClose { side } => self.end(side).0.wire_closed = true,
            Op::Cut => self.cut(),
            Op::Round { side, calls } => return self.end(side).0.round(now, calls),
        }
        true
    }

    fn note_refusal(&mut self, refused: Option<Refusal>) {
        if let Some(why) = refused {
            self.note(|| format!("  refused: {why}"));
        }
    }

    fn call(&mut self, side: Side, kind: Kind, len: u32, streamed: bool, timeout: Timeout) {
        let now = self.now;
        let line = self.end(side).0.call(now, kind, len, streamed, timeout);
        self.note(|| line);
    }

    fn pass(&mut self, to: Instant) {
        self.now = to;
        for end in &mut self.ends {
            end.conn.handle_timeout(to);
            end.book.seen = end.book.seen.max(to);
        }
    }

    fn cut(&mut self) {
        for end in &mut self.ends {
            end.wire.clear();
            end.wire_closed = true;
        }
        self.end_of_stream(Side::A);
        self.end_of_stream(Side::B);
    }

    /// Takes all there is to take, and sends what was written
    pub(super) fn flush(&mut self, side: Side) {
        loop {
            while self.next_event(side) {}
            let end = self.end(side).0;
            end.send();
            match end.transmit() {
                Ok(true) => {}
                Ok(false) => break,
                Err(NoRoom { need }) => {
                    assert!(need > end.room, "no room in an empty sink");
                    break;
                }
            }
        }
        self.end(side).0.check_idle();
    }

    fn poll(&mut self, side: Side) {
        self.next_event(side);
        // Whether there was room is no matter here.
        let _: Result<bool, NoRoom> = self.end(side).0.transmit();
    }
}

/// A vector that holds so much and no more
struct Room<'v> {
    bytes: &'v mut Vec<u8>,
    room: usize,
}

impl Sink for Room<'_> {
    fn packet(&mut self, head: usize, body: &[u8], tail: &[u8]) -> Result<&mut [u8], NoRoom> {
        let need = head + body.len() + tail.len();
        if self.bytes.len() + need > self.room {
            return Err(NoRoom { need });
        }
        self.bytes.packet(head, body, tail)
    }
}

/// What the owner does with one end
impl<S: Slots<Tag = u32>> End<S> {
    fn new(limits: Limits, capacity: u32, first: u32) -> Self {
        Self {
            conn: Connection::new(Fly::default(), limits).first_sequence(first),
            capacity,
            outbox: Vec::new(),
            room: usize::MAX,
            wire: Vec::new(),
            wire_closed: false,
            inbox: Vec::new(),
            blocked: false,
            book: Book::new(),
        }
    }

    /// Tells the connection the time
    pub(super) fn tick(&mut self, now: Instant) {
        self.book.seen = self.book.seen.max(now);
    }

    fn call(&mut self, now: Instant, kind: Kind, len: u32, streamed: bool, timeout: Timeout) -> String {
        self.tick(now);
        let tag = self.book.next_tag;
        let list = Capabilities::ours(self.conn.limits()).to_list();
        let len = if kind == Kind::Hello { list.len() as u32 } else { len };
        let payload = match kind {
            Kind::Hello => list.as_bytes().to_vec(),
            Kind::Call | Kind::Ping => Fill(tag as u8).bytes(0, len),
        };
        let method = match kind {
            Kind::Call => "call",
            Kind::Ping => "$ping",
            Kind::Hello => "$hello",
        };
        let need = head_len(method, len) + if streamed { 0 } else { len as usize };
        let expected = self.refusal(true, kind != Kind::Ping, method, len, need);
        let start = self.outbox.len();
        let mut call: Call<'_, Zip> =
            if streamed { Call::streamed(method, u64::from(len)) } else { Call::new(method, &payload) };
        call.deadline = timeout.after(now);
        let default = self.book.seen + self.conn.limits().get_call_timeout();
        let deadline = match kind {
            Kind::Ping => timeout.after(now).unwrap_or(now + core::time::Duration::from_millis(300)),
            Kind::Call | Kind::Hello => call.deadline.unwrap_or(default),
        };
        let mut out = Room { bytes: &mut self.outbox, room: self.room };
        let result = match kind {
            Kind::Ping => self.conn.ping(now, len as usize, deadline, tag, &mut out),
            Kind::Call | Kind::Hello => self.conn.call(now, call, tag, &mut out),
        };
        let id = match result {
            Ok(id) => id,
            Err(refused) => {
                assert_eq!(refused.back, tag, "a refused call gives its own tag back");
                let resting = refused.why == Refusal::TooManyInFlight { in_flight: self.conn.in_flight() }
                    && self.book.may_lack_sequences();
                assert!(resting || Some(refused.why) == expected, "{:?}, not {expected:?}", refused.why);
                assert_eq!(self.outbox.len(), start, "a refused call was written");
                return format!("  refused: {}", refused.why);
            }
        };
        assert_eq!(expected, None, "call {tag} should have been refused");
        assert_eq!(self.outbox.len(), start + need);
        let sequence = self.written(start).0;
        self.book.check_sequence(sequence);
        self.book.calls.push(Waiting { tag, id, sequence, deadline, kind });
        self.book.next_tag += 1;
        self.push(Sent::Request { kind, tag, sequence, len }, streamed);
        format!("  #{tag}, sequence {sequence}")
    }

    fn notify(&mut self, now: Instant, len: u32, streamed: bool) -> Option<Refusal> {
        self.tick(now);
        let id = self.book.next_note;
        let sent = Sent::Notification { id, len };
        let payload = Fill(id ^ 0x55).bytes(0, len);
        let need = head_len("note", len) + if streamed { 0 } else { len as usize };
        let expected = self.refusal(false, true, "note", len, need);
        let start = self.outbox.len();
        let call =
            if streamed { Call::streamed("note", u64::from(len)) } else { Call::new("note", &payload) };
        let mut out = Room { bytes: &mut self.outbox, room: self.room };
        let refused = self.conn.notify(now, call, &mut out).err().map(|refused| refused.why);
        assert_eq!(refused, expected);
        if refused.is_none() {
            // Enough to tell neighbours from each other, and few enough states.
            self.book.next_note = (id + 1) % 4;
            self.push(sent, streamed);
        }
        assert_eq!(self.outbox.len(), start + if refused.is_none() { need } else { 0 });
        refused
    }

    fn owed_place(&self, which: u8) -> Option<usize> {
        usize::from(which).checked_rem(self.book.owed.len())
    }

    fn reply(&mut self, place: usize, answer: Answer) -> Option<Refusal> {
        let Owed { token, tag } = self.book.owed.remove(place);
        let sent = Sent::Reply { tag, sequence: token.key(), answer };
        let len = answer.len();
        let payload = Fill(tag as u8 ^ 0xaa).bytes(0, len);
        let streamed = matches!(answer, Answer::Streamed(_));
        let (code, reply): (&str, Reply<'_, Zip>) = match answer {
            Answer::Ok(_) => ("", Reply::ok(&payload)),
            Answer::Ack => ("", Reply::ack()),
            Answer::Error(_) => ("FAIL", Reply::error("FAIL", &payload)),
            Answer::Streamed(len) => ("", Reply::streamed(u64::from(len))),
        };
        let need = head_len(code, len) + if streamed { 0 } else { len as usize };
        let expected = match self.conn.state() {
            State::Closed => Some(Refusal::Closed),
            State::Open | State::Draining => self.send_refusal(true, code, len, need),
        };
        let start = self.outbox.len();
        let mut out = Room { bytes: &mut self.outbox, room: self.room };
        match self.conn.reply(token, reply, &mut out) {
            Ok(()) => {
                assert_eq!(expected, None);
                self.push(sent, streamed);
                assert_eq!(self.outbox.len(), start + need);
                None
            }
            Err(refused) => {
                assert_eq!(Some(refused.why), expected);
                assert_eq!(self.outbox.len(), start);
                self.book.owed.insert(place, Owed { token: refused.back, tag });
                expected
            }
        }
    }

    fn abandon(&mut self, which: u8) -> bool {
        let Some(place) = self.owed_place(which) else { return false };
        self.conn.abandon(self.book.owed.remove(place).token);
        true
    }

    fn cancel(&mut self, which: u8) -> bool {
        let ids = self.book.calls.iter().map(|call| call.id).chain(self.book.stale.iter().copied());
        let ids: Vec<_> = ids.collect();
        let Some(place) = usize::from(which).checked_rem(ids.len()) else { return false };
        let ended = self.conn.state() == State::Closed || self.book.eof_at.is_some();
        let call = self.book.calls.get(place);
        let expected = call.filter(|call| call.deadline > self.book.seen && !ended).map(|call| call.tag);
        assert_eq!(self.conn.cancel(ids[place]), expected);
        if let Some(tag) = expected {
            let call = self.book.end(tag, ids[place]);
            self.give_up(call.sequence);
        }
        expected.is_some()
    }

    /// A call was cancelled, or timed out
    pub(super) fn give_up(&mut self, sequence: u16) {
        self.book.rest(sequence, self.book.seen + self.conn.limits().get_quarantine());
        if self.conn.dialect().peer().cancel {
            self.book.cancelled.push(sequence);
        }
    }

    fn send_body(&mut self, len: u32, beyond: bool) -> bool {
        let left = self.book.sending.map_or(0, |flow| flow.left);
        if left == 0 && !beyond {
            return false;
        }
        let len = if beyond { left + 1 } else { len.min(left) };
        let flow = self.book.sending;
        let start = flow.map_or(0, |flow| flow.len - flow.left);
        let bytes = flow.and_then(|flow| flow.fill).unwrap_or(Fill(0)).bytes(start, len);
        let mut out = Room { bytes: &mut self.outbox, room: self.room };
        let result = self.conn.send_body(&bytes, &mut out);
        if self.conn.state() == State::Closed {
            assert_eq!(result, Err(Refusal::Closed));
        } else if beyond {
            assert_eq!(result, Err(Refusal::BodyTooLong { left: u64::from(left) }));
        } else if let Ok(now_left) = result {
            assert_eq!(now_left, u64::from(left - len));
            self.book.sending =
                flow.map(|flow| Flow { left: left - len, ..flow }).filter(|flow| flow.left > 0);
        } else {
            assert_eq!(result, Err(Refusal::NoRoom { need: len as usize }));
            assert!(self.outbox.len() + len as usize > self.room);
        }
        result.is_ok()
    }

    fn drain(&mut self, now: Instant, timeout: Timeout) {
        self.tick(now);
        let by = timeout.after(now).unwrap_or(now + core::time::Duration::from_secs(1));
        self.conn.drain(now, by);
        self.book.drain_by = Some(self.book.drain_by.map_or(by, |before| before.min(by)));
    }

    fn close(&mut self) {
        self.book.closed_here |= self.conn.state() != State::Closed;
        self.conn.close();
    }

    /// Writes the next packet of the connection's own; false when there is none
    fn transmit(&mut self) -> Result<bool, NoRoom> {
        let start = self.outbox.len();
        let mut out = Room { bytes: &mut self.outbox, room: self.room };
        let Some(sent) = self.conn.poll_transmit(&mut out)? else { return Ok(false) };
        assert_eq!(self.outbox.len(), start + sent.len);
        let (sequence, flag, len) = self.written(start);
        let sent = if flag.is_response() {
            Sent::Own { sequence, len }
        } else {
            let [.., high, low] = self.outbox[..] else { panic!("a `$cancel` without a sequence") };
            let sequence = u16::from_be_bytes([high, low]);
            let place = self.book.cancelled.iter().position(|cancelled| *cancelled == sequence);
            // Those before it were lost in a full queue.
            self.book.cancelled.drain(..=place.expect("only calls that were given up are cancelled"));
            Sent::Cancel { sequence }
        };
        assert_eq!(self.book.sending, None, "a packet inside another's body");
        self.push(sent, false);
        Ok(true)
    }

    /// Too little room for packets of the connection's own
    pub(super) const fn has_no_room(&self) -> bool {
        self.room < 80
    }

    /// Gives what was written to the stream
    pub(super) fn send(&mut self) {
        if !self.wire_closed {
            self.wire.append(&mut self.outbox);
        }
        self.outbox.clear();
    }

    /// Calls that are answered at once, to bring the sequences round
    fn round(&mut self, now: Instant, calls: u32) -> bool {
        let limit = self.conn.limits().get_max_in_flight().min(self.capacity);
        let possible = self.conn.state() == State::Open
            && self.book.eof_at.is_none()
            && self.book.sending.is_none()
            && self.book.receiving.is_none()
            && self.inbox.is_empty()
            && (self.book.calls.len() as u32) < limit;
        if !possible {
            return false;
        }
        self.tick(now);
        let mut out = Vec::new();
        for _ in 0..calls {
            out.clear();
            let tag = self.book.next_tag;
            let call: Call<'_, Zip> = Call::new("", b"").deadline(Instant::FAR);
            let Ok(id) = self.conn.call(now, call, tag, &mut out) else {
                assert!(self.book.may_lack_sequences(), "no sequence is free though none rests");
                return true;
            };
            let sequence = u16::from_be_bytes([out[1], out[2]]);
            self.book.check_sequence(sequence);
            let [high, low] = sequence.to_be_bytes();
            let answer = [0x80, high, low, 0, 0];
            let Ok(step) = self.conn.handle_input(now, &answer) else { panic!("a reply is a reply") };
            if step.consumed == 0 {
                // Its own packets must leave first; so the call waits like any other.
                let deadline = Instant::FAR;
                self.book.calls.push(Waiting { tag, id, sequence, deadline, kind: Kind::Call });
                self.book.next_tag += 1;
                return true;
            }
            assert!(
                matches!(step.what, flyrpc_core::What::Incoming(flyrpc_core::Incoming::Reply { tag: t, .. }) if t == tag)
            );
        }
        true
    }

    /// Notes that a packet was written
    fn push(&mut self, sent: Sent, streamed: bool) {
        let (fill, len) = (sent.fill(), sent.len());
        if streamed && len > 0 {
            self.book.sending = Some(Flow { fill, len, left: len, skipped: false, reply: false });
        }
        if !self.wire_closed {
            self.book.sent.push_back(sent);
        }
    }

    /// Sequence, flag and payload length of the packet that was written at `start`
    fn written(&self, start: usize) -> (u16, Flag, u32) {
        match decode_head(&self.outbox[start..], usize::MAX) {
            Ok(Ok(head)) => (head.sequence, head.flag, head.payload_len as u32),
            other => panic!("not a packet: {other:?}"),
        }
    }

    /// Why a request or notification must be refused now, if it must
    fn refusal(&self, slot: bool, names: bool, method: &str, len: u32, need: usize) -> Option<Refusal> {
        let in_flight = self.book.calls.len() as u32;
        let capacity = self.conn.limits().get_max_in_flight().min(self.capacity);
        let sending = self.book.sending.map_or(0, |flow| u64::from(flow.left));
        match self.conn.state() {
            State::Closed => Some(Refusal::Closed),
            State::Draining if self.book.eof_at.is_some() => Some(Refusal::Closed),
            State::Draining => Some(Refusal::Draining),
            State::Open if sending > 0 => Some(Refusal::BodyInProgress { left: sending }),
            State::Open if slot && in_flight >= capacity => Some(Refusal::TooManyInFlight { in_flight }),
            State::Open => self.send_refusal(names, method, len, need),
        }
    }

    fn send_refusal(&self, names: bool, method: &str, len: u32, need: usize) -> Option<Refusal> {
        let sending = self.book.sending.map_or(0, |flow| u64::from(flow.left));
        let peer_takes = self.conn.dialect().peer().max_payload.unwrap_or(u32::MAX);
        if sending > 0 {
            Some(Refusal::BodyInProgress { left: sending })
        } else if len > peer_takes {
            Some(Refusal::TooLarge { len: u64::from(len), limit: u64::from(peer_takes) })
        } else if names && method.len() > usize::from(self.conn.limits().get_max_method()) {
            Some(Refusal::BadMethod)
        } else if self.outbox.len() + need > self.room {
            Some(Refusal::NoRoom { need })
        } else {
            None
        }
    }
}

/// Bytes of a packet in front of its payload
const fn head_len(method: &str, len: u32) -> usize {
    4 + method.len() + if len > 0xffff { 4 } else { 1 + (len > 0xff) as usize }
}

/// A transcript that is printed when its world ends in a panic
#[derive(Clone)]
struct Log(Vec<String>);

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0.join("\n"));
        }
    }
}
