//! One end of a line, shared between async tasks

use core::cell::RefCell;
use core::convert::Infallible;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use embassy_sync::blocking_mutex::{Mutex, raw::RawMutex};
use flyrpc_core::fly::{Base, Zip, codes};
use flyrpc_core::{CallId, Instant, Refusal, Reply};

use crate::event::said;
use crate::{Calls, Clock, Event, Flavour, Link, Node, Peer, Token};

/// Bytes of a reply, or of an error's details; `N` at the most
pub type Bytes<const N: usize> = heapless::Vec<u8, N>;

/// Error codes of the other end; a longer one is cut
const CODE: usize = 32;

/// Tasks that wait for room and are woken when there is; more of them look for it themselves, every [`AGAIN`]
const WAITING: usize = 4;

const AGAIN: Duration = Duration::from_millis(10);

/// One end of a line, for async tasks: one of them [`run`](Self::run)s it, all of them call
///
/// `M` says who shares it: `NoopRawMutex` for the tasks of one executor, `CriticalSectionRawMutex` for others and interrupts. `CALLS` of
/// its calls can be in flight, and each holds the memory for a reply of `REPLY` bytes.
///
/// ```no_run
/// use core::num::NonZeroU16;
/// use core::time::Duration;
/// use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// use embedded_io_async::{Read, Write};
/// use flyrpc_embedded::{Clock, Framed, Incoming, Instant, Node, Reply, Shared, codes};
/// # mod embassy_time {
/// #     #[derive(Clone, Copy)]
/// #     pub struct Instant(u64);
/// #     impl Instant {
/// #         pub fn now() -> Self { Self(0) }
/// #         pub fn as_micros(&self) -> u64 { self.0 }
/// #         pub const fn try_from_micros(micros: u64) -> Option<Self> { Some(Self(micros)) }
/// #     }
/// #     pub struct Timer;
/// #     impl Timer { pub fn at(_: Instant) -> core::future::Ready<()> { core::future::ready(()) } }
/// # }
/// # async fn join<A>(line: impl Future<Output = A>, button: impl Future) -> A { let _ = button; line.await }
///
/// struct Ticks;
///
/// impl Clock for Ticks {
///     fn now(&self) -> Instant {
///         Instant::from_micros(embassy_time::Instant::now().as_micros())
///     }
///
///     async fn wait_until(&self, at: Instant) {
///         // Instant::FAR is no time in ticks of 32,768 Hz: `from_micros` would overflow.
///         match embassy_time::Instant::try_from_micros(at.as_micros()) {
///             Some(at) => embassy_time::Timer::at(at).await,
///             None => core::future::pending().await,
///         }
///     }
/// }
///
/// /// Up to four calls in flight, each with an answer of up to 32 bytes
/// type Board<'m> = Shared<'m, NoopRawMutex, Framed, Ticks, 4, 32>;
///
/// async fn start(session: NonZeroU16, rx: impl Read, tx: impl Write) {
///     let (mut receive, mut transmit) = ([0; 128], [0; 128]);
///     let node = Node::new(Framed::new(session), &mut receive, &mut transmit);
///     let board = Board::new(node, Ticks);
///     join(line(&board, rx, tx), button(&board)).await; // or two tasks, with `board` in a `StaticCell`
/// }
///
/// async fn line(board: &Board<'_>, rx: impl Read, tx: impl Write) {
///     let error = board.run(rx, tx, |peer, event| {
///         if let Incoming::Request { code, payload, token } = event {
///             let _ = match code {
///                 b"echo" | b"$ping" => peer.reply(token, Reply::ok(payload)),
///                 _ => peer.reply(token, Reply::error(codes::NOT_FOUND, b"")),
///             };
///         }
///     });
///     let _ = error.await;
/// }
///
/// async fn button(board: &Board<'_>) {
///     let time = board.call(b"host.time", b"", Duration::from_secs(1)).await;
/// }
/// ```
#[derive(Debug)]
pub struct Shared<
    'm,
    M: RawMutex,
    L: Link,
    C: Clock,
    const CALLS: usize,
    const REPLY: usize,
    D: Flavour = Base,
