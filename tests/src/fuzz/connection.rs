//! Arbitrary bytes as what a peer sends

use core::time::Duration;

use flyrpc_core::fly::Fly;
use flyrpc_core::{
    Body, Call, Connection, Event, Incoming, Instant, Limits, Overload, Oversize, ProtocolError, Refusal,
    Reply, ReplyToken, State, Table, What,
};

use crate::Rng;

/// Feeds one connection with what `data` holds behind its first four bytes
///
/// The four are: limits (two bytes, see `limits` below), calls and pings in flight (low and high half), seed of the cuts.
///
/// Whatever the bytes are and however they are cut: the same events; every tag comes back exactly once; what is held stays
/// within the limits; a protocol error is told once, with its place, and stays.
pub fn connection(data: &[u8]) {
    let Some((&[low, high, calls, seed], stream)) = data.split_first_chunk::<4>() else { return };
    let limits = limits(u16::from_be_bytes([low, high]));
    let run = |cuts: &mut dyn FnMut(usize) -> usize| Run::new(&limits, calls).feed(stream, cuts);
    let whole = run(&mut |left| left);
    if stream.len() <= 600 {
        assert_eq!(run(&mut |_| 1), whole, "byte by byte");
    }
    let mut rng = Rng::new(u64::from(seed));
    let mut cuts = |left: usize| 1 + rng.below(left.min(1 + usize::from(seed)) as u64) as usize;
    assert_eq!(run(&mut cuts), whole, "cut by seed {seed}");
}

/// Small limits, each of a few values, so that all of them are met
fn limits(choice: u16) -> Limits {
    let pick = |shift: u16, of: [u32; 4]| of[usize::from(choice >> shift & 3)];
    let payload = pick(0, [1 << 16, 16, 3, 0]);
    Limits::new()
        .max_payload(payload)
        .max_body(u64::from(payload) + u64::from(pick(2, [1 << 20, 300, 8, 0])))
        .max_method(pick(4, [1024, 16, 7, 0]) as u16)
        .max_unanswered(pick(6, [1024, 2, 1, 0]))
        .max_in_flight(pick(8, [60_000, 8, 2, 1]))
        .oversize(if choice & 0x400 == 0 { Oversize::Refuse } else { Oversize::Stream })
        .overload(if choice & 0x800 == 0 { Overload::Refuse } else { Overload::Wait })
        .call_timeout(Duration::from_secs(5))
}

/// Everything that was seen of one connection; the pieces of a body are joined
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    events: Vec<String>,
    sent: Vec<u8>,
    bodies: Vec<(Vec<u8>, u64)>,
    consumed: usize,
}

struct Run {
    conn: Connection<Fly, Table<u32>>,
    /// Tags that have not come back
    waiting: Vec<u32>,
    owed: Vec<ReplyToken<Fly>>,
    requests: usize,
    error: Option<ProtocolError>,
    /// A request waits for a reply that nobody can give: its limit is 0
    stuck: bool,
    seen: Seen,
}

const NOW: Instant = Instant::ZERO;

impl Run {
    fn new(limits: &Limits, calls: u8) -> Self {
        let mut run = Self {
            conn: Connection::new(Fly::default(), limits.clone()),
            waiting: Vec::new(),
            owed: Vec::new(),
            requests: 0,
            error: None,
            stuck: false,
            seen: Seen::default(),
        };
        let mut out = Vec::new();
        for tag in 0..u32::from(calls & 15) + u32::from(calls >> 4) {
            let accepted = if tag < u32::from(calls & 15) {
                run.conn.call(NOW, Call::new("", b""), tag, &mut out)
            } else {
                run.conn.ping(NOW, 3, NOW + Duration::from_secs(1), tag, &mut out)
            };
            match accepted {
                Ok(_) => run.waiting.push(tag),
                Err(refused) => {
                    assert_eq!(refused.back, tag);
                    assert!(run.waiting.len() as u32 >= limits.get_max_in_flight());
                }
            }
        }
        run
    }

    fn feed(mut self, stream: &[u8], cuts: &mut dyn FnMut(usize) -> usize) -> Seen {
        let mut end = 0;
        let mut more = true;
        while more && end < stream.len() {
            end += cuts(stream.len() - end);
            more = self.handle(&stream[..end]);
            self.check();
        }
        self.finish();
        self.seen
    }

    /// Hands in what has come so far; false when nothing more can be taken
    fn handle(&mut self, input: &[u8]) -> bool {
        loop {
            let rest = &input[self.seen.consumed..];
            let step = match self.conn.handle_input(NOW, rest) {
                Ok(step) => step,
                Err(error) => {
                    let consumed = self.seen.consumed as u64;
                    let header = 3 + u64::from(self.conn.limits().get_max_method()) + 1;
                    assert!((consumed..=consumed + header).contains(&error.offset), "{error}");
                    self.error = Some(error);
                    return false;
                }
            };
            assert!(step.consumed <= rest.len());
            self.seen.consumed += step.consumed;
            assert_eq!(self.conn.position(), self.seen.consumed as u64);
            match step.what {
                What::NeedMore { at_least } => {
                    let limits = self.conn.limits();
                    let longest =
                        12 + usize::from(limits.get_max_method()) + limits.get_max_payload() as usize;
                    assert!(step.consumed == 0 && rest.len() < at_least && at_least <= longest);
                    return true;
                }
                What::Blocked => {
                    assert_eq!(step.consumed, 0);
                    // The queue is emptied after each step, so only a reply can help.
                    assert_eq!(self.conn.limits().get_overload(), Overload::Wait);
                    assert_eq!(self.conn.unanswered(), self.conn.limits().get_max_unanswered());
                    if self.owed.is_empty() {
                        self.stuck = true;
                        return false;
                    }
                    self.answer();
                }
                What::Handled => assert!(step.consumed > 0),
                What::Incoming(incoming) => {
                    assert!(step.consumed > 0);
                    self.take(incoming);
                }
            }
            while let Ok(Some(sent)) = self.conn.poll_transmit(&mut self.seen.sent) {
                assert!(sent.len <= 80, "a packet of the core's own is small");
            }
            assert_eq!(self.conn.poll_event(), None, "nothing has happened but input");
        }
    }

