//! The life of calls: sequences, deadlines, replies, cancellation, draining, limits
//!
//! ```text
//!            call, notify, reply, cancel, ping                  handle_eof, nothing owed
//!                  ┌───────┐                                    close, protocol error
//!                  │       ▼          drain                              │
//!   new ──────────►│     Open ──────────────────► Draining ──────────┐   │
//!                  └───────┘     handle_eof,         │ nothing owed  │   │
//!                          │     replies still owed  │ or deadline   ▼   ▼
//!                          └─────────────────────────┴────────────► Closed
//! ```
//!
//! All changes of state are in this module: `input` (what the world did), `command` (what the application wants), `output`
//! (what must be done next).

mod command;
mod deadlines;
mod event;
mod input;
mod output;
mod rest;
mod slots;

pub use event::{
    BadReply, CallId, CloseReason, Event, Incoming, Loss, ReplyToken, State, Stats, Step, Transmit, What,
};
#[cfg(feature = "alloc")]
pub use rest::Bits;
pub use rest::{Resting, Rests};
#[cfg(feature = "alloc")]
pub use slots::Table;
pub use slots::{FAN_OUT, NoCalls, Slot, Slots};

use crate::dialect::MAX_FRAME_HEADER;
use crate::{Dialect, Fault, Instant, Limits, ProtocolError, WireError};
use deadlines::Deadlines;

/// One end of a conversation, over any byte or message transport
///
/// It does no I/O and reads no clock. Its methods come in four families:
///
/// * **getters**: [`state`](Self::state), [`stats`](Self::stats), [`in_flight`](Self::in_flight), …
/// * **what the world did**: [`handle_input`](Self::handle_input), [`handle_eof`](Self::handle_eof),
///   [`handle_loss`](Self::handle_loss), [`handle_timeout`](Self::handle_timeout);
/// * **what the application wants**, legal in any order and any number of times: [`call`](Self::call),
///   [`notify`](Self::notify), [`reply`](Self::reply), [`abandon`](Self::abandon), [`cancel`](Self::cancel),
///   [`ping`](Self::ping), [`send_body`](Self::send_body), [`drain`](Self::drain), [`close`](Self::close);
/// * **what must be done next**: [`poll_transmit`](Self::poll_transmit), [`poll_event`](Self::poll_event),
///   [`poll_timeout`](Self::poll_timeout).
///
/// The loop of an owner, in any order that suits it:
///
/// 1. hand received bytes to `handle_input`, drop what it consumed, act on what it found, until it needs more or is blocked;
/// 2. `poll_transmit` until it has nothing more, send what the sink holds, and go back to 1 if that was blocked;
/// 3. `poll_event` until it has nothing more;
/// 4. wait for bytes, or for `poll_timeout`, then `handle_timeout`.
///
/// Every accepted call gives its tag back exactly once: in [`Incoming::Reply`], [`Incoming::BadReply`],
/// [`Incoming::Pong`], [`Event::TimedOut`], [`Event::Lost`], or as the return of `cancel` (P1). A deadline has passed
/// when the latest time that any method was given reaches it; from then on the call is over, even if its reply is the
/// next input.
///
/// A call and its answer, without a heap:
///
/// ```
/// use flyrpc_core::{Call, Connection, Incoming, Instant, Limits, Reply, Slot, SliceSink, What, fly::Fly};
///
/// type Peer = Connection<Fly, heapless::Vec<Slot<u8>, 8>>;
/// let mut client = Peer::new(Fly::default(), Limits::new());
/// let mut server = Peer::new(Fly::default(), Limits::new());
/// let now = Instant::ZERO;
///
/// let (mut up, mut down) = ([0; 64], [0; 64]);
/// let mut wire = SliceSink::new(&mut up);
/// client.call(now, Call::new("double", b"21"), 7, &mut wire)?;
///
/// let step = server.handle_input(now, wire.written())?;
/// let mut wire = SliceSink::new(&mut down);
/// if let What::Incoming(Incoming::Request { method: b"double", body, token, .. }) = step.what {
///     assert_eq!(body.bytes(), b"21");
///     server.reply(token, Reply::ok(b"42"), &mut wire)?;
/// }
///
/// let step = client.handle_input(now, wire.written())?;
/// assert!(matches!(step.what, What::Incoming(Incoming::Reply { tag: 7, code: b"", .. })));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
#[cfg_attr(feature = "_test", derive(Clone))]
pub struct Connection<D: Dialect, S: Slots> {
    dialect: D,
    slots: S,
    /// Sequences of calls that were given up
    rests: S::Rests,
    limits: Limits,
    deadlines: Deadlines,
    /// Small packets of the dialect's own that wait for room in a sink
    controls: heapless::Vec<D::Control, CONTROLS, u8>,
    stats: Stats,
    /// The latest time that was given
    now: Instant,
    drain_deadline: Instant,
    /// Bytes of the incoming stream consumed
    position: u64,
    /// Bytes that are left of a body on its way in
    receiving: u64,
    /// Bytes that are left of a body on its way out
    sending: u64,
    /// Number of the next call
    next_number: u32,
    in_flight: u32,
    /// Requests of the peer's that wait for our reply
    unanswered: u32,
    /// Where the search for lost calls goes on
    lost_cursor: u32,
    /// What has ended, or will end, the connection
    end: End,
    state: State,
    /// Nothing more comes from the peer, so calls in flight are lost
    input_ended: bool,
    /// The `Closed` event was given
    told: bool,
    /// The latest input ended inside a message
    partial: bool,
    /// The body on its way in is passed over
    skipping: bool,
}