> {
    pub(crate) clock: C,
    state: Mutex<M, RefCell<State<'m, L, CALLS, REPLY, D>>>,
}

/// The node of a [`Shared`]; its calls are tagged with their places
type SharedNode<'m, L, D, const CALLS: usize> = Node<'m, L, Calls<u8, CALLS>, D>;

#[derive(Debug)]
pub(crate) struct State<'m, L: Link, const CALLS: usize, const REPLY: usize, D: Flavour> {
    pub(crate) node: SharedNode<'m, L, D, CALLS>,
    places: [Place<REPLY>; CALLS],
    /// The task that runs the line
    driver: Option<Waker>,
    /// Tasks that wait for room
    waiting: heapless::Vec<Waker, WAITING>,
}

/// Where the outcome of a call waits for its caller
enum Place<const REPLY: usize> {
    Free,
    Waits(Waker),
    Done(Result<Bytes<REPLY>, CallError<REPLY>>),
    /// Nobody waits any more, but the outcome is still to come, and must not become another call's
    Forsaken,
}

/// Says nothing of what was answered (P22)
impl<const REPLY: usize> fmt::Debug for Place<REPLY> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "Free",
            Self::Waits(_) => "Waits",
            Self::Done(_) => "Done",
            Self::Forsaken => "Forsaken",
        })
    }
}

/// Why a call has no result
///
/// In logs it says how long details are, never what is in them.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError<const REPLY: usize> {
    /// The other end has answered with an error
    Remote {
        /// Its code; the first 32 bytes of a longer one. `TOO_LARGE` also for an answer of more than `REPLY` bytes
        code: Bytes<CODE>,
        /// Its details
        details: Bytes<REPLY>,
    },
    /// Its time was up before the answer came, or before it could be sent
    TimedOut,
    /// The line was lost before the answer came: the other end has restarted, or its bytes made no sense
    Lost,
    /// It can't be sent, now or later
    Refused(Refusal),
}

impl<const REPLY: usize> fmt::Debug for CallError<REPLY> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote { code, details } => said(f, "Remote", code, details).finish(),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Lost => f.write_str("Lost"),
            Self::Refused(why) => f.debug_tuple("Refused").field(why).finish(),
        }
    }
}

impl<const REPLY: usize> fmt::Display for CallError<REPLY> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote { code, .. } => {
                write!(f, "the other end answered {}", core::str::from_utf8(code).unwrap_or("with an error"))
            }
            Self::TimedOut => f.write_str("no answer came in time"),
            Self::Lost => f.write_str("the line was lost before the answer came"),
            Self::Refused(why) => write!(f, "it can't be sent: {why}"),
        }
    }
}

impl<const REPLY: usize> core::error::Error for CallError<REPLY> {}

#[cfg(feature = "defmt")]
impl<const REPLY: usize> defmt::Format for CallError<REPLY> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Remote { code, details } => {
                defmt::write!(f, "error {=[u8]:a}, {=usize} bytes", code, details.len());
            }
            Self::TimedOut => defmt::write!(f, "timed out"),
            Self::Lost => defmt::write!(f, "lost"),
            Self::Refused(why) => defmt::write!(f, "refused: {}", why),
        }
    }
}

/// What a handler is told: an [`Event`] that is not about calls of ours, which their callers hear of
pub type Incoming<'a> = Event<'a, Infallible>;

/// What a handler can do at once, besides answering later
#[derive(Debug)]
pub struct Responder<'a, 'm, L: Link, const CALLS: usize, D: Flavour> {
    peer: &'a mut Peer<'m, L, Calls<u8, CALLS>, D>,
}

impl<L: Link, const CALLS: usize, D: Flavour> Responder<'_, '_, L, CALLS, D> {
    /// Answers a request, as [`Peer::reply`]
    ///
    /// # Errors
    /// The refusal of the answer; the request is over all the same.
    pub fn reply(&mut self, token: Token, reply: Reply<'_, Zip>) -> Result<(), Refusal> {
        self.peer.reply(token, reply)
    }

    /// Gives up a request without an answer
    pub fn abandon(&mut self, token: Token) {
        self.peer.abandon(token);
    }