    fn take(&mut self, incoming: Incoming<'_, Fly, u32>) {
        let event = match incoming {
            Incoming::Request { method, body, meta, token } => {
                let event = format!("request {token:?} {method:x?} {meta:?}");
                self.body(method, body);
                self.owed.push(token);
                self.requests += 1;
                if self.requests.is_multiple_of(3) {
                    self.answer();
                }
                event
            }
            Incoming::Notification { method, body, meta } => {
                self.body(method, body);
                format!("notification {method:x?} {meta:?}")
            }
            Incoming::Reply { call, tag, code, body, meta } => {
                self.over(tag);
                self.body(code, body);
                format!("reply {call:?} {tag} {code:x?} {meta:?}")
            }
            Incoming::BadReply { call, tag, why } => {
                self.over(tag);
                format!("bad reply {call:?} {tag} {why}")
            }
            Incoming::Pong { call, tag, len } => {
                self.over(tag);
                format!("pong {call:?} {tag} {len}")
            }
            Incoming::Piece { bytes, left } => {
                let (body, missing) = self.seen.bodies.last_mut().expect("a piece of an announced body");
                body.extend(bytes);
                *missing -= bytes.len() as u64;
                assert_eq!(*missing, left);
                return;
            }
            Incoming::Cancel { request } => format!("cancel {request}"),
            other => panic!("unexpected {other:?}"),
        };
        self.seen.events.push(event);
    }

    fn body(&mut self, method: &[u8], body: Body<'_>) {
        let limits = self.conn.limits();
        assert!(method.len() <= usize::from(limits.get_max_method()));
        let missing = match body {
            Body::Whole(bytes) => {
                assert!(bytes.len() <= limits.get_max_payload() as usize);
                0
            }
            Body::Streamed(len) => {
                assert_eq!(limits.get_oversize(), Oversize::Stream);
                assert!(len > u64::from(limits.get_max_payload()) && len <= limits.get_max_body());
                len
            }
        };
        self.seen.bodies.push((body.bytes().to_vec(), missing));
    }

    fn over(&mut self, tag: u32) {
        let place = self.waiting.iter().position(|waiting| *waiting == tag);
        self.waiting.swap_remove(place.unwrap_or_else(|| panic!("tag {tag} came back twice")));
    }

    /// Answers the oldest request
    fn answer(&mut self) {
        let token = self.owed.remove(0);
        let reply = if self.requests.is_multiple_of(2) { Reply::ok(b"yes") } else { Reply::ack() };
        if let Err(refused) = self.conn.reply(token, reply, &mut self.seen.sent) {
            // A `$hello` may say that the peer takes nothing longer.
            assert!(matches!(refused.why, Refusal::TooLarge { .. }), "{}", refused.why);
            self.conn.abandon(refused.back);
        }
    }

    fn check(&self) {
        assert_eq!(self.conn.in_flight() as usize, self.waiting.len());
        assert_eq!(self.conn.unanswered() as usize, self.owed.len());
        assert!(self.conn.unanswered() <= self.conn.limits().get_max_unanswered());
    }

    /// The stream ends here; everything must be over then
    fn finish(&mut self) {
        if let Some(error) = self.error {
            assert_eq!(self.conn.handle_input(NOW, b"more").err(), Some(error), "the error stays");
            assert_eq!(self.conn.handle_input(NOW, b"").err(), Some(error), "the error stays");
        }
        self.conn.handle_eof(NOW);
        while let Some(token) = self.owed.pop() {
            self.conn.abandon(token);
        }
        let mut closed = None;
        while let Some(event) = self.conn.poll_event() {
            assert_eq!(closed, None, "the last event was not the last");
            match event {
                Event::Lost { tag, .. } => self.over(tag),
                Event::Closed { why } => closed = Some(why),
                Event::TimedOut { tag, .. } => panic!("no time has passed, yet call {tag} timed out"),
                other => panic!("unexpected {other:?}"),
            }
        }
        self.check();
        assert!(self.waiting.is_empty(), "calls hang: {:?}", self.waiting);
        let why = closed.expect("the connection has ended");
        assert_eq!((self.conn.state(), self.conn.close_reason()), (State::Closed, Some(why)));
        // An end of the stream in front of a message that was not taken has no name of its own.
        if !self.stuck {
            self.seen.events.push(format!("{why}"));
        }
        let refused = self.conn.call(NOW, Call::new("", b""), 99, &mut self.seen.sent);
        assert_eq!(refused.map_err(|refused| (refused.why, refused.back)), Err((Refusal::Closed, 99)));
        assert_eq!(self.conn.poll_timeout(), None);
    }
}
