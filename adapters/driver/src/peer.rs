//! The other end of a connection, to be called

use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use flyrpc_core::fly::{Capabilities, codes};
use flyrpc_core::{CloseReason, Instant, State, Stats};

use crate::calls::Done;
use crate::hub::send_to_all;
use crate::lane::MESSAGE;
use crate::link::{Guard, Link};
use crate::room::poll_room;
use crate::watchers::Watch;
use crate::{
    Caller, ConnectionId, Decode, Error, FormatError, Info, IntoPayload, Outcome, Payload, Protocol,
    RequestId, Session, UnreadableReply, WireFormat,
};

/// The other end of a connection
///
/// A cheap clone; every method may be used from any task. Dropping it leaves the connection open: a client ends with its
/// [`Connected`](crate::Connected), a server's connection with its peer.
///
/// What sends is a future that sends nothing until it is polled. Dropping one at any point harms no other: a call that was
/// sent is cancelled, and the peer is told where it understands.
#[derive(Clone, Debug)]
pub struct Peer {
    pub(crate) link: Arc<Link>,
}

/// An answer as it came: FlyRPC's third level, where the code of an answer is the applications' own
///
/// An error of JSON-RPC is shown as its message and data.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Empty for success; an error code, or what the peer's application put there
    pub code: String,
    /// Payload
    pub payload: Bytes,
}

/// Says how long the payload is, never what is in it (P22)
impl core::fmt::Debug for Response {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let payload = format_args!("{} bytes", self.payload.len());
        f.debug_struct("Response").field("code", &self.code).field("payload", &payload).finish()
    }
}

/// What became of a ping
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// From the call to the answer
    pub time: Duration,
    /// Bytes of payload that came back
    pub len: u64,
}

