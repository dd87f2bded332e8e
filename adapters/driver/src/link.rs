//! One connection as its tasks share it: the state machine under a lock, and who writes
//!
//! Whoever has something to send encodes it into [`State::out`] under the lock, and says so with [`Link::encoded`]. While
//! nothing else is outstanding the caller writes at once, so that a single call waits for nobody. Otherwise the connection's
//! driver is told to come, once per turn of the scheduler: it comes after the others that are ready, and one write takes
//! what all of them have encoded.

use core::task::Waker;
use std::io::IoSlice;
use std::sync::{Arc, PoisonError, Weak};

use bytes::Bytes;
use flyrpc_core::fly::{Capabilities, codes};
use flyrpc_core::{
    Call, CallId, CloseReason, Connection, Event, Instant, Limits, Refusal, ReplyToken, State as Stage, Table,
};

use crate::calls::{Calls, Done};
use crate::clock::Clock;
use crate::dialect::{self, AnyDialect, Packer};
use crate::hub::Hub;
use crate::lane::Lane;
use crate::options::Options;
use crate::out::{Out, PARTS};
use crate::requests::Requests;
use crate::room::Room;
use crate::runtime::{Task, TryWrite};
use crate::sync::{Mutex, MutexGuard};
use crate::trace::Wire;
use crate::watchers::Watchers;
use crate::{Error, Info, Outcome, Peer, Router};

/// One connection
pub(crate) struct Link {
    pub(crate) info: Info,
    pub(crate) router: Arc<Router<Peer>>,
    pub(crate) options: Arc<Options>,
    pub(crate) spawn: fn(Task),
    pub(crate) error_code: ErrorCode,
    pub(crate) clock: Clock,
    pub(crate) wire: Wire,
    /// The other connections of the same server
    pub(crate) hub: Weak<Hub>,
    state: Mutex<State>,
}

/// What the lock protects
pub(crate) struct State {
    pub(crate) conn: Connection<AnyDialect, Table<u32>>,
    pub(crate) calls: Calls,
    pub(crate) requests: Requests,
    pub(crate) lane: Lane,
    pub(crate) packer: Packer,
    /// Encoded packets
    pub(crate) out: Out,
    /// What a caller began to write and the socket did not take: goes before `out`
    pub(crate) begun: Out,
    /// Bytes that the socket has not taken, those that are being written among them
    pub(crate) unsent: usize,
    /// How much of `out` answers the peer's packets, in bytes
    pub(crate) owed: usize,
    /// Somebody is writing, or the driver waits for the socket
    pub(crate) writing: bool,
    /// The driver will come, and write
    pub(crate) turn: bool,
    /// The driver leaves packets unhandled until a handler has made progress, which clears this and tells the driver
    pub(crate) held: bool,
    pub(crate) driver: Option<Waker>,
    /// When the driver looked at the clock last
    pub(crate) now: Instant,
    /// When the driver's timer expires
    pub(crate) armed: Instant,
    /// By when a drained connection is to have sent everything
    pub(crate) flush_until: Instant,
    pub(crate) closed: Option<CloseReason>,
    /// The driver is gone
    pub(crate) finished: bool,
    /// Who waits for room to send
    pub(crate) room: Room,
    /// Who waits for the end
    pub(crate) closers: Watchers,
    /// The way out for callers, until the end
    pub(crate) writer: Option<Arc<dyn TryWrite>>,
}