    /// Tells the other end something
    ///
    /// # Errors
    /// The refusal; nothing was sent.
    pub fn notify(&mut self, code: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        self.peer.notify(code, payload)
    }
}

impl<'m, M: RawMutex, L: Link, C: Clock, const CALLS: usize, const REPLY: usize, D: Flavour>
    Shared<'m, M, L, C, CALLS, REPLY, D>
{
    /// Shares a node; time is what `clock` says
    #[must_use]
    pub fn new(node: SharedNode<'m, L, D, CALLS>, clock: C) -> Self {
        const { assert!(CALLS <= u8::MAX as usize, "up to 255 calls can be in flight") }
        let state = State {
            node,
            places: [const { Place::Free }; CALLS],
            driver: None,
            waiting: heapless::Vec::new(),
        };
        Self { clock, state: Mutex::new(RefCell::new(state)) }
    }

    /// Calls the other end and waits for the answer, for `within` this time at the most
    ///
    /// While all `CALLS` are in flight, or the transmit buffer is full, it waits for its turn. Dropping the future gives the call up.
    /// The time-out does not depend on [`run`](Self::run): it comes where nobody runs the line, too.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn call(
        &self,
        code: &[u8],
        payload: &[u8],
        within: Duration,
    ) -> Result<Bytes<REPLY>, CallError<REPLY>> {
        let deadline = self.clock.now() + within;
        let mut late = pin!(self.clock.wait_until(deadline));
        let (place, call) = self
            .when_there_is_room(deadline, late.as_mut(), |state, now, cx| {
                state.start(now, deadline, code, payload, cx)
            })
            .await?;
        let mut pending = Pending { shared: self, place, call, is_over: false };
        let outcome = poll_fn(|cx| {
            let outcome = self.lock(|state| state.poll_place(place, cx)).map(Some);
            if outcome.is_pending() { late.as_mut().poll(cx).map(|()| None) } else { outcome }
        })
        .await;
        // Without an outcome it is given up.
        pending.is_over = outcome.is_some();
        outcome.unwrap_or(Err(CallError::TimedOut))
    }

    /// Tells the other end something; waits for room, for `within` this time at the most
    ///
    /// # Errors
    /// [`CallError::TimedOut`], [`CallError::Refused`]: nothing was sent.
    pub async fn notify(
        &self,
        code: &[u8],
        payload: &[u8],
        within: Duration,
    ) -> Result<(), CallError<REPLY>> {
        let deadline = self.clock.now() + within;
        let late = pin!(self.clock.wait_until(deadline));
        let attempt = |state: &mut State<'m, L, CALLS, REPLY, D>, now, _: &Context<'_>| {
            state.node.peer(now).notify(code, payload)
        };
        self.when_there_is_room(deadline, late, attempt).await
    }

    /// Answers a request that a handler has kept; waits for room, for `within` this time at the most
    ///
    /// Dropping the future gives the request up, and its caller runs into its deadline.
    ///
    /// # Errors
    /// [`CallError::TimedOut`], [`CallError::Refused`]: the request is over all the same, and its caller is told `TIMEOUT` or
    /// `TOO_LARGE`, where there is room for that. [`Refusal::Closed`]: it came in an earlier life of the line.
    pub async fn reply(
        &self,
        token: Token,
        reply: Reply<'_, Zip>,
        within: Duration,
    ) -> Result<(), CallError<REPLY>> {
        let deadline = self.clock.now() + within;
        let late = pin!(self.clock.wait_until(deadline));
        let mut owed = Owed { shared: self, token: Some(token) };
        let sent = self
            .when_there_is_room(deadline, late, |state, now, _| {
                let Some(kept) = owed.token.take() else { return Ok(()) };
                state.node.peer(now).try_reply(kept, reply).map_err(|refused| {
                    owed.token = Some(refused.back);
                    refused.why
                })
            })
            .await;
        if let Some(token) = owed.token.take() {
            let now = self.clock.now();
            // What was too long is so for ever.
            let why = if sent == Err(CallError::TimedOut) { codes::TIMEOUT } else { codes::TOO_LARGE };
            self.lock(|state| {
                let _ = state.node.peer(now).reply(token, Reply::error(why, b""));
                state.wake_driver();
            });
        }
        sent
    }

    pub(crate) fn lock<R>(&self, with: impl FnOnce(&mut State<'m, L, CALLS, REPLY, D>) -> R) -> R {
        self.state.lock(|state| with(&mut state.borrow_mut()))
    }

    /// Tries again whenever there may be room, until the deadline, when it is `late`
    async fn when_there_is_room<R>(
        &self,
        deadline: Instant,
        mut late: Pin<&mut impl Future<Output = ()>>,
        mut attempt: impl FnMut(&mut State<'m, L, CALLS, REPLY, D>, Instant, &Context<'_>) -> Result<R, Refusal>,
    ) -> Result<R, CallError<REPLY>> {
        loop {
            let mut again = pin!(self.clock.wait_until(self.clock.now() + AGAIN));
            let tried = poll_fn(|cx| {
                let now = self.clock.now();
                if now >= deadline {
                    return Poll::Ready(Some(Err(CallError::TimedOut)));
                }
                let (outcome, is_listed) = self.lock(|state| {
                    let outcome = match attempt(state, now, cx) {
                        Ok(done) => Ok(done),
                        Err(why) if state.may_have_room_later(&why) => {
                            return (Poll::Pending, state.list(cx.waker()));
                        }
                        Err(why) => Err(CallError::Refused(why)),
                    };
                    state.wake_driver();
                    (Poll::Ready(Some(outcome)), true)
                });
                if outcome.is_ready() {
                    return outcome;
                }
                if late.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Some(Err(CallError::TimedOut)));
                }
                if is_listed { Poll::Pending } else { again.as_mut().poll(cx).map(|()| None) }
            })
            .await;
            if let Some(outcome) = tried {
                return outcome;
            }
        }
    }
}

