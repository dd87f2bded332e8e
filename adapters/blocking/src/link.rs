//! One connection as its threads share it: the state machine under a lock, and the way out of it
//!
//! Whoever has something to send encodes it into [`State::out`] under the lock and then [flushes](Link::flush_locked). One thread
//! at a time writes; what others encode meanwhile goes out with its next write. Callers have deadlines, so they write only
//! what the socket takes at once; the rest goes to a writer thread that is started when it is first needed. The reader
//! never writes, so that both directions make progress when a peer is slow.

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::task::Waker;
use core::time::Duration;
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::panic::catch_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use flyrpc_core::fly::{Capabilities, codes};
use flyrpc_core::{
    Call, CloseReason, Connection, Event, Instant, Loss, Overload, Refusal, ReplyToken, State as Stage, Table,
};
use flyrpc_driver::dialect::{self, AnyDialect, Packer};
use flyrpc_driver::{ConnectionId, Direction, Error, Info, Outcome, Protocol, RawPacket, Session};

use crate::Router;
use crate::inbox::Inbox;
use crate::options::{Options, PacketHook};
use crate::peer::{Done, Peer, Waiter};
use crate::requests::Requests;
use crate::server::Shared;
use crate::stream::Stream;

/// One connection
pub(crate) struct Link {
    pub(crate) stream: Stream,
    pub(crate) info: Info,
    pub(crate) router: Arc<Router>,
    pub(crate) options: Arc<Options>,
    /// The server that it belongs to, which owns its connections; a client's has none
    pub(crate) server: Weak<Shared>,
    pub(crate) clock: Clock,
    state: Mutex<State>,
    /// Something was written, freed or closed
    changed: Condvar,
    /// There is something for the writer thread to do
    work: Condvar,
    /// What is to be done when the connection has ended
    on_end: Mutex<Option<OnEnd>>,
    /// Held by the thread that reads
    pub(crate) inbox: Mutex<Inbox>,
    /// Threads that wait to be the next to read
    pub(crate) followers: AtomicUsize,
}

/// What the lock protects
pub(crate) struct State {
    pub(crate) conn: Connection<AnyDialect, Table<Arc<Waiter>>>,
    /// Encoded and not written
    pub(crate) out: Vec<u8>,
    /// What is being written, and how much of it has been
    batch: (Vec<u8>, usize),
    /// The socket's write timeout as it is now
    patience: Duration,
    /// How much of that the connection answers by itself, in bytes
    pub(crate) own: usize,
    pub(crate) packer: Packer,
    /// The peer's requests whose handlers run
    pub(crate) requests: Requests,
    /// Messages that wait for their turn
    pub(crate) messages: crate::worker::Messages,
    pub(crate) closed: Option<CloseReason>,
    /// Tasks that wait for the end
    pub(crate) closers: Vec<Waker>,
    /// Nothing is read any more
    reader_ended: bool,
    flushing: bool,
    writer_started: bool,
    /// Threads that wait for a change
    waiting: usize,
}

/// Done once, with what ended the connection
pub(crate) type OnEnd = Box<dyn FnOnce(&Peer, CloseReason) + Send>;

pub(crate) type Guard<'a> = MutexGuard<'a, State>;