/// [`Runtime::error_code`](crate::runtime::Runtime::error_code)
pub(crate) type ErrorCode = fn(&(dyn core::error::Error + 'static)) -> Option<&'static str>;

pub(crate) type Guard<'a> = MutexGuard<'a, State>;

/// The tags of the driver's own pings, and of its own `$hello`: they name no place, so nobody is woken
pub(crate) const KEEPALIVE: u32 = u32::MAX;
pub(crate) const HELLO: u32 = u32::MAX - 1;

impl Link {
    #[expect(clippy::too_many_arguments, reason = "what a connection is made of")]
    pub(crate) fn new(
        info: Info,
        dialect: AnyDialect,
        limits: Limits,
        hub: &Arc<Hub>,
        spawn: fn(Task),
        error_code: ErrorCode,
        time: fn() -> std::time::Instant,
        writer: Option<Arc<dyn TryWrite>>,
    ) -> Arc<Self> {
        let (router, options) = (Arc::clone(&hub.router), Arc::clone(&hub.options));
        let wire = Wire::of(&dialect);
        let state = State {
            conn: Connection::new(dialect, limits),
            calls: Calls::new(),
            requests: Requests::new(),
            lane: Lane::default(),
            packer: Packer::new(options.zip),
            out: Out::default(),
            begun: Out::default(),
            unsent: 0,
            owed: 0,
            writing: false,
            turn: false,
            held: false,
            driver: None,
            now: Instant::ZERO,
            armed: Instant::FAR,
            flush_until: Instant::FAR,
            closed: None,
            finished: false,
            room: Room::default(),
            closers: Watchers::default(),
            writer,
        };
        Arc::new(Self {
            info,
            router,
            options,
            spawn,
            error_code,
            clock: Clock::start(time),
            wire,
            hub: Arc::downgrade(hub),
            state: Mutex::new(state),
        })
    }

    /// Nothing of the application's runs under the lock, so a poisoned one has not been left half changed
    pub(crate) fn lock(&self) -> Guard<'_> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Something was encoded, by anybody but the driver
    ///
    /// `alone`: nothing else is outstanding, so that waiting for others to add theirs would only cost time.
    pub(crate) fn encoded(&self, state: Guard<'_>, alone: bool) {
        if state.turn {
            return;
        }
        let timer_is_late = state.conn.poll_timeout().is_some_and(|next| next < state.armed);
        if timer_is_late || state.closed.is_some() {
            return self.tell_driver(state);
        }
        if state.held && state.conn.in_flight() == 1 {
            // The answer comes behind what is left unhandled, of which more is handled while a call waits.
            return self.tell_driver(state);
        }
        if state.writing {
            return;
        }
        if alone && let Some(writer) = state.writer.clone() {
            self.write_now(&*writer, state);
        } else {
            self.tell_driver(state);
        }
    }

    /// Has the driver come
    pub(crate) fn tell_driver(&self, mut state: Guard<'_>) {
        if state.turn {
            return;
        }
        state.turn = true;
        // Who comes before the driver takes this time for its own.
        state.now = self.now();
        let driver = state.driver.clone();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// A handler has made progress, for which the driver may wait
    pub(crate) fn made_way(&self, mut state: Guard<'_>) {
        if core::mem::take(&mut state.held) {
            self.tell_driver(state);
        }
    }

    /// Writes what is there from the task that has made it
    fn write_now<'a>(&'a self, writer: &dyn TryWrite, mut state: Guard<'a>) {
        if state.out.is_empty() {
            return;
        }
        let mut out = core::mem::take(&mut state.out);
        state.owed = 0;
        state.writing = true;
        drop(state);
        self.observe_out(&out);
        let mut parts = [IoSlice::new(&[]); PARTS];
        let n = out.parts(&mut parts);
        let written = writer.try_write(parts.get(..n).unwrap_or_default()).unwrap_or(0);
        // What was sent is dropped without the lock: it is the application's.
        out.advance(written);
        let mut state = self.lock();
        state.writing = false;
        state.unsent = state.unsent.saturating_sub(written);
        // Somebody may have found the buffer full meanwhile.
        let next = if state.unsent < self.options.send_buffer { state.room.wake_next() } else { None };
        if out.is_empty() && state.out.is_empty() {
            out.clear();
            state.out = out;
            if state.closed.is_some() {
                self.tell_driver(state);
            } else {
                drop(state);
            }
        } else {
            // The socket is full, or has failed, or somebody has added more: that is the driver's.
            state.begun = out;
            self.tell_driver(state);
        }
        if let Some(next) = next {
            next.wake();
        }
    }

    /// The body, where it may be kept by reference
    fn keep<'b>(&self, body: Option<&'b Bytes>) -> Option<&'b Bytes> {
        // A hook wants messages in one piece.
        if self.is_observed() { None } else { body }
    }

    /// Is there room for a packet of somebody who does not wait for it?
    pub(crate) fn check_room(&self, state: &State) -> Result<(), Error> {
        if state.unsent >= self.options.send_buffer && !state.is_closed() {
            return Err(Error::Refused(Refusal::NoRoom { need: state.unsent }));
        }
        Ok(())
    }

    /// Encodes a request; its place is the caller's to wait at
    #[expect(clippy::too_many_arguments, reason = "a call, and who waits for it")]
    pub(crate) fn call(
        &self,
        state: &mut State,
        now: Instant,
        code: &str,
        payload: &[u8],
        shared: Option<&Bytes>,
        deadline: Instant,
        waker: &Waker,
    ) -> Result<u32, Refusal> {
        let State { conn, packer, calls, out, unsent, .. } = state;
        let packed = packer.pack(conn.dialect(), code.as_bytes(), payload)?;
        let call = Call::new(packed.code, packed.payload).meta(packed.zip.into()).deadline(deadline);
        let place = calls.reserve(waker.clone());
        let before = out.len();
        match conn.call(now, call, place, &mut out.sink(self.keep(shared))) {
            Ok(id) => calls.made(place, id),
            Err(refused) => {
                calls.release(place, |_| true);
                return Err(refused.why);
            }
        }
        *unsent += out.len() - before;
        Ok(place)
    }

    /// Encodes a message
    pub(crate) fn notify(
        &self,
        state: &mut State,
        now: Instant,
        code: &str,
        payload: &[u8],
        shared: Option<&Bytes>,
    ) -> Result<(), Refusal> {
        let State { conn, packer, out, unsent, .. } = state;
        let packed = packer.pack(conn.dialect(), code.as_bytes(), payload)?;
        let call = Call::new(packed.code, packed.payload).meta(packed.zip.into());
        let before = out.len();
        conn.notify(now, call, &mut out.sink(self.keep(shared))).map_err(|refused| refused.why)?;
        *unsent += out.len() - before;
        Ok(())
    }

    /// Tells the peer what this side can do; the driver takes note of the answer
    pub(crate) fn say_hello(&self) {
        let mut guard = self.lock();
        let State { conn, out, unsent, .. } = &mut *guard;
        if conn.dialect().fly().is_none() {
            // Others have no such thing.
            return;
        }
        let ours = Capabilities::ours(&self.options.limits).to_list();
        let before = out.len();
        // A connection that can't be spoken on has ended, which is told elsewhere.
        let _ = conn.call(self.now(), Call::new(codes::HELLO, ours.as_bytes()), HELLO, &mut out.sink(None));
        *unsent += out.len() - before;
        self.encoded(guard, true);
    }

    /// Encodes a ping
    pub(crate) fn ping(
        &self,
        state: &mut State,
        now: Instant,
        len: usize,
        deadline: Instant,
        tag: u32,
    ) -> Result<CallId, Refusal> {
        let State { conn, out, unsent, .. } = state;
        let before = out.len();
        let id = conn.ping(now, len, deadline, tag, &mut out.sink(None)).map_err(|refused| refused.why)?;
        *unsent += out.len() - before;
        Ok(id)
    }

    /// Encodes the answer to a request
    pub(crate) fn reply(&self, state: &mut State, token: ReplyToken<AnyDialect>, outcome: &Outcome) {
        let State { conn, packer, out, .. } = state;
        let before = out.len();
        let keep = outcome.as_ref().ok().and_then(|payload| self.keep(Some(payload)));
        dialect::reply(conn, packer, token, outcome, &mut out.sink(keep));
        state.count_owed(before);
    }
}