impl<'m, L: Link, const CALLS: usize, const REPLY: usize, D: Flavour> State<'m, L, CALLS, REPLY, D> {
    fn start(
        &mut self,
        now: Instant,
        deadline: Instant,
        code: &[u8],
        payload: &[u8],
        cx: &Context<'_>,
    ) -> Result<(u8, CallId), Refusal> {
        let full = Refusal::TooManyInFlight { in_flight: CALLS as u32 };
        let place = self.places.iter().position(|place| matches!(place, Place::Free)).ok_or(full)? as u8;
        let call = self
            .node
            .peer(now)
            .call(code, payload, deadline.saturating_duration_since(now), place)
            .map_err(|refused| refused.why)?;
        self.set(place, Place::Waits(cx.waker().clone()));
        Ok((place, call))
    }

    fn poll_place(&mut self, place: u8, cx: &Context<'_>) -> Poll<Result<Bytes<REPLY>, CallError<REPLY>>> {
        match self.places.get_mut(usize::from(place)) {
            Some(Place::Waits(waker)) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            Some(place) => match core::mem::replace(place, Place::Free) {
                Place::Done(outcome) => {
                    self.wake_waiting();
                    Poll::Ready(outcome)
                }
                // It was taken already.
                Place::Free | Place::Waits(_) | Place::Forsaken => Poll::Ready(Err(CallError::Lost)),
            },
            None => Poll::Ready(Err(CallError::Lost)),
        }
    }

    fn set(&mut self, place: u8, to: Place<REPLY>) {
        if let Some(place) = self.places.get_mut(usize::from(place)) {
            *place = to;
        }
    }

    /// Would the same be taken once calls are over, and the transmit buffer is empty?
    fn may_have_room_later(&self, why: &Refusal) -> bool {
        match *why {
            Refusal::TooManyInFlight { .. } => CALLS > 0,
            Refusal::NoRoom { need } => need <= self.node.transmit_capacity(),
            Refusal::Closed | _ => false,
        }
    }

