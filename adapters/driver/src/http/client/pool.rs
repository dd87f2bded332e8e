//! Units that wait for a connection, connections that wait for a unit, and answers that wait to be read

use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;

use super::HttpOptions;
use crate::Address;
use crate::http::exchange::unit;
use crate::http::look;

/// What an [`HttpClient`](super::HttpClient) and its workers share
pub(super) struct Pool {
    pub(super) address: Address,
    pub(super) host: HeaderValue,
    pub(super) path: PathAndQuery,
    pub(super) options: HttpOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Messages to be posted
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// Workers that have not ended, and how to call them
    workers: usize,
    wakers: BTreeMap<u64, Waker>,
    /// Numbers the workers
    last: u64,
    /// Workers without an exchange; the last one is called first, so that others can time out
    idle: Vec<u64>,
    /// Messages that a worker has
    under_way: usize,
    /// Units to be read
    answers: VecDeque<Bytes>,
    /// Bytes of `answers`, and of answers that are being received
    held: usize,
    /// The one worker that receives beyond the limit
    exempt: Option<u64>,
    /// Workers that wait to receive more
    receivers: Vec<Waker>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Nothing more is posted
    ended: bool,
    /// Nobody is interested any more
    abandoned: bool,
}

/// Most bytes of units that wait for a connection, beside the one that passes it
const MAX_WAITING_BYTES: usize = 4 << 20;
/// Bytes of answers, whole or in part, past which none is received before others are read, except one when there is none to read
const MAX_HELD: usize = 4 << 20;

