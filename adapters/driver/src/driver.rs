//! What drives a connection: reads, handles, answers, writes, and watches the clock
//!
//! One task per connection. It reads whenever the peer has sent something, also while a write waits, so two peers never
//! wait for each other's reading. What it does per poll is bounded; then other tasks get their turn.

mod end;
mod handle;
mod take;
mod time;
mod write;

use core::future::Future;
use core::pin::Pin;
use core::task::{Context as Poller, Poll, Waker};
use std::sync::Arc;

use bytes::Bytes;
use flyrpc_core::fly::zip::Unzip;
use flyrpc_core::{CloseReason, Instant, Loss, ReplyToken};

use crate::dialect::AnyDialect;
use crate::inbox::Inbox;
use crate::link::{Guard, Link, State};
use crate::out::Out;
use crate::runtime::{Runtime, Timer, Transport};
use crate::{Outcome, Packet, RequestId};

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
    /// What opens compressed packets, from the first of them on
    unzip: Option<Box<Unzip>>,
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
    Request(Packet, ReplyToken<AnyDialect>, RequestId, Instant),
    Message(Packet),
    Answer(ReplyToken<AnyDialect>, RequestId, Outcome),
    Nothing,
}

/// Rounds of reading per poll, and of writing before something is read
const ROUNDS: usize = 8;

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
            unzip: None,
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
        // What callers have encoded since the last turn leaves before more of them are woken.
        state = self.flush(link, state, cx);
        for round in 0..=ROUNDS {
            state = self.handle(link, state, cx);
            if self.defers(&state) && state.closed.is_none() {
                return state;
            }
            state = self.flush(link, state, cx);
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
            let now = state.now;
            match read {
                Poll::Pending => return state,
                Poll::Ready(Ok(0)) => {
                    self.eof = true;
                    state.conn.handle_eof(now);
                    if self.transport.ends_both_ways() {
                        // The reason stays what it was: the peer has closed.
                        self.lose(&mut state, Loss::Reset);
                    } else {
                        state.pump(&mut self.wakers);
                    }
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

    fn wake(&mut self) {
        self.woken += self.wakers.len();
        self.wakers.drain(..).for_each(Waker::wake);
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

impl<R: Runtime, T: Transport> core::fmt::Debug for Driver<R, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Driver").field("remote", &self.link.info.remote).finish_non_exhaustive()
    }
}
