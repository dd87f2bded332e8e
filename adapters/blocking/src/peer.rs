//! The other end of a connection, to be called

use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use flyrpc_core::fly::{Capabilities, codes};
use flyrpc_core::{Call, CallId, CloseReason, Instant, Refusal, State, Stats};
use flyrpc_driver::{
    Answer, Caller, ConnectionId, Error, FormatError, Info, IntoPayload, Outcome, Pong, Protocol, RequestId,
    Response, Session, WireFormat,
};

use crate::link::{Guard, Link};
use crate::requests::{Fate, MESSAGE};
use crate::server::send_to_all;

/// The other end of a connection
///
/// A cheap clone; every method may be used from any thread, and blocks until it is done. Dropping it leaves the
/// connection open: a client ends with its [`Connected`](crate::Connected), a server's connection with its peer.
#[derive(Clone, Debug)]
pub struct Peer {
    pub(crate) link: Arc<Link>,
}

/// A call under way; dropping it cancels the call
#[derive(Debug)]
#[must_use = "dropping it cancels the call"]
pub struct PendingCall {
    link: Arc<Link>,
    waiter: Arc<Waiter>,
    call: CallId,
    deadline: Instant,
    over: bool,
}

/// Where a call's answer is put
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    done: Mutex<Option<Done>>,
    ready: Condvar,
    hello: bool,
}

/// What became of a call or ping
#[derive(Debug)]
pub(crate) enum Done {
    /// An answer: the payload, or the error
    Answer(Outcome),
    /// A ping came back with this many bytes
    Pong(u64),
    Failed(Error),
}

impl Waiter {
    /// Of a `$hello` that nobody waits for: who reads takes note of its answer
    pub(crate) fn for_hello() -> Self {
        Self { hello: true, ..Self::default() }
    }

    pub(crate) const fn is_for_hello(&self) -> bool {
        self.hello
    }

