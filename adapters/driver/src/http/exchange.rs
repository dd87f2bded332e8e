//! One POST of a client's, as a connection of one unit each way

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use super::io::take;
use super::look;
use crate::runtime::Transport;

/// One request over HTTP and its answer: a transport that gives one unit, then the end of the stream
///
/// The first unit written that is a response, or a batch of them, is the answer's body: status 200. Others that are written
/// have no place in HTTP and are dropped. [`poll_shutdown`](Transport::poll_shutdown) before there was one says that nothing is
/// owed: status 204. Dropping it before either is status 503.
///
/// A client that goes away makes reads and writes fail. Who has read the end of the stream already and only waits for a handler is
/// told by [`departure`](Self::departure).
#[derive(Debug)]
pub struct Exchange {
    shared: Arc<Shared>,
    /// What is still to be read
    unit: Bytes,
    /// What was written of a unit that is not whole yet
    written: Units,
    remote: String,
}

/// Tells of a client that went away before its answer
#[derive(Debug)]
pub struct Departure {
    shared: Arc<Shared>,
}

/// What becomes of an exchange, as the HTTP connection sees it
pub(crate) enum Answer {
    /// This unit's message
    Message(Bytes),
    /// Nothing is owed
    Nothing,
    /// Its connection ended without an answer
    Dropped,
}

/// The HTTP connection's side: ready with the answer; dropping it before is the client going away
pub(crate) struct Answering {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    stage: Stage,
    waker: Option<Waker>,
    on_departure: Option<Box<dyn FnOnce() + Send>>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Waiting,
    Answered(Answer),
    /// The answer was taken, or the client has gone
    Over {
        gone: bool,
    },
}

impl Exchange {
    /// An exchange for this unit, its length included
    pub(crate) fn new(unit: Bytes, remote: String) -> (Self, Answering) {
        let shared = Arc::new(Shared::default());
        let exchange = Self { shared: Arc::clone(&shared), unit, written: Units::default(), remote };
        (exchange, Answering { shared })
    }

    /// Tells when the client goes away before it has its answer
    #[must_use]
    pub fn departure(&self) -> Departure {
        Departure { shared: Arc::clone(&self.shared) }
    }
}

impl Departure {
    /// Calls this when the client goes away, at once if it has; not at all once there is an answer
    ///
    /// It must not wait or panic. Another call takes the place of the one before.
    pub fn then(self, hook: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.lock();
        match state.stage {
            Stage::Waiting => {
                let before = state.on_departure.replace(Box::new(hook));
                drop(state);
                drop(before);
            }
            Stage::Over { gone: true } => {
                drop(state);
                hook();
            }
            Stage::Answered(_) | Stage::Over { gone: false } => {}
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(&self) -> bool {
        matches!(self.lock().stage, Stage::Over { gone: true })
    }

    /// The first answer counts
    fn answer(&self, answer: Answer) {
        let mut state = self.lock();
        if !matches!(state.stage, Stage::Waiting) {
            return;
        }
        state.stage = Stage::Answered(answer);
        let (waker, hook) = (state.waker.take(), state.on_departure.take());
        drop(state);
        drop(hook);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl core::fmt::Debug for Shared {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Transport for Exchange {
    fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        if self.shared.is_gone() {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(take(&mut self.unit, buf)))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.shared.is_gone() {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let mut written = 0;
        for part in parts {
            written += part.len();
            let mut rest: &[u8] = part;
            while let Some(message) = self.written.next(&mut rest) {
                if look::is_response(&message) {
                    self.shared.answer(Answer::Message(message));
                }
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.answer(Answer::Nothing);
        Poll::Ready(Ok(()))
    }

    fn may_be_called(&self) -> bool {
        false
    }

    fn remote(&self) -> String {
        self.remote.clone()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.answer(Answer::Dropped);
    }
}

impl Future for Answering {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.shared.lock();
        if let Stage::Waiting = state.stage {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match core::mem::replace(&mut state.stage, Stage::Over { gone: false }) {
            Stage::Answered(answer) => Poll::Ready(answer),
            Stage::Waiting | Stage::Over { .. } => Poll::Ready(Answer::Dropped),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if matches!(state.stage, Stage::Over { .. }) {
            return;
        }
        let stage = core::mem::replace(&mut state.stage, Stage::Over { gone: true });
        let (waker, hook) = (state.waker.take(), state.on_departure.take());
        drop(state);
        drop((stage, waker));
        if let Some(hook) = hook {
            hook();
        }
    }
}

/// Units out of the pieces that they were written in
#[derive(Debug, Default)]
pub(super) struct Units {
    partial: BytesMut,
}

/// Bytes of a unit's length
pub(super) const LENGTH: usize = 4;

impl Units {
    /// The next whole message; takes of `data` what belongs to it, or all there is
    pub(super) fn next(&mut self, data: &mut &[u8]) -> Option<Bytes> {
        loop {
            let missing = self.wanted() - self.partial.len();
            let (taken, rest) = data.split_at_checked(missing).unwrap_or((data, &[]));
            self.partial.extend_from_slice(taken);
            *data = rest;
            if taken.len() < missing {
                return None;
            }
            if self.partial.len() == self.wanted() {
                let unit = self.partial.split().freeze();
                return Some(unit.slice(LENGTH..));
            }
        }
    }

    /// Length of what is whole: of the length itself, then of the unit
    fn wanted(&self) -> usize {
        match self.partial.first_chunk::<LENGTH>() {
            Some(length) => LENGTH.saturating_add(u32::from_be_bytes(*length) as usize),
            None => LENGTH,
        }
    }
}

/// The message with its length in front, `None` if it is longer than a length can tell
pub(super) fn unit(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut unit = BytesMut::with_capacity(LENGTH + message.len());
    unit.extend_from_slice(&length.to_be_bytes());
    unit.extend_from_slice(message);
    Some(unit.freeze())
}
