//! Two FlyRPC connections on virtual time

use core::time::Duration;

use flyrpc_core::fly::{Fly, Zip};
use flyrpc_core::{
    Body, Call, CallId, Connection, Event, Incoming, Instant, Limits, Refusal, Reply, ReplyToken, Slots,
    Table, What,
};

use crate::link::{Delivery, Link, LinkConfig};

/// One of the two ends
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Way 0 of the link leads from here
    A,
    /// Way 1 of the link leads from here
    B,
}

impl Side {
    /// The other one
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// A connection, its buffers, and the requests it owes answers to
#[derive(Debug)]
pub struct Peer<S: Slots<Tag = u32>> {
    /// The connection
    pub conn: Connection<Fly, S>,
    /// Received and not consumed
    pub inbox: Vec<u8>,
    /// Written and not sent
    pub outbox: Vec<u8>,
    /// Requests not answered yet, oldest first
    pub owed: Vec<Owed>,
    /// Tags of calls that are over, with how they ended
    pub over: Vec<(u32, String)>,
    /// Leave incoming bytes where they are
    pub paused: bool,
    eof: bool,
}

/// A request that waits for its answer
#[derive(Debug)]
pub struct Owed {
    /// Its method
    pub method: String,
    /// Its payload
    pub payload: Vec<u8>,
    /// Which of them are compressed
    pub zip: Zip,
    /// For the answer
    pub token: ReplyToken<Fly>,
    /// The peer has cancelled it
    pub cancelled: bool,
}

/// Two connections over a [`Link`], and a transcript of everything that happened
#[derive(Debug)]
pub struct Pair<S: Slots<Tag = u32> = Table<u32>> {
    /// Virtual time
    pub now: Instant,
    /// One end
    pub a: Peer<S>,
    /// The other end
    pub b: Peer<S>,
    /// What lies between
    pub link: Link,
    log: Vec<String>,
}

impl<S: Slots<Tag = u32>> Peer<S> {
    /// A peer with an open connection
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            conn: Connection::new(Fly::default(), limits),
            inbox: Vec::new(),
            outbox: Vec::new(),
            owed: Vec::new(),
            over: Vec::new(),
            paused: false,
            eof: false,
        }
    }

    /// Calls, without a link: the bytes stay in the outbox
    ///
    /// # Errors
    /// The connection's refusal.
    pub fn call(&mut self, now: Instant, method: &str, payload: &[u8], tag: u32) -> Result<CallId, Refusal> {
        self.call_with(now, Call::new(method, payload), tag)
    }

    /// Calls, without a link
    ///
    /// # Errors
    /// The connection's refusal.
    pub fn call_with(&mut self, now: Instant, call: Call<'_, Zip>, tag: u32) -> Result<CallId, Refusal> {
        self.conn.call(now, call, tag, &mut self.outbox).map_err(|refused| {
            assert_eq!(refused.back, tag, "a refused call gives its own tag back");
            refused.why
        })
    }

    /// Answers the request at `index` in [`owed`](Self::owed), without a link
    ///
    /// # Errors
    /// The connection's refusal.
    pub fn reply(&mut self, index: usize, reply: Reply<'_, Zip>) -> Result<(), Refusal> {
        let owed = self.owed.remove(index);
        self.conn.reply(owed.token, reply, &mut self.outbox).map_err(|refused| refused.why)
    }

    /// Cancels, without a link
    pub fn cancel(&mut self, call: CallId) -> bool {
        let tag = self.conn.cancel(call);
        self.over.extend(tag.map(|tag| (tag, "cancelled".to_owned())));
        tag.is_some()
    }

    /// Receives bytes, without a link, and tells what the connection makes of them, a line for each thing
    ///
    /// What it does not take (an incomplete packet, or all while it is blocked) stays in the inbox for the next time.
    pub fn feed(&mut self, now: Instant, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut inbox = core::mem::take(&mut self.inbox);
        inbox.extend_from_slice(bytes);
        let mut used = 0;
        loop {
            let step = match self.conn.handle_input(now, &inbox[used..]) {
                Ok(step) => step,
                Err(error) => {
                    lines.push(format!("error: {error}"));
                    break;
                }
            };
            used += step.consumed;
            match step.what {
                What::NeedMore { .. } => break,
                What::Blocked => {
                    lines.push("blocked".to_owned());
                    break;
                }
                What::Handled if step.consumed == 0 => break,
                What::Handled => {}
                What::Incoming(incoming) => lines.push(self.take(incoming)),
            }
        }
        self.inbox = inbox.split_off(used);
        lines
    }

    /// Lets the connection know the time, writes its own packets to the outbox, and tells its events
    pub fn poll(&mut self, now: Instant) -> Vec<String> {
        self.conn.handle_timeout(now);
        while let Ok(Some(_)) = self.conn.poll_transmit(&mut self.outbox) {}
        let mut lines = Vec::new();
        while let Some(event) = self.conn.poll_event() {
            lines.push(self.note(event));
        }
        lines
    }

    /// What was written since the last time
    pub fn sent(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.outbox)
    }

    /// Takes note of an incoming message and says what it was
    fn take(&mut self, incoming: Incoming<'_, Fly, u32>) -> String {
        match incoming {
            Incoming::Request { method, body, meta, token } => {
                let (method, payload) = (text(method), body.bytes().to_vec());
                let line = format!("request {method} {}", show(body));
                self.owed.push(Owed { method, payload, zip: meta, token, cancelled: false });
                line
            }
            Incoming::Notification { method, body, .. } => {
                format!("notification {} {}", text(method), show(body))
            }
            Incoming::Reply { tag, code: b"", body, .. } => self.end(tag, &format!("ok {}", show(body))),
            Incoming::Reply { tag, code, body, .. } => {
                self.end(tag, &format!("error {} {}", text(code), show(body)))
            }
            Incoming::BadReply { tag, why, .. } => self.end(tag, &format!("bad reply: {why}")),
            Incoming::Pong { tag, len, .. } => self.end(tag, &format!("pong of {len} bytes")),
            Incoming::Cancel { request } => {
                for owed in &mut self.owed {
                    owed.cancelled |= owed.token.key() == request;
                }
                format!("cancel of request {request}")
            }
            Incoming::Piece { bytes, left } => format!("piece of {} bytes, {left} left", bytes.len()),
            other => format!("unexpected {other:?}"),
        }
    }

    /// Takes note of an event and says what it was
    fn note(&mut self, event: Event<u32>) -> String {
        match event {
            Event::TimedOut { tag, .. } => self.end(tag, "timed out"),
            Event::Lost { tag, why, .. } => self.end(tag, &format!("lost: {why}")),
            Event::Closed { why } => format!("closed: {why}"),
            other => format!("unexpected {other:?}"),
        }
    }

    fn end(&mut self, tag: u32, outcome: &str) -> String {
        self.over.push((tag, outcome.to_owned()));
        format!("#{tag} {outcome}")
    }

    /// How the call with this tag ended; panics unless it ended exactly once
    #[must_use]
    pub fn outcome(&self, tag: u32) -> &str {
        let mut found = self.over.iter().filter(|(over, _)| *over == tag);
        match (found.next(), found.next()) {
            (Some((_, outcome)), None) => outcome,
            (None, _) => panic!("call {tag} is not over: {:?}", self.over),
            (Some(_), Some(_)) => panic!("call {tag} ended twice: {:?}", self.over),
        }
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new(Limits::new(), LinkConfig::default(), 1)
    }
}