/// [`CloseReason`] in the size of a connection's field
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "_test", derive(Hash))]
enum End {
    PeerClosed,
    CutShort,
    Local,
    Drained,
    Protocol(Fault),
    DrainDeadline,
    Transport(Loss),
}

/// Small packets of the dialect's own that may wait; then [`What::Blocked`] holds the peer back
///
/// Four, because the owner empties it after every input; a longer queue would only hide that it does not.
const CONTROLS: usize = 4;

impl<D: Dialect, S: Slots> Connection<D, S> {
    /// An open connection
    #[inline(always)]
    #[must_use]
    pub fn new(dialect: D, limits: Limits) -> Self {
        Self {
            dialect,
            slots: S::default(),
            rests: S::Rests::default(),
            limits,
            deadlines: Deadlines::new(),
            controls: heapless::Vec::new(),
            stats: Stats::default(),
            now: Instant::ZERO,
            drain_deadline: Instant::FAR,
            position: 0,
            receiving: 0,
            sending: 0,
            next_number: 1,
            in_flight: 0,
            unanswered: 0,
            lost_cursor: 0,
            end: End::Drained,
            state: State::Open,
            input_ended: false,
            told: false,
            partial: false,
            skipping: false,
        }
    }

    /// Begins anew over another transport, or over a line that has been brought back, without moving what it holds
    ///
    /// Calls are numbered on from where they were, and what rests goes on resting, so that a late answer from before finds no
    /// call of now; counters go on as well. Tokens of requests that came before must not be used any more.
    ///
    /// False, and nothing done, unless the connection is closed and [`poll_event`](Self::poll_event) has told so.
    pub fn reopen(&mut self, dialect: D) -> bool {
        if self.state != State::Closed || !self.told || self.in_flight > 0 {
            return false;
        }
        self.dialect = dialect;
        self.deadlines.clear();
        self.position = 0;
        (self.unanswered, self.lost_cursor) = (0, 0);
        self.state = State::Open;
        (self.input_ended, self.told, self.partial, self.skipping) = (false, false, false, false);
        true
    }

    /// The same, with calls numbered from `sequence` on; 1 by default
    #[must_use]
    pub fn first_sequence(mut self, sequence: u32) -> Self {
        self.next_number = sequence;
        self
    }

    /// How far its life has come
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Its counters
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Calls and pings of ours that are not over yet
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Requests of the peer's that wait for our reply
    #[must_use]
    pub const fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// Bytes of the incoming stream that were consumed
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of a streamed body that [`send_body`](Self::send_body) is still to be given
    #[must_use]
    pub const fn body_left(&self) -> u64 {
        self.sending
    }

    /// Bytes that are still to come of a body on its way in, whether it is handed out or passed over
    #[must_use]
    pub const fn body_expected(&self) -> u64 {
        self.receiving
    }