impl Link {
    pub(crate) fn new(
        stream: Stream,
        dialect: AnyDialect,
        router: Arc<Router>,
        options: Arc<Options>,
        server: Weak<Shared>,
        on_end: OnEnd,
    ) -> std::io::Result<Arc<Self>> {
        stream.set_write_timeout(Some(options.write_timeout))?;
        stream.set_read_timeout(options.keepalive.map(|(interval, _)| interval))?;
        Ok(Arc::new(Self {
            info: Info {
                id: ConnectionId(NEXT.fetch_add(1, Ordering::Relaxed)),
                remote: stream.remote(),
                protocol: dialect.protocol(),
                may_be_called: true,
                session: Session::new(),
                shared: router.shared(),
            },
            stream,
            router,
            server,
            clock: Clock::start(),
            state: Mutex::new(State {
                conn: Connection::new(dialect, options.limits.clone()),
                out: Vec::new(),
                batch: (Vec::new(), 0),
                patience: options.write_timeout,
                own: 0,
                packer: Packer::new(options.zip),
                requests: Requests::default(),
                messages: crate::worker::Messages::default(),
                closed: None,
                closers: Vec::new(),
                reader_ended: false,
                flushing: false,
                writer_started: false,
                waiting: 0,
            }),
            options,
            changed: Condvar::new(),
            work: Condvar::new(),
            on_end: Mutex::new(Some(on_end)),
            inbox: Mutex::new(Inbox::new()),
            followers: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Before anything is read: says `$hello` where that was asked for, and tells the application of the connection
    pub(crate) fn greet(self: &Arc<Self>) {
        // A panic of a hook stays within the connection: others are to be accepted.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            // Others have no such thing.
            if self.options.hello && self.info.protocol == Protocol::FlyRpc {
                self.say_hello();
            }
            if let Some(hook) = &self.options.on_connect {
                hook(&self.peer());
            }
        }));
    }

    /// Tells the peer what this side can do; who reads takes note of the answer
    fn say_hello(self: &Arc<Self>) {
        let ours = Capabilities::ours(&self.options.limits).to_list();
        let call = Call::new(codes::HELLO, ours.as_bytes());
        let mut guard = self.lock();
        let state = &mut *guard;
        // A connection that can't be spoken on has ended, which is told elsewhere.
        let _ = state.conn.call(self.now(), call, Arc::new(Waiter::for_hello()), &mut state.out);
        self.flush_locked(guard);
    }

    /// Handlers run outside the lock, so a poisoned one has not been left half changed
    pub(crate) fn lock(&self) -> Guard<'_> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, at the longest until `until`
    pub(crate) fn wait<'a>(&self, mut guard: Guard<'a>, until: Instant) -> Guard<'a> {
        guard.waiting += 1;
        let mut guard = if until == Instant::FAR {
            self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
        } else {
            let time = until.saturating_duration_since(self.now());
            self.changed.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0
        };
        guard.waiting -= 1;
        guard
    }

    /// Tells the threads that wait for a change; without any it costs nothing
    pub(crate) fn notify(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// The lock, once there is room for another packet; refuses instead where that was asked for
    pub(crate) fn lock_with_room(&self, deadline: Instant) -> Result<Guard<'_>, Error> {
        let mut state = self.lock();
        while state.out.len() >= self.options.send_buffer && state.conn.state() != Stage::Closed {
            if self.options.when_full == Overload::Refuse {
                return Err(Error::Refused(Refusal::NoRoom { need: state.out.len() }));
            }
            if self.now() >= deadline {
                return Err(Error::TimedOut);
            }
            state = self.wait(state, deadline);
        }
        Ok(state)
    }

    /// The lock, once there is room for a reply: its handler has no deadline, but a peer that takes nothing ends with
    /// the write timeout
    pub(crate) fn lock_for_reply(&self) -> Guard<'_> {
        let mut state = self.lock();
        while state.out.len() >= self.options.send_buffer && state.conn.state() != Stage::Closed {
            state = self.wait(state, Instant::FAR);
        }
        state
    }

    /// Acts on everything that the connection has to say, and takes its own packets into the buffer
    pub(crate) fn pump(&self, state: &mut State) {
        while let Some(event) = state.conn.poll_event() {
            match event {
                Event::TimedOut { tag, .. } => {
                    // Few hints for the peer can wait; all are to be told.
                    state.transmit();
                    tag.finish(Done::Failed(Error::TimedOut));
                }
                Event::Lost { tag, why, .. } => tag.finish(Done::Failed(Error::lost(why))),
                Event::Closed { why } => {
                    state.closed = Some(why);
                    self.notify(state);
                    self.work.notify_all();
                }
                // Events of later versions of the core.
                _ => {}
            }
        }
        state.transmit();
    }

    /// Time has passed
    pub(crate) fn tick(&self, state: &mut State) {
        state.conn.handle_timeout(self.now());
        self.pump(state);
    }

    /// Writes what is in the buffer, unless another thread is writing, which then writes it too
    ///
    /// What the peer does not take at once is left to the writer thread.
    pub(crate) fn flush_locked<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) {
        if CALLERS_WRITE {
            state = self.write(state, BRIEF);
        }
        if state.unsent() && !state.flushing && !self.wake_writer(&mut state) {
            state = self.write(state, self.options.write_timeout);
        }
        drop(state);
    }

    /// Writes what is in the buffer; gives up where it takes longer than `patience`, which loses the peer if that is
    /// the write timeout
    fn write<'a>(&'a self, mut state: Guard<'a>, patience: Duration) -> Guard<'a> {
        if state.flushing {
            return state;
        }
        let brief = patience < self.options.write_timeout;
        let mut rounds = 0;
        while state.unsent() && !(brief && rounds == ROUNDS) {
            rounds += 1;
            state.flushing = true;
            let (mut batch, mut sent) = core::mem::take(&mut state.batch);
            let fresh = sent == batch.len();
            if fresh {
                state.own = 0;
                (batch, sent) = (core::mem::take(&mut state.out), 0);
            }
            let set = if state.patience == patience {
                Ok(())
            } else {
                state.patience = patience;
                self.stream.set_write_timeout(Some(patience))
            };
            drop(state);
            if fresh {
                self.observe_out(&batch);
            }
            let written = set.and_then(|()| write_once(&self.stream, batch.get(sent..).unwrap_or_default()));
            state = self.lock();
            state.flushing = false;
            self.notify(&state);
            if state.closed.is_some() {
                // It may have looked while this thread was writing, and has to see the end.
                self.work.notify_all();
            }
            match written {
                Ok(len) if sent + len < batch.len() => state.batch = (batch, sent + len),
                Ok(_) if state.out.is_empty() && batch.capacity() <= KEPT => {
                    batch.clear();
                    state.out = batch;
                }
                Ok(_) => {}
                Err(error) if brief && is_timeout(&error) => state.batch = (batch, sent),
                Err(error) => {
                    state.out.clear();
                    let timeout = is_timeout(&error);
                    self.lost(&mut state, if timeout { Loss::WriteTimeout } else { Loss::Reset });
                    self.stream.shutdown(Shutdown::Both);
                }
            }
            // It took a part: it is slow.
            if brief && state.batch.1 < state.batch.0.len() {
                return state;
            }
        }
        match state.closed {
            Some(_) if state.unsent() => {}
            None => {}
            // What was sent must still arrive: `drain` waits for the peer to close.
            Some(CloseReason::Drained) => self.stream.shutdown(Shutdown::Write),
            Some(_) => self.stream.shutdown(Shutdown::Both),
        }
        state
    }

    /// Both directions are gone, and not by our doing
    pub(crate) fn lost(&self, state: &mut State, loss: Loss) {
        state.conn.handle_loss(loss);
        self.pump(state);
    }

    /// Shows packets on their way out to the hook, if there is one
    fn observe_out(&self, packets: &[u8]) {
        let Some(hook) = self.packet_hook() else { return };
        let mut rest = packets;
        while let Ok(Some((packet, len))) = RawPacket::decode(rest, usize::MAX, u64::MAX) {
            hook(&self.info, Direction::Out, &packet);
            rest = rest.get(len..).unwrap_or_default();
        }
    }

    /// Shows a packet that came to the hook, if there is one
    pub(crate) fn observe_in(&self, packet: &[u8]) {
        if let Some(hook) = self.packet_hook()
            && let Ok(Some((packet, _))) = RawPacket::decode(packet, usize::MAX, u64::MAX)
        {
            hook(&self.info, Direction::In, &packet);
        }
    }

    /// Who sees packets, where there are such
    fn packet_hook(&self) -> Option<&PacketHook> {
        self.options.on_packet.as_ref().filter(|_| self.info.protocol == Protocol::FlyRpc)
    }

    /// Has a writer thread flush: for the reader, which must not be held up
    pub(crate) fn flush_elsewhere(self: &Arc<Self>, mut state: Guard<'_>) {
        let idle = !state.unsent() && state.closed.is_none();
        if !idle && !self.wake_writer(&mut state) {
            self.flush_locked(state);
        }
    }

    /// Wakes the writer thread, and starts it the first time; false when there is no thread to spare
    pub(crate) fn wake_writer(self: &Arc<Self>, state: &mut State) -> bool {
        if !state.writer_started {
            let link = Arc::clone(self);
            let writer = std::thread::Builder::new().name("flyrpc-write".to_owned());
            state.writer_started = writer.spawn(move || link.write_loop()).is_ok();
        }
        self.work.notify_all();
        state.writer_started
    }

    fn write_loop(&self) {
        let mut state = self.lock();
        loop {
            if state.unsent() && !state.flushing {
                state = self.write(state, self.options.write_timeout);
            } else if state.closed.is_some() && !state.unsent() {
                drop(self.write(state, self.options.write_timeout));
                return;
            } else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Waits until the connection has ended, until `until` at the longest, and tells what ended it
    ///
    /// Drives the connection's timers meanwhile.
    pub(crate) fn wait_closed(self: &Arc<Self>, until: Instant) -> Option<CloseReason> {
        let mut state = self.lock();
        loop {
            if let Some(why) = state.closed {
                self.flush_locked(state);
                return Some(why);
            }
            let now = self.now();
            let timer = state.conn.poll_timeout().unwrap_or(Instant::FAR);
            if now >= timer {
                self.tick(&mut state);
            } else if now >= until {
                return None;
            } else {
                state = self.wait(state, timer.min(until));
            }
        }
    }

    /// After draining: gives the peer the time until `deadline` to take what was sent, and then a moment to close; then
    /// closes whatever it does
    pub(crate) fn linger(&self, deadline: Instant) {
        let mut state = self.lock();
        while state.unsent() && self.now() < deadline {
            state = self.wait(state, deadline);
        }
        let until = deadline.min(self.now() + LINGER);
        while !state.reader_ended && self.now() < until {
            state = self.wait(state, until);
        }
        drop(state);
        self.stream.shutdown(Shutdown::Both);
        self.stream.wait_sent(deadline.saturating_duration_since(self.now()));
    }

    /// The reader has nothing more to do but to see the end, and to tell those who want to know of it
    pub(crate) fn reader_ended(self: &Arc<Self>) {
        let mut state = self.lock();
        state.reader_ended = true;
        self.notify(&state);
        drop(state);
        let why = self.wait_closed(Instant::FAR).unwrap_or(CloseReason::Local);
        self.wake_all();
        // As long as the peer takes it.
        while !self.stream.wait_sent(self.options.write_timeout) {}
        self.stream.finish();
        let on_end = self.on_end.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(on_end) = on_end {
            on_end(&self.peer(), why);
        }
    }

    /// Ends the connection now
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.conn.close();
        self.pump(&mut state);
        self.stream.shutdown(Shutdown::Both);
        drop(state);
        self.wake_all();
    }

    /// The connection has ended: tells the handlers that wait, and those who wait for the end
    fn wake_all(&self) {
        let mut state = self.lock();
        let (handlers, closers) = (state.requests.end_all(), core::mem::take(&mut state.closers));
        drop(state);
        handlers.into_iter().chain(closers).for_each(Waker::wake);
    }

    pub(crate) fn peer(self: &Arc<Self>) -> Peer {
        Peer { link: Arc::clone(self) }
    }
}

