//! Futures that end before they are ready

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::runtime::{Runtime, Timer};

/// What `future` gives; `None` if `poll_end` is ready before
pub(crate) async fn until<F: Future>(
    mut poll_end: impl FnMut(&mut Context<'_>) -> Poll<()>,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => poll_end(cx).map(|()| None),
    })
    .await
}

/// What `future` gives; `None` if it takes longer
pub(crate) async fn within<R: Runtime, F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut timer = R::timer();
    timer.set(limit);
    until(|cx| timer.poll_expired(cx), future).await
}