    /// Its limits
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The dialect, with what it knows of the peer
    #[must_use]
    pub const fn dialect(&self) -> &D {
        &self.dialect
    }

    /// The dialect, for what the application learns of the peer
    pub const fn dialect_mut(&mut self) -> &mut D {
        &mut self.dialect
    }

    /// What ended the connection, once it is closed
    #[must_use]
    pub const fn close_reason(&self) -> Option<CloseReason> {
        match self.state {
            State::Closed => Some(self.reason()),
            State::Open | State::Draining => None,
        }
    }

    /// Time never goes back; the deadline for draining is the one that ends the connection by itself
    #[inline]
    fn tick(&mut self, now: Instant) {
        // FAR means never, so that time itself must not reach it.
        let latest = Instant::from_micros(u64::MAX - 1);
        self.now = self.now.max(now.min(latest));
        if self.now >= self.drain_deadline {
            self.shut(End::DrainDeadline);
        }
    }

    /// The one way into `Closed`; where the input has ended already, that is the reason
    #[cold]
    #[inline(never)]
    fn shut(&mut self, end: End) {
        if self.state != State::Closed {
            self.state = State::Closed;
            if !self.input_ended {
                self.end = end;
            }
            self.input_ended = true;
            self.drain_deadline = Instant::FAR;
            self.controls.clear();
            (self.receiving, self.sending) = (0, 0);
        }
    }

    /// A call is over: its slot is free again
    #[inline]
    const fn ended_one(&mut self) {
        self.in_flight -= 1;
        if self.in_flight == 0 {
            self.deadlines.clear();
        }
    }

    /// Tells the peer that nobody waits for the answer to `call` any more, where it is known to understand
    fn tell_given_up(&mut self, call: CallId) {
        if self.input_ended {
            return;
        }
        if let Some(control) = self.dialect.cancel(call.0 & self.dialect.sequence_mask()) {
            // A full queue loses the hint and nothing else: the peer's answer is dropped as late.
            let _ = self.controls.push(control);
        }
    }

    /// While draining: is there nothing left to wait for?
    fn is_drained(&self) -> bool {
        self.state == State::Draining
            && self.in_flight == 0
            && self.unanswered == 0
            && self.sending == 0
            && (self.receiving == 0 || self.skipping)
            && self.controls.is_empty()
            && !self.dialect.is_due()
            // Answers that are held back go with those to what is still in the input.
            && (self.dialect.held() == 0 || self.input_ended)
    }

    /// Wherever it is called: where nobody asks for the reason, the program is smaller for it
    #[inline(always)]
    const fn reason(&self) -> CloseReason {
        match self.end {
            End::PeerClosed => CloseReason::PeerClosed,
            End::CutShort => CloseReason::CutShort,
            End::Local => CloseReason::Local,
            End::Drained => CloseReason::Drained,
            End::DrainDeadline => CloseReason::DrainDeadline,
            End::Protocol(fault) => CloseReason::Protocol(self.protocol_error(fault)),
            End::Transport(loss) => CloseReason::Transport(loss),
        }
    }

    #[inline(always)]
    const fn protocol_error(&self, fault: Fault) -> ProtocolError {
        let limit = match fault.what {
            WireError::MethodTooLong => self.limits.get_max_method() as u64,
            WireError::BodyTooLong => self.limits.get_max_body(),
            WireError::BadFrame => MAX_FRAME_HEADER as u64,
        };
        ProtocolError { what: fault.what, offset: self.position.saturating_add(fault.at as u64), limit }
    }
}

/// Everything that decides what the connection does next, for state hashing; counters are left out
#[cfg(feature = "_test")]
impl<D: Dialect + core::hash::Hash, S: Slots + core::hash::Hash> core::hash::Hash for Connection<D, S>
where
    D::Control: core::hash::Hash,
{
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        (&self.dialect, &self.slots, &self.deadlines, &self.rests).hash(state);
        self.controls.iter().for_each(|control| control.hash(state));
        (self.now, self.drain_deadline, self.receiving, self.sending, self.next_number).hash(state);
        (self.in_flight, self.unanswered, self.lost_cursor, self.end, self.state).hash(state);
        (self.input_ended, self.told, self.partial, self.skipping).hash(state);
    }
}
