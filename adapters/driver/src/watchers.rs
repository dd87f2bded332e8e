//! Who wants to know of something that happens once

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// The wakers of those who wait, each once
#[derive(Debug, Default)]
pub(crate) struct Watchers(Vec<Waker>);

impl Watchers {
    pub(crate) fn add(&mut self, waker: &Waker) {
        if !self.0.iter().any(|known| known.will_wake(waker)) {
            self.0.push(waker.clone());
        }
    }

    /// One that waits with this waker was dropped
    ///
    /// Others may wait with the same, so whoever calls this wakes it: they come again.
    #[must_use]
    pub(crate) fn forget(&mut self, waker: &Waker) -> Option<Waker> {
        let at = self.0.iter().position(|known| known.will_wake(waker))?;
        Some(self.0.swap_remove(at))
    }

    /// It has happened: all are to be woken
    pub(crate) fn take(&mut self, wakers: &mut Vec<Waker>) {
        wakers.append(&mut self.0);
    }

    #[cfg(feature = "_test")]
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }
}

/// Waits with `poll`, and calls `forget` with its waker when it is dropped before that is ready
pub(crate) struct Watch<P, F: FnMut(&Waker)> {
    poll: P,
    forget: F,
    waker: Option<Waker>,
}

impl<T, P, F> Watch<P, F>
where
    P: FnMut(&mut Context<'_>) -> Poll<T>,
    F: FnMut(&Waker),
{
    pub(crate) const fn new(poll: P, forget: F) -> Self {
        Self { poll, forget, waker: None }
    }
}

impl<T, P, F> Future for Watch<P, F>
where
    P: FnMut(&mut Context<'_>) -> Poll<T> + Unpin,
    F: FnMut(&Waker) + Unpin,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        let polled = (this.poll)(cx);
        match (&polled, &mut this.waker) {
            (Poll::Ready(_), waker) => *waker = None,
            // One from before stays known: waking it, for the others, would wake a task whose wakers don't know each other again
            // and again.
            (Poll::Pending, Some(waker)) => waker.clone_from(cx.waker()),
            (Poll::Pending, none) => *none = Some(cx.waker().clone()),
        }
        polled
    }
}

impl<P, F: FnMut(&Waker)> Drop for Watch<P, F> {
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take() {
            (self.forget)(&waker);
        }
    }
}