impl Peer {
    /// Calls, and gives the result; for [`Limits::call_timeout`](crate::Limits::call_timeout) at the longest unless
    /// [`Call::within`] says otherwise
    ///
    /// # Errors
    /// [`Error`]; a response with a code is [`Error::Remote`].
    pub fn call<'a>(&'a self, code: &'a str, payload: impl IntoPayload<'a>) -> Call<'a, Bytes> {
        self.call_as(code, payload)
    }

    /// Calls, and decodes the result: `peer.call_as::<Json<Answer>>("code", Json(&question)).await?`
    ///
    /// # Errors
    /// [`Error`]; a response with a code is [`Error::Remote`], one that does not decode [`Error::UnreadableReply`].
    pub fn call_as<'a, T: Answer>(&'a self, code: &'a str, payload: impl IntoPayload<'a>) -> Call<'a, T> {
        Call {
            packet: Outgoing::new(&self.link, code, payload.into_payload()),
            within: None,
            place: None,
            over: false,
            answer: PhantomData,
        }
    }

    /// Calls, and gives the answer as it comes, without taking a code for an error
    ///
    /// # Errors
    /// [`Error`], but never [`Error::Remote`].
    pub fn request<'a>(&'a self, code: &'a str, payload: impl IntoPayload<'a>) -> Call<'a, Response> {
        self.call_as(code, payload)
    }

    /// Sends a request whose answer is only an acknowledgement, and waits for it
    ///
    /// # Errors
    /// [`Error`]
    pub fn send_acked<'a>(&'a self, code: &'a str, payload: impl IntoPayload<'a>) -> Call<'a, Ack> {
        self.call_as(code, payload)
    }

    /// Sends a message that is not answered: delivered at most once, and never known whether
    ///
    /// Ready when it is encoded; it waits only where the outgoing buffer is full. What is still in that buffer when the
    /// connection is closed, or a [`Connected`](crate::Connected) dropped, is lost: [`drain`](Self::drain) sends it first.
    ///
    /// # Errors
    /// [`Error::Refused`], or [`Error::TimedOut`] when the outgoing buffer stayed full.
    pub fn send<'a>(&'a self, code: &'a str, payload: impl IntoPayload<'a>) -> Sending<'a> {
        Sending { packet: Outgoing::new(&self.link, code, payload.into_payload()), over: false }
    }

    /// Sends a message now, or not at all
    ///
    /// # Errors
    /// [`Error::Refused`], with [`Refusal::NoRoom`](crate::Refusal::NoRoom) when the outgoing buffer is full.
    pub fn try_send<'a>(&self, code: &str, payload: impl IntoPayload<'a>) -> Result<(), Error> {
        let payload = payload.into_payload().map_err(Error::Unencodable)?;
        let mut state = self.link.lock();
        self.link.check_room(&state)?;
        self.link.notify(&mut state, self.link.now(), code, payload.as_ref(), payload.shared())?;
        self.link.encoded(state, false);
        Ok(())
    }

    /// Sends `len` bytes that come back, and tells how long that took and how many came
    ///
    /// A peer that does not know pings, or takes none so long, answers with an error: fewer bytes come back, which proves
    /// life as well.
    ///
    /// # Errors
    /// [`Error`]
    pub fn ping(&self, len: usize, timeout: Duration) -> Ping<'_> {
        Ping { link: &self.link, len, timeout, sent: None, over: false }
    }

    /// Tells the peer what this side can do and learns the same of it; nothing, from a peer of the base protocol, and on
    /// connections that don't speak FlyRPC
    ///
    /// # Errors
    /// [`Error`]
    pub async fn hello(&self) -> Result<Capabilities, Error> {
        if self.link.info.protocol != Protocol::FlyRpc {
            return Ok(Capabilities::default());
        }
        let ours = Capabilities::ours(&self.link.options.limits).to_list();
        let response = self.request(codes::HELLO, ours.as_bytes()).await?;
        let mut state = self.link.lock();
        if response.code.is_empty() {
            state.conn.dialect_mut().learn(&response.payload);
        }
        Ok(state.conn.dialect().capabilities())
    }

    /// Sends nothing new, waits until all answers owed have been given and received, and ends the connection; by
    /// `timeout` at the latest
    ///
    /// Returns what ended it. Draining begins when this is called, and goes on when the future is dropped. Not for the inside
    /// of a request's handler: it would wait for the handler's own answer.
    pub fn drain(&self, timeout: Duration) -> impl Future<Output = CloseReason> + use<> {
        let mut state = self.link.lock();
        let now = self.link.now();
        let deadline = now + timeout;
        state.conn.drain(now, deadline);
        state.flush_until = state.flush_until.min(deadline);
        self.link.tell_driver(state);
        self.closed()
    }

    /// Ends the connection at once; calls in flight end with [`Error::Lost`]
    pub fn close(&self) {
        let mut state = self.link.lock();
        state.conn.close();
        self.link.tell_driver(state);
    }

    /// Waits until the connection has ended and its socket is closed, and tells what ended it
    pub fn closed(&self) -> impl Future<Output = CloseReason> + use<> {
        let (link, watched) = (Arc::clone(&self.link), Arc::clone(&self.link));
        Watch::new(
            move |cx: &mut Context<'_>| {
                let mut state = link.lock();
                match state.closed {
                    Some(why) if state.finished => Poll::Ready(why),
                    _ => {
                        state.closers.add(cx.waker());
                        Poll::Pending
                    }
                }
            },
            move |waker: &Waker| {
                let forgotten = watched.lock().closers.forget(waker);
                forgotten.into_iter().for_each(Waker::wake);
            },
        )
    }

    /// How far the connection's life has come
    #[must_use]
    pub fn state(&self) -> State {
        self.link.lock().conn.state()
    }

    /// The connection's counters
    #[must_use]
    pub fn stats(&self) -> Stats {
        *self.link.lock().conn.stats()
    }

    /// Calls and pings of ours that are not over yet
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.link.lock().conn.in_flight()
    }

    /// What the peer said of itself in `$hello`
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.link.lock().conn.dialect().capabilities()
    }

    /// The connection's number, unlike that of any other in this process
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.link.info.id
    }

    /// What the connection speaks
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.link.info.protocol
    }

    /// The other end's address, for people
    #[must_use]
    pub fn remote(&self) -> &str {
        &self.link.info.remote
    }

    /// The router's data of this type: see [`Router::state`](crate::Router::state)
    #[must_use]
    pub fn shared<T: core::marker::Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.link.info.shared.get()
    }

    /// All connections of the same server, this one among them while it lives, in the order they came
    #[must_use]
    pub fn everyone(&self) -> Vec<Self> {
        self.link.hub.upgrade().map(|hub| hub.peers()).unwrap_or_default()
    }

    /// Sends a message to all connections of the same server, this one among them, and tells how many took it; for handlers
    /// and hooks, which have no [`ServerHandle`](crate::ServerHandle)
    ///
    /// Never waits: one whose buffer is full is passed over, so that a slow reader stalls nobody.
    ///
    /// # Errors
    /// The payload can't be encoded.
    pub fn broadcast<'a>(&self, code: &str, payload: impl IntoPayload<'a>) -> Result<usize, FormatError> {
        Ok(send_to_all(&self.everyone(), code, payload.into_payload()?))
    }

    /// Typed data of the application's, kept with the connection
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.link.info.session
    }
}

impl Caller for Peer {
    fn info(&self) -> &Info {
        &self.link.info
    }