    pub(crate) fn finish(&self, done: Done) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        self.ready.notify_all();
    }

    /// What became of it, if that is known by then
    fn wait(&self, time: Duration) -> Option<Done> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ready.wait_timeout_while(done, time, |done| done.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

impl Peer {
    /// Calls and waits for the result, for [`Limits::call_timeout`](crate::Limits::call_timeout) at the longest
    ///
    /// # Errors
    /// [`Error`]; a response with a code is [`Error::Remote`].
    pub fn call<'a>(&self, code: &str, payload: impl IntoPayload<'a>) -> Result<Bytes, Error> {
        self.call_as(code, payload)
    }

    /// Calls and waits for the result, for `timeout` at the longest
    ///
    /// # Errors
    /// [`Error`]; a response with a code is [`Error::Remote`].
    pub fn call_within<'a>(
        &self,
        code: &str,
        payload: impl IntoPayload<'a>,
        timeout: Duration,
    ) -> Result<Bytes, Error> {
        self.start(code, payload, timeout)?.wait()
    }

    /// Calls and gives the result as a `T`: `peer.call_as::<Json<Answer>>("code", Json(&question))?`
    ///
    /// # Errors
    /// [`Error`]; a response with a code is [`Error::Remote`], one that does not decode [`Error::UnreadableReply`].
    pub fn call_as<'a, T: Answer>(&self, code: &str, payload: impl IntoPayload<'a>) -> Result<T, Error> {
        self.start(code, payload, self.link.options.limits.get_call_timeout())?.wait_as()
    }

    /// Calls and gives the answer as it came, without taking a code for an error
    ///
    /// # Errors
    /// [`Error`], but never [`Error::Remote`].
    pub fn request<'a>(&self, code: &str, payload: impl IntoPayload<'a>) -> Result<Response, Error> {
        self.call_as(code, payload)
    }

    /// Sends a request and returns at once
    ///
    /// It waits only where the outgoing buffer is full.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unencodable`], or [`Error::TimedOut`] when the buffer stayed full.
    pub fn start<'a>(
        &self,
        code: &str,
        payload: impl IntoPayload<'a>,
        timeout: Duration,
    ) -> Result<PendingCall, Error> {
        let payload = payload.into_payload().map_err(Error::Unencodable)?;
        let deadline = self.link.now() + timeout;
        let waiter = Arc::new(Waiter::default());
        let tag = Arc::clone(&waiter);
        let call = self.encode(deadline, |state, now| {
            let packed = state.packer.pack(state.conn.dialect(), code.as_bytes(), payload.as_ref())?;
            let call = Call::new(packed.code, packed.payload).meta(packed.zip.into()).deadline(deadline);
            state.conn.call(now, call, tag, &mut state.out).map_err(|refused| Error::Refused(refused.why))
        })?;
        Ok(PendingCall { link: Arc::clone(&self.link), waiter, call, deadline, over: false })
    }

    /// Sends a request whose answer is only an acknowledgement, and waits for it
    ///
    /// # Errors
    /// [`Error`]
    pub fn send_acked<'a>(&self, code: &str, payload: impl IntoPayload<'a>) -> Result<(), Error> {
        self.call(code, payload).map(drop)
    }

    /// Sends a message that is not answered: delivered at most once, and never known whether
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unencodable`], or [`Error::TimedOut`] when the outgoing buffer stayed full.
    pub fn send<'a>(&self, code: &str, payload: impl IntoPayload<'a>) -> Result<(), Error> {
        let payload = payload.into_payload().map_err(Error::Unencodable)?;
        let deadline = self.link.now() + self.link.options.limits.get_call_timeout();
        let state = self.link.lock_with_room(deadline)?;
        self.notify(state, code, payload.as_ref())
    }

    /// Sends a message without waiting for room, or not at all
    ///
    /// A peer that has just stopped to read may hold it up for a few milliseconds, once.
    ///
    /// # Errors
    /// [`Error::Unencodable`], or [`Error::Refused`], with [`Refusal::NoRoom`] when the outgoing buffer is full.
    pub fn try_send<'a>(&self, code: &str, payload: impl IntoPayload<'a>) -> Result<(), Error> {
        let payload = payload.into_payload().map_err(Error::Unencodable)?;
        let state = self.link.lock();
        if state.out.len() >= self.link.options.send_buffer && state.conn.state() != State::Closed {
            return Err(Error::Refused(Refusal::NoRoom { need: state.out.len() }));
        }
        self.notify(state, code, payload.as_ref())
    }

    fn notify(&self, mut guard: Guard<'_>, code: &str, payload: &[u8]) -> Result<(), Error> {
        let state = &mut *guard;
        let packed = state.packer.pack(state.conn.dialect(), code.as_bytes(), payload)?;
        let call = Call::new(packed.code, packed.payload).meta(packed.zip.into());
        state.conn.notify(self.link.now(), call, &mut state.out).map_err(|refused| refused.why)?;
        self.link.flush_locked(guard);
        Ok(())
    }

    /// Sends `len` bytes that come back, and tells how long that took and how many came
    ///
    /// A peer that does not know pings, or takes none so long, answers with an error: fewer bytes come back, which proves life
    /// as well.
    ///
    /// # Errors
    /// [`Error`]
    pub fn ping(&self, len: usize, timeout: Duration) -> Result<Pong, Error> {
        let start = self.link.now();
        let deadline = start + timeout;
        let waiter = Arc::new(Waiter::default());
        let tag = Arc::clone(&waiter);
        let call = self.encode(deadline, |state, now| {
            state
                .conn
                .ping(now, len, deadline, tag, &mut state.out)
                .map_err(|refused| Error::Refused(refused.why))
        })?;
        let pending = PendingCall { link: Arc::clone(&self.link), waiter, call, deadline, over: false };
        match pending.done() {
            Done::Pong(len) => Ok(Pong { time: self.link.now() - start, len }),
            Done::Answer(_) => Err(Error::Cancelled),
            Done::Failed(error) => Err(error),
        }
    }

    /// Tells the peer what this side can do and learns the same of it; nothing, from a peer of the base protocol, and on
    /// connections that don't speak FlyRPC
    ///
    /// # Errors
    /// [`Error`]
    pub fn hello(&self) -> Result<Capabilities, Error> {
        if self.link.info.protocol != Protocol::FlyRpc {
            return Ok(Capabilities::default());
        }
        let ours = Capabilities::ours(&self.link.options.limits).to_list();
        let response = self.request(codes::HELLO, ours.as_bytes())?;
        let mut state = self.link.lock();
        if response.code.is_empty() {
            state.conn.dialect_mut().learn(&response.payload);
        }
        Ok(state.conn.dialect().capabilities())
    }

    /// Sends nothing new, waits until all answers owed have been given and received, and ends the connection; by
    /// `timeout` at the latest
    ///
    /// Returns what ended it. Not for the inside of a request's handler: it would wait for the handler's own answer.
    pub fn drain(&self, timeout: Duration) -> CloseReason {
        let link = &self.link;
        let mut state = link.lock();
        let now = link.now();
        let deadline = now + timeout;
        state.conn.drain(now, deadline);
        link.pump(&mut state);
        link.flush_locked(state);
        let why = link.wait_closed(Instant::FAR).unwrap_or(CloseReason::DrainDeadline);
        link.linger(deadline);
        why
    }

    /// Ends the connection at once; calls in flight end with [`Error::Lost`]
    pub fn close(&self) {
        self.link.close();
    }

    /// Waits until the connection has ended, and tells what ended it
    #[must_use]
    pub fn closed(&self) -> CloseReason {
        self.link.wait_closed(Instant::FAR).unwrap_or(CloseReason::Local)
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

    /// The connection's number
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
    pub fn shared<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.link.info.shared.get()
    }

    /// All connections of the same server, this one among them while it lives, in the order they came
    #[must_use]
    pub fn everyone(&self) -> Vec<Self> {
        self.link.server.upgrade().map(|server| server.peers()).unwrap_or_default()
    }

    /// Sends a message to all connections of the same server, this one among them, and tells how many took it; for handlers
    /// and hooks, which have no [`ServerHandle`](crate::ServerHandle)
    ///
    /// Never waits for room: one whose buffer is full is passed over, so that a slow reader stalls nobody. See
    /// [`try_send`](Self::try_send).
    ///
    /// # Errors
    /// The payload can't be encoded.
    pub fn broadcast<'a>(&self, code: &str, payload: impl IntoPayload<'a>) -> Result<usize, FormatError> {
        Ok(send_to_all(&self.everyone(), code, &payload.into_payload()?))
    }

    /// Typed data of the application's, kept with the connection
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.link.info.session
    }

    /// Encodes a packet under the lock, and sends it
    fn encode<T>(
        &self,
        deadline: Instant,
        packet: impl FnOnce(&mut crate::link::State, Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let link = &self.link;
        let mut state = link.lock_with_room(deadline)?;
        let encoded = packet(&mut state, link.now())?;
        link.flush_locked(state);
        Ok(encoded)
    }
}

impl Caller for Peer {
    fn info(&self) -> &Info {
        &self.link.info
    }

    fn format(&self) -> WireFormat {
        match self.link.info.protocol {
            Protocol::FlyRpc => self.link.options.format,
            // Others leave no choice.
            Protocol::JsonRpc | _ => WireFormat::Json,
        }
    }

    fn is_cancelled(&self, request: RequestId) -> bool {
        let state = self.link.lock();
        state.closed.is_some() || request != MESSAGE && state.requests.fate(request) != Fate::Go
    }

    fn poll_cancelled(&self, request: RequestId, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.link.lock();
        if state.closed.is_some() {
            return Poll::Ready(());
        }
        if request != MESSAGE {
            return state.requests.poll_cancelled(request, cx.waker());
        }
        if !state.closers.iter().any(|known| known.will_wake(cx.waker())) {
            state.closers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn forget_cancelled(&self, request: RequestId, waker: &Waker) {
        let mut state = self.link.lock();
        let watchers =
            if request == MESSAGE { Some(&mut state.closers) } else { state.requests.watchers(request) };
        let forgotten = watchers.and_then(|watchers| {
            let at = watchers.iter().position(|known| known.will_wake(waker))?;
            Some(watchers.swap_remove(at))
        });
        drop(state);
        // Others may wait with the same: they come again.
        if let Some(forgotten) = forgotten {
            forgotten.wake();
        }
    }
}

impl PendingCall {
    /// Waits for the result
    ///
    /// # Errors
    /// [`Error`]; a response with a code is [`Error::Remote`].
    pub fn wait(self) -> Result<Bytes, Error> {
        self.wait_as()
    }

    /// Waits for the result, and gives it as a `T`
    ///
    /// # Errors
    /// [`Error`]; a response with a code is [`Error::Remote`], one that does not decode [`Error::UnreadableReply`].
    pub fn wait_as<T: Answer>(self) -> Result<T, Error> {
        match self.done() {
            Done::Answer(outcome) => T::from_answer(outcome),
            Done::Pong(_) => Err(Error::Cancelled),
            Done::Failed(error) => Err(error),
        }
    }

    /// Waits for the answer as it comes
    ///
    /// # Errors
    /// [`Error`], but never [`Error::Remote`].
    pub fn response(self) -> Result<Response, Error> {
        self.wait_as()
    }

    /// Waits for what becomes of it
    fn done(mut self) -> Done {
        loop {
            let time = self.deadline.saturating_duration_since(self.link.now());
            if let Some(done) = self.waiter.wait(time) {
                self.over = true;
                return done;
            }
            // The deadline has come: this thread tells the connection, which decides.
            let mut state = self.link.lock();
            self.link.tick(&mut state);
            // A peer that knows cancel is told.
            self.link.flush_locked(state);
        }
    }

    /// Gives the call up: its result is not wanted any more, and the peer is told where it understands
    ///
    /// A result that has come already is dropped.
    pub fn cancel(self) {}
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = self.link.lock();
        // It may have timed out, which nobody but its owner watches.
        self.link.tick(&mut state);
        if let Some(waiter) = state.conn.cancel(self.call) {
            waiter.finish(Done::Failed(Error::Cancelled));
            self.link.pump(&mut state);
        }
        self.link.flush_locked(state);
    }
}