    /// Deals with what has come and with the time
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        handler: &mut impl FnMut(&mut Responder<'_, 'm, L, CALLS, D>, Incoming<'_>),
    ) {
        let Self { node, places, .. } = self;
        let mut has_ended = false;
        node.poll(now, |peer, event| {
            let (tag, outcome) = match event {
                Event::Request { code, payload, token } => {
                    return handler(&mut Responder { peer }, Incoming::Request { code, payload, token });
                }
                Event::Message { code, payload } => {
                    return handler(&mut Responder { peer }, Incoming::Message { code, payload });
                }
                Event::Cancelled { sequence } => {
                    return handler(&mut Responder { peer }, Incoming::Cancelled { sequence });
                }
                Event::Ended { why } => return handler(&mut Responder { peer }, Incoming::Ended { why }),
                Event::Reply { tag, code, payload, .. } => (tag, outcome(code, payload)),
                Event::TimedOut { tag, .. } => (tag, Err(CallError::TimedOut)),
                Event::Lost { tag, .. } => (tag, Err(CallError::Lost)),
                Event::Pong { tag, .. } => (tag, Ok(Bytes::new())),
            };
            has_ended = true;
            let Some(place) = places.get_mut(usize::from(tag)) else { return };
            match core::mem::replace(place, Place::Free) {
                Place::Waits(waker) => {
                    *place = Place::Done(outcome);
                    waker.wake();
                }
                Place::Free | Place::Done(_) | Place::Forsaken => {}
            }
        });
        if has_ended || self.node.unsent().is_empty() {
            self.wake_waiting();
        }
    }

    /// When `turn` wants to be called at the latest
    pub(crate) fn deadline(&self) -> Instant {
        self.node.poll_timeout().unwrap_or(Instant::FAR)
    }

    pub(crate) fn watch(&mut self, cx: &Context<'_>) {
        match &mut self.driver {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    fn wake_driver(&self) {
        if let Some(waker) = &self.driver {
            waker.wake_by_ref();
        }
    }

    /// Will the task be woken when there may be room?
    fn list(&mut self, waker: &Waker) -> bool {
        self.waiting.iter().any(|listed| listed.will_wake(waker)) || self.waiting.push(waker.clone()).is_ok()
    }

    fn wake_waiting(&mut self) {
        core::mem::take(&mut self.waiting).into_iter().for_each(Waker::wake);
    }
}

fn outcome<const REPLY: usize>(code: &[u8], payload: &[u8]) -> Result<Bytes<REPLY>, CallError<REPLY>> {
    let (code, payload) = match Bytes::from_slice(payload) {
        Ok(reply) => (code, reply),
        Err(_) => (codes::TOO_LARGE.as_bytes(), Bytes::new()),
    };
    if code.is_empty() {
        return Ok(payload);
    }
    let code = Bytes::from_slice(code.get(..CODE).unwrap_or(code)).unwrap_or_default();
    Err(CallError::Remote { code, details: payload })
}

/// A call that is given up with its future
struct Pending<'a, 'm, M: RawMutex, L: Link, C: Clock, const CALLS: usize, const REPLY: usize, D: Flavour> {
    shared: &'a Shared<'m, M, L, C, CALLS, REPLY, D>,
    place: u8,
    call: CallId,
    is_over: bool,
}

impl<M: RawMutex, L: Link, C: Clock, const CALLS: usize, const REPLY: usize, D: Flavour> Drop
    for Pending<'_, '_, M, L, C, CALLS, REPLY, D>
{
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let now = self.shared.clock.now();
        self.shared.lock(|state| {
            if let Some(place) = state.places.get_mut(usize::from(self.place)) {
                let is_cancelled = state.node.peer(now).cancel(self.call).is_some();
                // What was over already is still to be told, unless it was.
                let is_told = !matches!(place, Place::Waits(_));
                *place = if is_cancelled || is_told { Place::Free } else { Place::Forsaken };
            }
            state.wake_waiting();
            state.wake_driver();
        });
    }
}

/// A request that is given up with the future that should answer it
struct Owed<'a, 'm, M: RawMutex, L: Link, C: Clock, const CALLS: usize, const REPLY: usize, D: Flavour> {
    shared: &'a Shared<'m, M, L, C, CALLS, REPLY, D>,
    token: Option<Token>,
}

impl<M: RawMutex, L: Link, C: Clock, const CALLS: usize, const REPLY: usize, D: Flavour> Drop
    for Owed<'_, '_, M, L, C, CALLS, REPLY, D>
{
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            let now = self.shared.clock.now();
            self.shared.lock(|state| state.node.peer(now).abandon(token));
        }
    }
}
