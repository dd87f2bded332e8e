//! From the connection over a line to the next one

use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, PoisonError};

use super::Life;

/// Where a connection leaves its line when it has ended
pub(crate) struct Next<T>(Mutex<State<T>>);

enum State<T> {
    /// The connection lives; who waits for its end
    Lives(Option<Waker>),
    /// It has ended, with or without something to go on with
    Over(Option<Life<T>>),
}

impl<T> Default for Next<T> {
    fn default() -> Self {
        Self(Mutex::new(State::Lives(None)))
    }
}

impl<T> Next<T> {
    /// The connection has ended
    pub(super) fn end(&self, life: Option<Life<T>>) {
        let before = core::mem::replace(&mut *self.lock(), State::Over(life));
        if let State::Lives(Some(waker)) = before {
            waker.wake();
        }
    }

    /// Ready when the connection has ended; what it left is given once
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Option<Life<T>>> {
        match &mut *self.lock() {
            State::Lives(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Over(life) => Poll::Ready(life.take()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
