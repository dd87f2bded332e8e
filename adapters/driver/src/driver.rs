//! What drives a connection: reads, handles, answers, writes, and watches the clock
//!
//! One task per connection. It reads whenever the peer has sent something, also while a write waits, so two peers never
//! wait for each other's reading. What it does per poll is bounded; then other tasks get their turn.

use core::future::Future;
use core::ops::Range;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::task::{Context as Poller, Poll, Waker};
use core::time::Duration;
use std::io::IoSlice;
use std::panic::catch_unwind;
use std::sync::Arc;

use bytes::Bytes;
use flyrpc_core::fly::zip::{Unzip, ZipError};
use flyrpc_core::fly::{Flag, Fly, RawPacket, Zip, codes};
use flyrpc_core::{CloseReason, Incoming, Instant, Loss, Overload, ReplyToken, What};

use crate::calls::Done;
use crate::inbox::{Inbox, range_of};
use crate::lane::{self, LaneTask};
use crate::link::{Guard, HELLO, KEEPALIVE, Link, State};
use crate::out::{Out, PARTS};
use crate::running::Running;
use crate::runtime::{Runtime, Timer, Transport};
use crate::{
    Context, Direction, Dispatched, Error, Outcome, Packet, Peer, Request, RequestId, UnreadableReply,
};

/// Drives a connection until it has ended, and tells what ended it
///
/// A future to be spawned, or polled in any other way. Dropping it ends the connection at once.
#[must_use = "a connection does nothing unless its driver is polled"]
pub(crate) struct Driver<R: Runtime, T: Transport> {
    link: Arc<Link>,
    io: Io<R, T>,
}

/// All of the driver that nobody else touches
struct Io<R: Runtime, T: Transport> {
    transport: T,
    timer: Option<R::Timer>,
    /// When the timer expires
    armed: Instant,
    inbox: Inbox,
    /// What is being written, and how much of it answers the peer's packets
    batch: Out,
    batch_owed: usize,
    /// Since when the socket takes nothing
    stalled: Option<Instant>,
    items: Vec<Item>,
    wakers: Vec<Waker>,
    /// What handlers gave back, encoded by now: the application's buffers, not to be dropped under the lock
    spent: Vec<Outcome>,
    /// Packets for the hook that sees all
    seen: Vec<Bytes>,
    unzip: Unzip,
    /// Tasks woken since the last turn
    woken: usize,
    /// The driver comes again by its own will, after the others that are ready
    own_turn: bool,
    /// The inbox holds more than was handled
    more: bool,
    /// Why packets are left unhandled
    held: Held,
    eof: bool,
    last_in: Instant,
    /// A ping of the driver's own that nothing was received after
    ping: Option<Instant>,
    /// The buffers were given back in this poll
    released: bool,
    ending: Ending,
}

/// Why packets are left unhandled until something makes way
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// They are not
    Not,
    /// Too much waits to be sent, or for handlers: [`take_more`] tells
    Owed,
    /// As many handlers run as may
    Handlers,
}

/// How far the end of a connection has come
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It has not ended
    Not,
    /// What was encoded is still to be sent, by then at the latest
    Flushing(Instant),
    /// The outgoing direction is closed; the peer has until then to close its own
    Lingering(Instant),
    /// Nothing more is sent or received
    Over,
}

/// What a packet wants to be done outside the lock, and then what came of it
enum Item {
    Request(Packet, ReplyToken<Fly>, RequestId, Instant),
    Message(Packet),
    Answer(ReplyToken<Fly>, RequestId, Outcome),
    Nothing,
}

/// Packets handled under one lock, and at most between two flushes
///
/// Callers that are woken fill the scheduler's queue, which for tokio holds 256; beyond that it gets unfair.
const BATCH: usize = 128;
/// Fewer packets than this are not worth a write of their own
const LEAST_BATCH: usize = 16;
/// Rounds of reading per poll, and of writing before something is read
const ROUNDS: usize = 8;
/// How long a drained connection waits for the peer to close
const LINGER: Duration = Duration::from_secs(1);
/// A connection on which nothing has happened for this long gives its buffers back
const IDLE: Duration = Duration::from_secs(1);
/// Most bytes of refusals beyond the owed buffer; then reading stops
const MAX_REFUSALS: usize = 256 << 10;