impl State {
    /// Encodes the answer to a request
    pub(crate) fn reply(&mut self, token: ReplyToken<AnyDialect>, outcome: &Outcome) {
        dialect::reply(&mut self.conn, &mut self.packer, token, outcome, &mut self.out);
    }

    /// Takes the connection's own packets into the buffer
    fn transmit(&mut self) {
        // A vector always has room.
        while let Ok(Some(sent)) = self.conn.poll_transmit(&mut self.out) {
            self.own += sent.len;
        }
    }

    /// Is there anything that the socket has not taken?
    fn unsent(&self) -> bool {
        self.flushing || self.batch.1 < self.batch.0.len() || !self.out.is_empty()
    }
}

fn write_once(mut stream: &Stream, bytes: &[u8]) -> std::io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The socket's timeout has passed; which kind it is depends on the system
pub(crate) fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl core::fmt::Debug for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Link").field("remote", &self.info.remote).finish_non_exhaustive()
    }
}

/// Connections of the whole process
static NEXT: AtomicU64 = AtomicU64::new(1);

/// How long a drained connection waits for the peer to close
const LINGER: Duration = Duration::from_secs(1);

/// May those who have something to send write it themselves?
///
/// On Windows a socket whose write has timed out is of no more use, so there the writer thread writes everything.
const CALLERS_WRITE: bool = cfg!(unix);

/// How long a caller tries to write before it leaves the rest to the writer thread
const BRIEF: Duration = Duration::from_millis(5);

/// How often a caller writes what others have encoded meanwhile
const ROUNDS: u32 = 16;

/// A buffer of up to this many bytes is kept for the next batch
const KEPT: usize = 64 << 10;

/// The one place that reads the clock
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "an adapter's clock")]
    fn start() -> Self {
        Self { epoch: std::time::Instant::now() }
    }

    fn now(self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }

    /// The same time as the standard library has it
    pub(crate) fn to_std(self, time: Instant) -> Option<std::time::Instant> {
        if time == Instant::FAR {
            return None;
        }
        self.epoch.checked_add(Duration::from_micros(time.as_micros()))
    }
}