    fn format(&self) -> WireFormat {
        match self.link.info.protocol {
            Protocol::FlyRpc => self.link.options.format,
            Protocol::JsonRpc => WireFormat::Json,
        }
    }

    fn is_cancelled(&self, request: RequestId) -> bool {
        let state = self.link.lock();
        if request == MESSAGE { state.is_closed() } else { state.requests.is_cancelled(request) }
    }

    fn poll_cancelled(&self, request: RequestId, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.link.lock();
        if request != MESSAGE {
            return state.requests.poll_cancelled(request, cx.waker());
        }
        if state.is_closed() {
            return Poll::Ready(());
        }
        state.closers.add(cx.waker());
        Poll::Pending
    }

    fn error_code(&self, error: &(dyn core::error::Error + 'static)) -> Option<&'static str> {
        (self.link.error_code)(error)
    }

    fn forget_cancelled(&self, request: RequestId, waker: &Waker) {
        let mut state = self.link.lock();
        let forgotten = if request == MESSAGE {
            state.closers.forget(waker)
        } else {
            state.requests.forget_cancelled(request, waker)
        };
        drop(state);
        forgotten.into_iter().for_each(Waker::wake);
    }
}

/// What an answer becomes: [`Response`] as it comes, or anything that [`Decode`]s, for which a code is an error
pub trait Answer: Sized {
    /// Takes an answer apart
    ///
    /// # Errors
    /// [`Error::Remote`], [`Error::UnreadableReply`]
    fn from_answer(outcome: Outcome) -> Result<Self, Error>;
}

impl Answer for Response {
    fn from_answer(outcome: Outcome) -> Result<Self, Error> {
        Ok(match outcome {
            Ok(payload) => Self { code: String::new(), payload },
            Err(error) => Self { code: error.code, payload: error.details.into() },
        })
    }
}

/// The peer has acknowledged a request: its handler is done; what it gave back is passed over
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack;

impl Answer for Ack {
    fn from_answer(outcome: Outcome) -> Result<Self, Error> {
        outcome.map(|_| Self).map_err(Error::Remote)
    }
}

impl<T: Decode> Answer for T {
    fn from_answer(outcome: Outcome) -> Result<Self, Error> {
        T::decode_owned(outcome?).map_err(|error| Error::UnreadableReply(UnreadableReply::Format(error)))
    }
}

/// A packet that waits for room in the outgoing buffer
#[derive(Debug)]
struct Outgoing<'a> {
    link: &'a Link,
    code: &'a str,
    payload: Result<Payload<'a>, FormatError>,
    deadline: Option<Instant>,
    ticket: Option<u64>,
}

impl<'a> Outgoing<'a> {
    fn new(link: &'a Link, code: &'a str, payload: Result<Payload<'a>, FormatError>) -> Self {
        Self { link, code, payload, deadline: None, ticket: None }
    }

    /// Ready with the lock, the time and the deadline, once there is room
    fn poll(
        &mut self,
        within: Option<Duration>,
        cx: &Context<'_>,
    ) -> Poll<Result<(Guard<'a>, Instant, Instant), Error>> {
        if let Err(error) = &self.payload {
            return Poll::Ready(Err(Error::Unencodable(error.clone())));
        }
        let link = self.link;
        let state = link.lock();
        // A driver that is about to come has just looked at the clock: near enough to time seconds from.
        let near_enough = state.turn && within.is_none() && self.deadline.is_none();
        let now = if near_enough { state.now } else { link.now() };
        let deadline = *self
            .deadline
            .get_or_insert_with(|| now + within.unwrap_or_else(|| link.options.limits.get_call_timeout()));
        let room = ready!(poll_room(link, state, &mut self.ticket, now, deadline, cx.waker()));
        Poll::Ready(room.map(|state| (state, now, deadline)))
    }

    fn payload(&self) -> &Payload<'a> {
        self.payload.as_ref().unwrap_or(const { &Payload::Borrowed(&[]) })
    }

    /// The packet is encoded, or was refused: who waits behind it may come
    #[inline]
    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.leave_queue(ticket);
        }
    }

    #[cold]
    fn leave_queue(&self, ticket: u64) {
        let mut state = self.link.lock();
        let was_woken = state.room.leave(ticket);
        let has_room = state.unsent < self.link.options.send_buffer;
        let next = if was_woken && has_room { state.room.wake_next() } else { None };
        drop(state);
        if let Some(next) = next {
            next.wake();
        }
    }
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A call under way: see [`Peer::call`]
///
/// Nothing is sent until it is polled; dropping it then cancels the call.
#[derive(Debug)]
#[must_use = "a call is not sent until it is awaited"]
pub struct Call<'a, T = Bytes> {
    packet: Outgoing<'a>,
    within: Option<Duration>,
    /// Where its outcome will be
    place: Option<u32>,
    over: bool,
    answer: PhantomData<fn() -> T>,
}