impl<R: Runtime, T: Transport> Driver<R, T> {
    pub(crate) fn new(link: Arc<Link>, transport: T) -> Self {
        let io = Io {
            transport,
            timer: None,
            armed: Instant::FAR,
            inbox: Inbox::default(),
            batch: Out::default(),
            batch_owed: 0,
            stalled: None,
            items: Vec::new(),
            wakers: Vec::new(),
            spent: Vec::new(),
            seen: Vec::new(),
            unzip: Unzip::new(),
            woken: 0,
            own_turn: false,
            more: false,
            held: Held::Not,
            eof: false,
            last_in: link.now(),
            ping: None,
            released: false,
            ending: Ending::Not,
        };
        Self { link, io }
    }
}

impl<R: Runtime, T: Transport> Future for Driver<R, T> {
    type Output = CloseReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<CloseReason> {
        let Self { link, io } = self.get_mut();
        let mut state = link.lock();
        let moved = match &mut state.driver {
            Some(waker) if waker.will_wake(cx.waker()) => false,
            driver => driver.replace(cx.waker().clone()).is_some(),
        };
        if moved && let Some(timer) = &mut io.timer {
            let _ = timer.poll_expired(cx);
        }
        if state.turn && !io.own_turn {
            // Others that are ready may have something to send as well: one write takes it all.
            io.own_turn = true;
            drop(state);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        io.own_turn = false;
        io.woken = 0;
        state.now = link.now();
        // Until this poll is over nobody need tell the driver of what it will send anyway.
        state.turn = true;
        let due = state.now >= io.armed;
        if due {
            (io.armed, state.armed) = (Instant::FAR, Instant::FAR);
            let now = state.now;
            io.tick(&mut state, now);
        }
        state = io.work(link, state, cx);
        let now = state.now;
        if due {
            io.check_peer(link, &mut state, now);
        }
        if let Some(why) = state.closed {
            state = io.end(link, state, why, now, cx);
            if io.ending == Ending::Over {
                io.finish(link, state);
                return Poll::Ready(why);
            }
        }
        if core::mem::take(&mut io.released) {
            // The read that waits has taken a new buffer, which it does not need before something comes.
            io.inbox.release();
        }
        let again = io.arm(&mut state, link, now, cx);
        // What was encoded, or made way, while the lock was free, by those who knew of this poll.
        let unsent = !(state.writing || state.out.is_empty() && state.begun.is_empty());
        let freed = io.held != Held::Not && !state.held;
        io.own_turn = again || unsent || freed || io.more || io.defers(&state);
        state.turn = io.own_turn;
        drop(state);
        if io.own_turn {
            cx.waker().wake_by_ref();
        }
        io.wake();
        io.spent.clear();
        Poll::Pending
    }
}

impl<R: Runtime, T: Transport> Io<R, T> {
    /// Handles what was received, sends, receives more, as long as it goes without waiting
    fn work<'a>(&mut self, link: &'a Arc<Link>, mut state: Guard<'a>, cx: &mut Poller<'_>) -> Guard<'a> {
        let now = state.now;
        // What callers have encoded since the last turn leaves before more of them are woken.
        state = self.flush(link, state, now, cx);
        for round in 0..=ROUNDS {
            let now = state.now;
            state = self.handle(link, state, now, cx);
            if self.defers(&state) && state.closed.is_none() {
                return state;
            }
            let now = state.now;
            state = self.flush(link, state, now, cx);
            if self.held == Held::Owed && self.take_more(link, &state).is_some() {
                // What held it back has been sent.
                continue;
            }
            if self.more || self.eof || self.held != Held::Not || state.closed.is_some() {
                return state;
            }
            if round == ROUNDS {
                // There may be more to read.
                self.more = true;
                return state;
            }
            drop(state);
            self.spent.clear();
            let read = self.transport.poll_read(cx, self.inbox.room());
            state = link.lock();
            match read {
                Poll::Pending => return state,
                Poll::Ready(Ok(0)) => {
                    self.eof = true;
                    state.conn.handle_eof(now);
                    state.pump(&mut self.wakers);
                }
                Poll::Ready(Ok(n)) => {
                    self.inbox.filled(n);
                    self.last_in = now;
                    self.ping = None;
                }
                Poll::Ready(Err(_)) => {
                    self.eof = true;
                    self.lose(&mut state, Loss::Reset);
                }
            }
        }
        self.more = true;
        state
    }

    /// Do those who were woken come first, so that one write takes what they send?
    fn defers(&self, state: &State) -> bool {
        self.woken > 1 || (self.woken == 1 && state.conn.in_flight() > 0)
    }

    /// Handles what the inbox holds, up to [`BATCH`] packets at a time
    fn handle<'a>(
        &mut self,
        link: &'a Arc<Link>,
        mut state: Guard<'a>,
        now: Instant,
        cx: &mut Poller<'_>,
    ) -> Guard<'a> {
        // Those that were left because of what is owed already come first.
        let resumed = !self.items.is_empty();
        if resumed {
            (self.more, self.held, state.held) = (true, Held::Not, false);
            if self.take_more(link, &state).is_none() {
                (self.more, self.held, state.held) = (false, Held::Owed, true);
                state.pump(&mut self.wakers);
                return state;
            }
        } else {
            self.decode(link, &mut state, now);
        }
        state.pump(&mut self.wakers);
        let room = link.options.owed_buffer.saturating_sub(state.owed);
        if self.items.is_empty() && self.seen.is_empty() && self.wakers.is_empty() {
            return state;
        }
        drop(state);
        self.spent.clear();
        for packet in self.seen.drain(..) {
            if let Ok(Some((packet, _))) = RawPacket::decode(&packet, usize::MAX, u64::MAX) {
                link.observe(Direction::In, &packet);
            }
        }
        self.wake();
        let ran = self.run(link, room, resumed, cx);
        state = link.lock();
        if ran > 0 {
            // Handlers take as long as they like.
            state.now = link.now();
        }
        self.more |= ran < self.items.len();
        for item in self.items.drain(..ran) {
            if let Item::Answer(token, id, outcome) = item {
                link.reply(&mut state, token, &outcome);
                state.requests.end(id, &mut self.wakers);
                self.spent.push(outcome);
                // What was held back may have waited for just this.
                self.more |= self.held == Held::Handlers;
            }
        }
        state.pump(&mut self.wakers);
        state
    }

    /// May more packets be handled, and if so, must requests be refused?
    fn take_more(&self, link: &Link, state: &State) -> Option<bool> {
        let calling = state.conn.in_flight() > 0;
        if state.lane.is_full(calling) {
            return None;
        }
        // A handler may wait for an answer that comes behind (P9), so what handlers hold counts only while none can.
        let held = if calling { 0 } else { state.requests.held() };
        let (owed, limit) = (state.owed + held, link.options.owed_buffer);
        if owed < limit {
            return Some(false);
        }
        // Where both ends wait for answers and neither takes what it is sent, one must go on reading.
        let deadlocked = calling && self.stalled.is_some();
        let refuses = deadlocked || link.options.when_owed == Overload::Refuse;
        (refuses && owed < limit.saturating_add(MAX_REFUSALS)).then_some(true)
    }

    fn wake(&mut self) {
        self.woken += self.wakers.len();
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Takes packets from the inbox; what needs the application's code becomes an item
    fn decode(&mut self, link: &Link, state: &mut State, now: Instant) {
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
            let Ok(step) = state.conn.handle_input(now, data) else {
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
            self.take(link, state, now, taken, consumed, busy);
            if !is_reply {
                may = self.take_more(link, state);
            }
        }
    }

    /// Keeps a packet for the hook
    fn see(&mut self, link: &Link, consumed: usize) {
        if link.options.on_packet.is_some() {
            self.seen.push(Bytes::copy_from_slice(self.inbox.data().get(..consumed).unwrap_or_default()));
        }
    }

    /// Acts on a packet, whose bytes leave the inbox
    fn take(
        &mut self,
        link: &Link,
        state: &mut State,
        now: Instant,
        taken: Taken,
        consumed: usize,
        busy: bool,
    ) {
        match taken {
            Taken::Reply(HELLO, parts) => {
                if let Ok((code, list)) = self.open(link, state, parts, consumed)
                    && code.is_empty()
                {
                    state.conn.dialect_mut().learn(&list);
                }
            }
            Taken::Reply(tag, parts) if parts.code.is_empty() && !parts.zip.any() => {
                let mut payload = self.inbox.take(consumed);
                bytes::Buf::advance(&mut payload, parts.payload.start.min(consumed));
                payload.truncate(parts.payload.len());
                if let Some(waker) = state.calls.finish(tag, Done::Success(payload)) {
                    self.wakers.push(waker);
                }
            }
            Taken::Reply(tag, parts) => {
                let done = match self.open(link, state, parts, consumed) {
                    Ok((code, payload)) if code.is_empty() => Done::Answer(String::new(), payload),
                    Ok((code, payload)) => Done::Answer(String::from_utf8_lossy(&code).into_owned(), payload),
                    Err(error) => Done::Failed(Error::UnreadableReply(UnreadableReply::Zip(error))),
                };
                self.wakers.extend(state.calls.finish(tag, done));
            }
            Taken::Request(token, parts) => {
                let zip = parts.zip;
                let refusal = match self.open(link, state, parts, consumed) {
                    // Longer than those that the core answers itself.
                    Ok((code, payload)) if *code == *codes::PING.as_bytes() => Ok(payload),
                    Ok(_) if busy => Err(crate::RemoteError::new(codes::BUSY)),
                    Ok((code, payload)) => {
                        let deadline = link.options.handler_timeout.map_or(Instant::FAR, |time| now + time);
                        let id = state.requests.start(token.key(), payload.len(), deadline);
                        let flag = Flag::REQUEST.with(zip, 0);
                        let packet = Packet { flag, sequence: token.key(), code, payload };
                        if self.items.capacity() == 0 {
                            // Many connections never have more at a time.
                            self.items.reserve_exact(1);
                        }
                        self.items.push(Item::Request(packet, token, id, deadline));
                        return;
                    }
                    Err(error) => Err(crate::RemoteError::new(error.code())),
                };
                link.reply(state, token, &refusal);
            }
            Taken::Message(parts) => {
                let zip = parts.zip;
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
        if parts.zip.any() {
            state.zipper.peer_unzips();
            let code = packet.get(parts.code).unwrap_or_default();
            let payload = packet.get(parts.payload).unwrap_or_default();
            let opened = self.unzip.open(code, payload, parts.zip, &link.options.limits)?;
            return Ok((
                Bytes::copy_from_slice(opened.code.as_bytes()),
                Bytes::copy_from_slice(opened.payload),
            ));
        }
        let code = if parts.code.is_empty() { Bytes::new() } else { packet.slice(parts.code) };
        bytes::Buf::advance(&mut packet, parts.payload.start.min(consumed));
        packet.truncate(parts.payload.len());
        Ok((code, packet))
    }

    /// Runs the handlers
    ///
    /// Tells how many: where their answers fill what may be owed, the others are left for the next time.
    fn run(&mut self, link: &Arc<Link>, room: usize, resumed: bool, cx: &mut Poller<'_>) -> usize {
        let mut lane_started = resumed;
        let mut answered = 0;
        for (index, item) in self.items.iter_mut().enumerate() {
            if answered > 0 && answered >= room {
                return index;
            }
            *item = match core::mem::replace(item, Item::Nothing) {
                Item::Request(packet, token, id, deadline) => {
                    let peer = Peer { link: Arc::clone(link) };
                    let context = Context::new(peer, id, link.clock.to_std(deadline));
                    match link.router.dispatch(Request::new(context, packet), cx) {
                        Dispatched::Ready(outcome) => {
                            answered += outcome.as_ref().map_or(0, Bytes::len);
                            Item::Answer(token, id, outcome)
                        }
                        Dispatched::Pending(handler) => {
                            Running::start(link, id, token, handler);
                            Item::Nothing
                        }
                    }
                }
                Item::Message(packet) => {
                    if lane_started {
                        let mut state = link.lock();
                        if state.lane.is_running() {
                            state.lane.push(packet);
                            continue;
                        }
                    }
                    if let Some(handler) = lane::dispatch(link, packet, cx) {
                        lane_started = true;
                        LaneTask::start(link, handler);
                    }
                    Item::Nothing
                }
                other @ (Item::Answer(..) | Item::Nothing) => other,
            };
        }
        self.items.len()
    }

    /// Writes what is there, as far as the socket takes it
    fn flush<'a>(
        &mut self,
        link: &'a Link,
        mut state: Guard<'a>,
        now: Instant,
        cx: &mut Poller<'_>,
    ) -> Guard<'a> {
        if self.batch.is_empty() && state.writing {
            // A caller is; it tells the driver if anything is left.
            return state;
        }
        let mut rounds = 0;
        loop {
            if self.batch.is_empty() {
                self.batch_owed = 0;
                if rounds == ROUNDS {
                    // Others encode as fast as it is sent, and something may have come.
                    state.writing = false;
                    return state;
                }
                rounds += 1;
                if !state.begun.is_empty() {
                    core::mem::swap(&mut self.batch, &mut state.begun);
                } else if !state.out.is_empty() {
                    core::mem::swap(&mut self.batch, &mut state.out);
                    self.batch_owed = state.owed;
                    state.writing = true;
                    if link.options.on_packet.is_some() {
                        drop(state);
                        link.observe_out(&self.batch);
                        state = link.lock();
                    }
                } else {
                    state.writing = false;
                    return state;
                }
                state.writing = true;
            }
            drop(state);
            let mut parts = [IoSlice::new(&[]); PARTS];
            let n = self.batch.parts(&mut parts);
            let written = self.transport.poll_write(cx, parts.get(..n).unwrap_or_default());
            // What was sent is dropped without the lock: it is the application's.
            self.spent.clear();
            match written {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.batch.advance(n);
                    if self.batch.is_empty() {
                        self.batch.clear();
                    }
                }
                Poll::Ready(Ok(_) | Err(_)) => self.batch.clear(),
                Poll::Pending => {}
            }
            state = link.lock();
            match written {
                Poll::Pending => {
                    self.stalled.get_or_insert(now);
                    return state;
                }
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.stalled = None;
                    state.unsent = state.unsent.saturating_sub(n);
                    if self.batch.is_empty() {
                        state.owed = state.owed.saturating_sub(self.batch_owed);
                    }
                    if state.unsent < link.options.send_buffer {
                        self.wakers.extend(state.room.wake_next());
                    }
                }
                Poll::Ready(Ok(_) | Err(_)) => {
                    let unsent = (core::mem::take(&mut state.out), core::mem::take(&mut state.begun));
                    drop(state);
                    drop(unsent);
                    state = link.lock();
                    state.unsent = 0;
                    self.lose(&mut state, Loss::Reset);
                    return state;
                }
            }
        }
    }

    fn lose(&mut self, state: &mut State, loss: Loss) {
        state.conn.handle_loss(loss);
        state.pump(&mut self.wakers);
    }

    /// Time has passed
    fn tick(&mut self, state: &mut State, now: Instant) {
        state.conn.handle_timeout(now);
        state.pump(&mut self.wakers);
        state.room.overdue(now, &mut self.wakers);
        state.requests.overdue(now, &mut self.wakers);
        if self.is_idle(state) && now >= self.last_in + IDLE {
            self.inbox.release();
            self.batch.release();
            self.unzip.release();
            state.out.release();
            state.begun.release();
            state.zipper.release();
            state.calls.shrink();
            state.requests.shrink();
            (self.items, self.seen, self.spent) = (Vec::new(), Vec::new(), Vec::new());
            if self.wakers.is_empty() {
                // Whoever was timed out just now is still to be told.
                self.wakers = Vec::new();
            }
            self.released = true;
        }
    }

    /// Time has passed, and what could be written and read was: is the peer still there?
    fn check_peer(&mut self, link: &Link, state: &mut State, now: Instant) {
        if self.stalled.is_some_and(|since| now >= since + link.options.write_timeout) {
            return self.lose(state, Loss::WriteTimeout);
        }
        let Some((interval, timeout)) = link.options.keepalive else { return };
        if state.closed.is_some() || self.eof || self.more || self.defers(state) {
            // Nothing more need come, or it is not known yet whether something has: the next poll tells.
            return;
        }
        if self.held != Held::Not {
            // What the peer sends is left unread, so its silence says nothing.
            (self.last_in, self.ping) = (now, None);
            return;
        }
        match self.ping {
            Some(sent) if now >= sent + timeout => self.lose(state, Loss::Unresponsive),
            None if now >= self.last_in + interval => {
                if link.ping(state, now, 4, now + timeout, KEEPALIVE).is_ok() {
                    self.ping = Some(now);
                } else {
                    // While it drains, or as much is in flight as may be: that ends by itself, and a peer that is asked nothing
                    // may be silent.
                    self.last_in = now;
                }
            }
            Some(_) | None => {}
        }
    }

    fn is_idle(&self, state: &State) -> bool {
        self.inbox.data().is_empty()
            && self.items.is_empty()
            && state.unsent == 0
            && state.conn.in_flight() == 0
            && state.requests.running() == 0
    }

    /// Sets the timer where something is due before it expires; true when something is due now
    fn arm(&mut self, state: &mut State, link: &Link, now: Instant, cx: &mut Poller<'_>) -> bool {
        let mut next = state.conn.poll_timeout().unwrap_or(Instant::FAR);
        next = next.min(state.room.earliest()).min(state.requests.earliest());
        if let Some(since) = self.stalled {
            next = next.min(since + link.options.write_timeout);
        }
        if let Some((interval, timeout)) = link.options.keepalive
            && state.closed.is_none()
            && !self.eof
        {
            next = next.min(self.ping.map_or(self.last_in + interval, |sent| sent + timeout));
        }
        if self.inbox.can_release() && self.is_idle(state) {
            next = next.min(self.last_in + IDLE);
        }
        match self.ending {
            Ending::Flushing(until) | Ending::Lingering(until) => next = next.min(until),
            Ending::Not | Ending::Over => {}
        }
        if next >= self.armed {
            return false;
        }
        (self.armed, state.armed) = (next, next);
        if next <= now {
            // The next poll does it.
            return true;
        }
        let timer = self.timer.get_or_insert_with(R::timer);
        timer.set(next.saturating_duration_since(now));
        timer.poll_expired(cx).is_ready()
    }

    /// Brings the end of the connection about
    fn end<'a>(
        &mut self,
        link: &'a Link,
        mut state: Guard<'a>,
        why: CloseReason,
        now: Instant,
        cx: &mut Poller<'_>,
    ) -> Guard<'a> {
        if self.ending == Ending::Not {
            // What was encoded before still goes out, unless the end is not a peaceful one.
            self.ending = match why {
                CloseReason::Drained | CloseReason::PeerClosed | CloseReason::CutShort => {
                    Ending::Flushing(state.flush_until.min(now + link.options.write_timeout))
                }
                CloseReason::Local
                | CloseReason::DrainDeadline
                | CloseReason::Protocol(_)
                | CloseReason::Transport(_)
                | _ => Ending::Over,
            };
        }
        if let Ending::Flushing(until) = self.ending {
            state = self.flush(link, state, now, cx);
            if state.unsent > 0 && now < until {
                return state;
            }
            drop(state);
            let shut = self.transport.poll_shutdown(cx);
            state = link.lock();
            if shut.is_pending() && now < until {
                return state;
            }
            let lingers = why == CloseReason::Drained && !self.eof && state.unsent == 0;
            self.ending = if lingers { Ending::Lingering((now + LINGER).min(until)) } else { Ending::Over };
        }
        if let Ending::Lingering(until) = self.ending {
            // Closing a socket with unread bytes would destroy what the peer has not read yet.
            drop(state);
            self.more = true;
            for _ in 0..ROUNDS {
                self.inbox.clear();
                match self.transport.poll_read(cx, self.inbox.room()) {
                    Poll::Ready(Ok(n)) if n > 0 => {}
                    Poll::Ready(Ok(_) | Err(_)) => {
                        self.ending = Ending::Over;
                        break;
                    }
                    Poll::Pending => {
                        self.more = false;
                        break;
                    }
                }
            }
            if now >= until {
                self.ending = Ending::Over;
            }
            state = link.lock();
        }
        state
    }

    /// Tells everybody that it is over
    fn finish(&mut self, link: &Arc<Link>, mut state: Guard<'_>) {
        state.finished = true;
        let held = (state.driver.take(), state.writer.take());
        let unsent = (core::mem::take(&mut state.out), core::mem::take(&mut state.begun));
        state.pump(&mut self.wakers);
        state.closers.take(&mut self.wakers);
        let why = state.closed.unwrap_or(CloseReason::Local);
        drop(state);
        drop((held, unsent));
        self.batch.clear();
        self.spent.clear();
        self.wake();
        if let Some(hook) = &link.options.on_close {
            // A panic of the application's stays within the connection that is over anyway.
            let _ = catch_unwind(AssertUnwindSafe(|| hook(&Peer { link: Arc::clone(link) }, why)));
        }
    }
}

impl<R: Runtime, T: Transport> Drop for Driver<R, T> {
    fn drop(&mut self) {
        let mut state = self.link.lock();
        if !state.finished {
            state.conn.close();
            state.pump(&mut self.io.wakers);
            self.io.finish(&self.link, state);
        }
    }
}

/// A packet without its bytes
enum Taken {
    Reply(u32, Parts),
    Request(ReplyToken<Fly>, Parts),
    Message(Parts),
    Done(u32, Done),
    Cancel(u16),
    Nothing,
}

/// Where in a packet its parts are
struct Parts {
    code: Range<usize>,
    payload: Range<usize>,
    zip: Zip,
}

impl Parts {
    fn of(data: &[u8], code: &[u8], payload: &[u8], zip: Zip) -> Self {
        Self { code: range_of(data, code), payload: range_of(data, payload), zip }
    }
}

impl<R: Runtime, T: Transport> core::fmt::Debug for Driver<R, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Driver").field("remote", &self.link.info.remote).finish_non_exhaustive()
    }
}