impl State {
    /// What was added to `out` since it had `before` bytes answers the peer
    pub(crate) fn count_owed(&mut self, before: usize) {
        let added = self.out.len() - before;
        self.owed += added;
        self.unsent += added;
    }

    /// Acts on everything that the connection has to say, and takes its own packets into the buffer
    pub(crate) fn pump(&mut self, wakers: &mut Vec<Waker>) {
        while let Some(event) = self.conn.poll_event() {
            match event {
                Event::TimedOut { tag, .. } => {
                    // Few hints for the peer can wait; all are to be told.
                    self.transmit();
                    wakers.extend(self.calls.finish(tag, Done::Failed(Error::TimedOut)));
                }
                Event::Lost { tag, why, .. } => {
                    wakers.extend(self.calls.finish(tag, Done::Failed(Error::lost(why))));
                }
                Event::Closed { why } => {
                    self.closed = Some(why);
                    self.closers.take(wakers);
                    self.room.wake_all(wakers);
                    self.requests.end_all(wakers);
                }
                // Events of later versions of the core.
                _ => {}
            }
        }
        self.transmit();
    }

    /// Takes the connection's own packets into the buffer
    pub(crate) fn transmit(&mut self) {
        let before = self.out.len();
        while let Ok(Some(_)) = self.conn.poll_transmit(&mut self.out.sink(None)) {}
        self.count_owed(before);
    }

    /// Is the call that was just encoded the only thing under way?
    pub(crate) fn is_alone(&self) -> bool {
        self.conn.in_flight() <= 1 && self.requests.running() == 0
    }

    /// Has it ended, or is it about to?
    pub(crate) fn is_closed(&self) -> bool {
        self.conn.state() == Stage::Closed
    }
}

impl core::fmt::Debug for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Link").field("remote", &self.info.remote).finish_non_exhaustive()
    }
}
