//! Handlers of any shape, behind one

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Mutex;

use pin_project_lite::pin_project;

use super::panics::{self, Hook};
use super::{Dispatched, IntoReply, Outcome, Request};
use crate::{Caller, RemoteError};

type Run<P> = dyn Fn(Request<P>, Option<&Hook>, &mut Context<'_>) -> Dispatched + Send + Sync;

/// A handler whose shape no longer matters
pub struct Route<P> {
    run: Box<Run<P>>,
}

impl<P: Caller> Route<P> {
    /// Of a function that has the outcome when it returns
    pub(super) fn sync(answer: impl Fn(&Request<P>) -> Outcome + Send + Sync + 'static) -> Self {
        let run = move |request: Request<P>, hook: Option<&Hook>, _: &mut Context<'_>| {
            let outcome = panics::catch(|| answer(&request));
            Dispatched::Ready(outcome.unwrap_or_else(|panic| Err(panics::report(&panic, &request, hook))))
        };
        Self { run: Box::new(run) }
    }

    /// Of a function that starts something which has the outcome later
    pub(super) fn later<F>(
        start: impl Fn(&Request<P>) -> Result<F, RemoteError> + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output: IntoReply> + Send + 'static,
    {
        let blocks = Blocks::new();
        let run =
            move |request: Request<P>, hook: Option<&Hook>, cx: &mut Context<'_>| match panics::catch(|| {
                start(&request)
            }) {
                Ok(Ok(future)) => blocks.run(Running::new(future, request), hook, cx),
                Ok(Err(error)) => Dispatched::Ready(Err(error)),
                Err(panic) => Dispatched::Ready(Err(panics::report(&panic, &request, hook))),
            };
        Self { run: Box::new(run) }
    }

    /// Shows the hook for panics to those who hold `seen`
    #[cfg(feature = "tower")]
    pub(super) fn shows_hook(self, seen: std::sync::Arc<std::sync::OnceLock<Hook>>) -> Self {
        let inner = self.run;
        let run = move |request: Request<P>, hook: Option<&Hook>, cx: &mut Context<'_>| {
            if let Some(hook) = hook {
                seen.get_or_init(|| Hook::clone(hook));
            }
            inner(request, hook, cx)
        };
        Self { run: Box::new(run) }
    }

    pub(super) fn run(&self, request: Request<P>, hook: Option<&Hook>, cx: &mut Context<'_>) -> Dispatched {
        (self.run)(request, hook, cx)
    }
}

impl<P> fmt::Debug for Route<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

/// Heap blocks of a handler, for the first poll of its futures
///
/// A future must not move between its polls, so the first one needs it on the heap already. Most are ready then, and
/// the block serves the next request. One that is not takes its block with it.
struct Blocks<F, P> {
    spare: [Mutex<Option<Block<F, P>>>; BLOCKS],
}

type Block<F, P> = Pin<Box<Running<F, P>>>;

/// As many threads can poll the same handler for the first time, at once, without the allocator
const BLOCKS: usize = 4;

impl<F, P> Blocks<F, P>
where
    P: Caller,
    F: Future<Output: IntoReply> + Send + 'static,
{
    const fn new() -> Self {
        Self { spare: [const { Mutex::new(None) }; BLOCKS] }
    }

    fn run(&self, running: Running<F, P>, hook: Option<&Hook>, cx: &mut Context<'_>) -> Dispatched {
        // Never waits: whoever holds the lock is polling, for as long as the application likes.
        let mut place = self.spare.iter().find_map(|spare| spare.try_lock().ok());
        let mut block = match place.as_mut().and_then(|place| place.take()) {
            Some(mut block) => {
                block.set(running);
                block
            }
            None => Box::pin(running),
        };
        match block.as_mut().poll_with(hook, cx) {
            Poll::Ready(outcome) => {
                if let Some(place) = place.as_mut() {
                    **place = Some(block);
                }
                Dispatched::Ready(outcome)
            }
            Poll::Pending => {
                *block.as_mut().project().hook = hook.cloned();
                Dispatched::Pending(block)
            }
        }
    }
}

pin_project! {
    /// A handler's future, which ends with an outcome even if it panics
    struct Running<F, P> {
        // None when it has ended, so that a block keeps nothing of the request it served
        #[pin]
        future: Option<F>,
        request: Option<Request<P>>,
        hook: Option<Hook>,
    }
}

impl<F, P> Running<F, P>
where
    P: Caller,
    F: Future<Output: IntoReply>,
{
    const fn new(future: F, request: Request<P>) -> Self {
        Self { future: Some(future), request: Some(request), hook: None }
    }

    fn poll_with(self: Pin<&mut Self>, hook: Option<&Hook>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        let polled = panics::catch(|| {
            let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
            future.poll(cx).map(IntoReply::into_reply)
        });
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => Ok(outcome),
            Err(panic) => Err(panic),
        };
        // What the future still holds is the application's too, and may panic when it is dropped.
        let dropped = panics::catch(|| this.future.set(None));
        let request = this.request.take();
        Poll::Ready(match (outcome.and_then(|outcome| dropped.map(|()| outcome)), request) {
            (Ok(outcome), _) => outcome,
            (Err(panic), Some(request)) => Err(panics::report(&panic, &request, hook)),
            (Err(_), None) => Err(RemoteError::new(flyrpc_core::fly::codes::HANDLER_PANIC)),
        })
    }
}

impl<F, P> Future for Running<F, P>
where
    P: Caller,
    F: Future<Output: IntoReply>,
{
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let hook = self.as_mut().project().hook.clone();
        self.poll_with(hook.as_ref(), cx)
    }
}