impl<T> Call<'_, T> {
    /// Gives up after this time, which counts from the first poll
    pub const fn within(mut self, timeout: Duration) -> Self {
        self.within = Some(timeout);
        self
    }

    fn poll_answer(&mut self, cx: &Context<'_>) -> Poll<Result<T, Error>>
    where
        T: Answer,
    {
        let link = self.packet.link;
        if let Some(place) = self.place {
            let done = ready!(link.lock().calls.poll(place, cx.waker()));
            self.place = None;
            return Poll::Ready(done.into_outcome().and_then(T::from_answer));
        }
        let (mut state, now, deadline) = ready!(self.packet.poll(self.within, cx))?;
        let (code, payload) = (self.packet.code, self.packet.payload());
        let shared = payload.shared();
        let place = link.call(&mut state, now, code, payload.as_ref(), shared, deadline, cx.waker())?;
        self.place = Some(place);
        let alone = state.is_alone();
        link.encoded(state, alone);
        self.packet.leave();
        self.packet.payload = Ok(Payload::Borrowed(&[]));
        Poll::Pending
    }
}

impl<T: Answer> Future for Call<'_, T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(Err(Error::Cancelled));
        }
        let answer = ready!(this.poll_answer(cx));
        this.over = true;
        this.packet.leave();
        Poll::Ready(answer)
    }
}

impl<T> Drop for Call<'_, T> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            release(self.packet.link, place);
        }
    }
}

/// Nobody waits for the call at `place` any more
pub(crate) fn release(link: &Link, place: u32) {
    let mut guard = link.lock();
    let state = &mut *guard;
    let mut cancelled = false;
    state.calls.release(place, |call| {
        cancelled = state.conn.cancel(call).is_some();
        cancelled
    });
    if cancelled {
        // A packet may tell the peer. Few can wait, so it is encoded at once.
        let before = state.out.len();
        state.transmit();
        if state.out.len() > before || state.conn.poll_timeout().is_some_and(|next| next < state.armed) {
            link.encoded(guard, false);
        }
    }
}

/// A message under way: see [`Peer::send`]
#[derive(Debug)]
#[must_use = "a message is not sent until it is awaited"]
pub struct Sending<'a> {
    packet: Outgoing<'a>,
    over: bool,
}

impl Future for Sending<'_> {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(Err(Error::Cancelled));
        }
        let packet = &mut this.packet;
        let room = ready!(packet.poll(None, cx));
        this.over = true;
        let sent = room.and_then(|(mut state, now, _)| {
            let payload = packet.payload();
            packet.link.notify(&mut state, now, packet.code, payload.as_ref(), payload.shared())?;
            packet.link.encoded(state, false);
            Ok(())
        });
        packet.leave();
        Poll::Ready(sent)
    }
}

/// A ping under way: see [`Peer::ping`]
#[derive(Debug)]
#[must_use = "a ping is not sent until it is awaited"]
pub struct Ping<'a> {
    link: &'a Link,
    len: usize,
    timeout: Duration,
    /// Where its outcome will be, and when it was sent
    sent: Option<(u32, Instant)>,
    over: bool,
}

impl Future for Ping<'_> {
    type Output = Result<Pong, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(Err(Error::Cancelled));
        }
        let mut guard = this.link.lock();
        if let Some((place, start)) = this.sent {
            let done = ready!(guard.calls.poll(place, cx.waker()));
            drop(guard);
            (this.sent, this.over) = (None, true);
            return Poll::Ready(match done {
                Done::Pong(len) => Ok(Pong { time: this.link.now() - start, len }),
                Done::Answer(_) => Err(Error::Cancelled),
                Done::Failed(error) => Err(error),
            });
        }
        let now = this.link.now();
        let place = guard.calls.reserve(cx.waker().clone());
        match this.link.ping(&mut guard, now, this.len, now + this.timeout, place) {
            Ok(id) => guard.calls.made(place, id),
            Err(why) => {
                guard.calls.release(place, |_| true);
                this.over = true;
                return Poll::Ready(Err(Error::Refused(why)));
            }
        }
        this.sent = Some((place, now));
        let alone = guard.is_alone();
        this.link.encoded(guard, alone);
        Poll::Pending
    }
}

impl Drop for Ping<'_> {
    fn drop(&mut self) {
        if let Some((place, _)) = self.sent {
            release(self.link, place);
        }
    }
}