impl Pool {
    pub(super) fn new(address: Address, host: HeaderValue, path: PathAndQuery, options: HttpOptions) -> Self {
        Self { address, host, path, options, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remote(&self) -> String {
        format!("http://{}{}", self.host.to_str().unwrap_or_default(), self.path)
    }

    /// Takes a message to be posted; gives the seat of another worker if that needs one
    pub(super) fn post(self: &Arc<Self>, message: Bytes) -> io::Result<Option<Seat>> {
        let mut state = self.lock();
        if state.ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if look::is_response(&message) {
            return Ok(None);
        }
        state.waiting_bytes += message.len();
        state.waiting.push_back(message);
        if let Some(waker) = state.call_idle() {
            drop(state);
            waker.wake();
            return Ok(None);
        }
        if state.workers == self.options.connections {
            return Ok(None);
        }
        state.workers += 1;
        state.last += 1;
        let id = state.last;
        Ok(Some(Seat { pool: Arc::clone(self), id, message: None, held: 0, has_left: false }))
    }

    /// Ready while another message may be posted
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let full =
            state.waiting.len() >= self.options.max_waiting || state.waiting_bytes >= MAX_WAITING_BYTES;
        if full && !state.ended {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The next unit to read; `None` when all have been, and there will be none
    pub(super) fn poll_answer(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        if let Some(unit) = state.answers.pop_front() {
            state.held = state.held.saturating_sub(unit.len());
            let receivers = core::mem::take(&mut state.receivers);
            drop(state);
            receivers.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(unit));
        }
        if state.ended && state.is_done() {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends it; ready when nothing is under way
    pub(super) fn poll_done(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let mut wakers = Vec::new();
        if !core::mem::replace(&mut state.ended, true) {
            wakers.extend(core::iter::from_fn(|| state.call_idle()));
        }
        let is_done = state.is_done();
        if is_done {
            wakers.extend(state.reader.take());
        } else {
            state.writer = Some(cx.waker().clone());
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Is nobody interested any more? Worker `id` is called when that changes, and when there is something for it to do
    pub(super) fn poll_abandoned(&self, id: u64, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.abandoned {
            return Poll::Ready(());
        }
        let entry = state.wakers.entry(id);
        entry.and_modify(|waker| waker.clone_from(cx.waker())).or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }

    /// Ends it, with everything that is under way
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        (state.ended, state.abandoned) = (true, true);
        let dropped = (core::mem::take(&mut state.waiting), core::mem::take(&mut state.answers));
        let wakers = core::mem::take(&mut state.wakers);
        drop(state);
        drop(dropped);
        wakers.into_values().for_each(Waker::wake);
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }

    /// Wakes a worker without an exchange
    fn call_idle(&mut self) -> Option<Waker> {
        let id = self.idle.pop()?;
        self.wakers.get(&id).cloned()
    }

    /// Those who wait for what may have come about when an exchange has ended
    fn take_wakers(&mut self) -> Vec<Waker> {
        let mut wakers = core::mem::take(&mut self.receivers);
        wakers.extend(self.reader.take());
        wakers.extend(self.writer.take());
        wakers
    }

    fn answer(&mut self, unit: Bytes) {
        self.held += unit.len();
        self.answers.push_back(unit);
    }
}

/// A worker's place in the pool, and the message that it has
pub(super) struct Seat {
    pub(super) pool: Arc<Pool>,
    pub(super) id: u64,
    message: Option<Bytes>,
    /// Bytes that were received of its answer
    held: usize,
    has_left: bool,
}

impl Seat {
    /// The next message to post; `None` if there is none, and the worker may not wait for one or it is the end
    ///
    /// The worker has no place any more then. While it waits it is woken by what [`poll_abandoned`](Pool::poll_abandoned) has noted.
    pub(super) fn poll_next(&mut self, may_wait: bool) -> Poll<Option<Bytes>> {
        let mut state = self.pool.lock();
        let next = state.waiting.pop_front();
        if next.is_none() && may_wait && !state.ended {
            if !state.idle.contains(&self.id) {
                state.idle.push(self.id);
            }
            return Poll::Pending;
        }
        let id = self.id;
        state.idle.retain(|idle| *idle != id);
        let mut writer = None;
        if let Some(message) = &next {
            state.waiting_bytes = state.waiting_bytes.saturating_sub(message.len());
            state.under_way += 1;
            writer = state.writer.take();
        } else {
            state.workers -= 1;
            state.wakers.remove(&id);
            self.has_left = true;
        }
        drop(state);
        self.message.clone_from(&next);
        if let Some(waker) = writer {
            waker.wake();
        }
        Poll::Ready(next)
    }

    /// May more of the answer be received?
    pub(super) fn poll_may_receive(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.pool.lock();
        // With nothing to be read, all that is held are parts of answers: one has to get on.
        if state.answers.is_empty() && state.exempt.is_none() && state.held >= MAX_HELD {
            state.exempt = Some(self.id);
        }
        if state.held < MAX_HELD || state.exempt == Some(self.id) {
            return Poll::Ready(());
        }
        state.receivers.push(cx.waker().clone());
        Poll::Pending
    }

    /// So much more was received
    pub(super) fn received(&mut self, bytes: usize) {
        self.held += bytes;
        self.pool.lock().held += bytes;
    }

    /// The exchange has ended; these units are to be read
    pub(super) fn done(&mut self, units: impl IntoIterator<Item = Bytes>) {
        if self.message.take().is_none() {
            return;
        }
        let mut state = self.pool.lock();
        state.under_way -= 1;
        state.held = state.held.saturating_sub(core::mem::take(&mut self.held));
        if state.exempt == Some(self.id) {
            state.exempt = None;
        }
        if !state.abandoned {
            units.into_iter().for_each(|unit| state.answer(unit));
        }
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The runtime may drop a worker's task at any time
impl Drop for Seat {
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        let lost = self.message.as_deref().and_then(failed);
        self.done(lost);
        let mut state = self.pool.lock();
        let id = self.id;
        state.workers -= 1;
        state.wakers.remove(&id);
        state.idle.retain(|idle| *idle != id);
        let mut wakers = Vec::new();
        if state.workers == 0 {
            let waiting = core::mem::take(&mut state.waiting);
            state.waiting_bytes = 0;
            waiting.iter().filter_map(|message| failed(message)).for_each(|unit| state.answer(unit));
            wakers = state.take_wakers();
        } else if !state.waiting.is_empty() {
            wakers.extend(state.call_idle());
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// What is to be read for a message whose worker was dropped
fn failed(message: &[u8]) -> Option<Bytes> {
    unit(&look::settle(message, &[], &look::error("HTTP exchange dropped")).missing?)
}

impl core::fmt::Debug for Pool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let state = self.lock();
        f.debug_struct("Pool")
            .field("address", &self.address)
            .field("workers", &state.workers)
            .field("waiting", &state.waiting.len())
            .field("under_way", &state.under_way)
            .field("held", &state.held)
            .finish_non_exhaustive()
    }
}