impl<S: Slots<Tag = u32>> Pair<S> {
    /// Two open connections under the same limits
    #[must_use]
    pub fn new(limits: Limits, config: LinkConfig, seed: u64) -> Self {
        let link = Link::new(config, seed);
        Self { now: Instant::ZERO, a: Peer::new(limits.clone()), b: Peer::new(limits), link, log: Vec::new() }
    }

    /// One of the ends
    pub const fn peer(&mut self, side: Side) -> &mut Peer<S> {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// The transcript: a line for everything that happened, with its time
    #[must_use]
    pub fn transcript(&self) -> String {
        self.log.join("\n")
    }

    /// Adds a line to the transcript
    pub fn record(&mut self, side: Side, line: &str) {
        self.log.push(format!("{:>8} {} {line}", self.now.as_micros(), side.name()));
    }

    // ---- what the application wants

    /// Calls, under the default deadline
    ///
    /// # Errors
    /// The connection's refusal.
    pub fn call(&mut self, side: Side, method: &str, payload: &[u8], tag: u32) -> Result<CallId, Refusal> {
        self.call_with(side, Call::new(method, payload), tag)
    }

    /// Calls
    ///
    /// # Errors
    /// The connection's refusal.
    pub fn call_with(&mut self, side: Side, call: Call<'_, Zip>, tag: u32) -> Result<CallId, Refusal> {
        let now = self.now;
        let peer = self.peer(side);
        let result = peer.conn.call(now, call, tag, &mut peer.outbox);
        let line = match &result {
            Ok(_) => format!("call #{tag} {}", text(call.method)),
            Err(refused) => {
                assert_eq!(refused.back, tag, "a refused call gives its own tag back");
                format!("call #{tag} refused: {}", refused.why)
            }
        };
        self.record(side, &line);
        self.send(side);
        result.map_err(|refused| refused.why)
    }

    /// Sends a message that is not answered
    ///
    /// # Errors
    /// The connection's refusal.
    pub fn notify(&mut self, side: Side, method: &str, payload: &[u8]) -> Result<(), Refusal> {
        let now = self.now;
        let peer = self.peer(side);
        let result = peer
            .conn
            .notify(now, Call::new(method, payload), &mut peer.outbox)
            .map_err(|refused| refused.why);
        self.record(side, &format!("notify {method}"));
        self.send(side);
        result
    }

    /// Answers the request at `index` in [`Peer::owed`]
    ///
    /// # Errors
    /// The connection's refusal.
    pub fn reply(&mut self, side: Side, index: usize, reply: Reply<'_, Zip>) -> Result<(), Refusal> {
        let peer = self.peer(side);
        let Owed { method, token, .. } = peer.owed.remove(index);
        let result = peer.conn.reply(token, reply, &mut peer.outbox).map_err(|refused| refused.why);
        self.record(side, &format!("reply to {method}"));
        self.send(side);
        result
    }

    /// Answers every request that waits with its own payload
    pub fn echo_all(&mut self, side: Side) {
        while let Some(payload) = self.peer(side).owed.first().map(|owed| owed.payload.clone()) {
            if self.reply(side, 0, Reply::ok(&payload)).is_err() {
                return;
            }
        }
    }

    /// Pings
    ///
    /// # Errors
    /// The connection's refusal.
    pub fn ping(&mut self, side: Side, len: usize, timeout: Duration, tag: u32) -> Result<CallId, Refusal> {
        let now = self.now;
        let peer = self.peer(side);
        let result =
            peer.conn.ping(now, len, now + timeout, tag, &mut peer.outbox).map_err(|refused| refused.why);
        self.record(side, &format!("ping #{tag} of {len} bytes"));
        self.send(side);
        result
    }

    /// Cancels
    pub fn cancel(&mut self, side: Side, call: CallId) -> bool {
        let tag = self.peer(side).conn.cancel(call);
        if let Some(tag) = tag {
            let line = self.peer(side).end(tag, "cancelled");
            self.record(side, &line);
        }
        self.flush(side);
        tag.is_some()
    }

    /// Drains within `time`
    pub fn drain(&mut self, side: Side, time: Duration) {
        let now = self.now;
        self.peer(side).conn.drain(now, now + time);
        self.record(side, "drain");
        self.flush(side);
    }

    /// Closes this end; the other sees the end of the stream
    pub fn close(&mut self, side: Side) {
        self.peer(side).conn.close();
        self.link.half_close(way(side));
        self.flush(side);
    }

    // ---- what the world does

    /// Delivers what is due and lets both ends react; false when nothing happened
    pub fn step(&mut self) -> bool {
        let mut busy = false;
        for side in [Side::A, Side::B] {
            busy |= self.deliver(side);
            let now = self.now;
            self.peer(side).conn.handle_timeout(now);
            busy |= self.flush(side);
        }
        busy
    }

    /// Runs until nothing happens any more without time passing on to a call's deadline; panics after `max_steps`
    ///
    /// Time passes as the link needs it.
    pub fn drive(&mut self, max_steps: usize) {
        for _ in 0..max_steps {
            if self.step() {
                continue;
            }
            match self.link.next_due() {
                Some(due) => self.now = self.now.max(due),
                None => return,
            }
        }
        panic!("still busy after {max_steps} steps:\n{}", self.transcript());
    }

    /// Lets `time` pass, and everything happen that happens in it
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while self.step() {}
            let timers = [self.a.conn.poll_timeout(), self.b.conn.poll_timeout()].into_iter().flatten();
            let next = timers.chain(self.link.next_due()).filter(|due| *due > self.now).min();
            match next {
                Some(due) if due <= end => self.now = due,
                _ if self.now < end => self.now = end,
                _ => return,
            }
        }
    }

    /// Moves bytes from the link into the connection at `side`
    fn deliver(&mut self, side: Side) -> bool {
        if self.peer(side).paused {
            return false;
        }
        let mut busy = false;
        while let Some(delivery) = self.link.deliver(self.now, way(side.other())) {
            busy = true;
            match delivery {
                Delivery::Bytes(bytes) => self.peer(side).inbox.extend(bytes),
                Delivery::Eof => self.peer(side).eof = true,
            }
            self.handle(side);
        }
        busy
    }

    /// Hands the inbox to the connection
    fn handle(&mut self, side: Side) {
        let now = self.now;
        let mut inbox = core::mem::take(&mut self.peer(side).inbox);
        let mut used = 0;
        loop {
            let peer = self.peer(side);
            let step = match peer.conn.handle_input(now, &inbox[used..]) {
                Ok(step) => step,
                Err(error) => {
                    let line = format!("error: {error}");
                    if !self.log.last().is_some_and(|last| last.ends_with(&line)) {
                        self.record(side, &line);
                    }
                    used = inbox.len();
                    break;
                }
            };
            used += step.consumed;
            match step.what {
                What::NeedMore { .. } => break,
                What::Blocked => {
                    if !self.flush(side) {
                        break;
                    }
                }
                What::Handled if step.consumed == 0 => break,
                What::Handled => {}
                What::Incoming(incoming) => {
                    let line = peer.take(incoming);
                    self.record(side, &line);
                }
            }
        }
        inbox.drain(..used);
        let peer = self.peer(side);
        peer.inbox = inbox;
        if peer.eof {
            peer.eof = false;
            peer.conn.handle_eof(now);
            self.record(side, "end of stream");
        }
        self.flush(side);
    }

    /// Drains the connection's events and packets; true when there were any
    fn flush(&mut self, side: Side) -> bool {
        let mut busy = false;
        while let Some(event) = self.peer(side).conn.poll_event() {
            busy = true;
            let closed = matches!(event, Event::Closed { .. });
            let line = self.peer(side).note(event);
            self.record(side, &line);
            if closed {
                self.send(side);
                self.link.half_close(way(side));
            }
        }
        let peer = self.peer(side);
        while let Ok(Some(_)) = peer.conn.poll_transmit(&mut peer.outbox) {
            busy = true;
        }
        self.send(side);
        busy
    }

    fn send(&mut self, side: Side) {
        let bytes = core::mem::take(&mut self.peer(side).outbox);
        self.link.send(self.now, way(side), &bytes);
    }
}

const fn way(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn show(body: Body<'_>) -> String {
    match body {
        Body::Whole(bytes) if bytes.len() <= 32 => format!("{:?}", text(bytes)),
        Body::Whole(bytes) => format!("({} bytes)", bytes.len()),
        Body::Streamed(len) => format!("({len} bytes, streamed)"),
    }
}
