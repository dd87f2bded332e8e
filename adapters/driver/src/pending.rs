//! Calls that are sent at once and belong to nobody's future yet

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;

use crate::link::Link;
use crate::peer::{Answer, release};
use crate::{Error, IntoPayload, Outcome, Peer};

/// A call that was sent, and completes on its own: see [`Peer::start`]
///
/// Await it, or what [`wait_as`](Self::wait_as) gives, in any task, now or later. Dropping it cancels the call.
#[derive(Debug)]
#[must_use = "a call is cancelled when this is dropped"]
pub struct PendingCall {
    link: Arc<Link>,
    /// Where its outcome will be
    place: Option<u32>,
}

impl Peer {
    /// Sends a call now, without waiting for room or an answer: net/rpc's `Go`
    ///
    /// It has [`Limits::call_timeout`](crate::Limits::call_timeout); [`start_within`](Self::start_within) says otherwise. For
    /// many calls from one task:
    ///
    /// ```
    /// use flyrpc_driver::{Error, Peer};
    ///
    /// async fn both(peer: &Peer) -> Result<(String, String), Error> {
    ///     let (left, right) = (peer.start("upper", "a")?, peer.start("upper", "b")?);
    ///     Ok((left.wait_as().await?, right.wait_as().await?))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`], with [`Refusal::NoRoom`](crate::Refusal::NoRoom) when the outgoing buffer is full; [`Error::Unencodable`].
    pub fn start<'a>(&self, code: &str, payload: impl IntoPayload<'a>) -> Result<PendingCall, Error> {
        self.start_within(code, payload, self.link.options.limits.get_call_timeout())
    }

    /// The same, with the time after which it gives up
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_within<'a>(
        &self,
        code: &str,
        payload: impl IntoPayload<'a>,
        timeout: Duration,
    ) -> Result<PendingCall, Error> {
        let payload = payload.into_payload().map_err(Error::Unencodable)?;
        let link = &self.link;
        let mut state = link.lock();
        link.check_room(&state)?;
        let now = link.now();
        let (bytes, shared) = (payload.as_ref(), payload.shared());
        let place = link.call(&mut state, now, code, bytes, shared, now + timeout, Waker::noop())?;
        let alone = state.is_alone();
        link.encoded(state, alone);
        Ok(PendingCall::new(link, place))
    }
}

impl PendingCall {
    pub(crate) fn new(link: &Arc<Link>, place: u32) -> Self {
        Self { link: Arc::clone(link), place: Some(place) }
    }

    /// Waits for the result, and gives it as a `T`
    ///
    /// # Errors
    /// As [`Peer::call_as`].
    pub async fn wait_as<T: Answer>(mut self) -> Result<T, Error> {
        T::from_answer(core::future::poll_fn(|cx| self.poll_outcome(cx)).await?)
    }

    /// Lets the call go on, though nobody wants its result
    pub fn detach(mut self) {
        if let Some(place) = self.place.take() {
            self.link.lock().calls.release(place, |_| false);
        }
    }

    fn poll_outcome(&mut self, cx: &Context<'_>) -> Poll<Result<Outcome, Error>> {
        let Some(place) = self.place else { return Poll::Ready(Err(Error::Cancelled)) };
        let done = ready!(self.link.lock().calls.poll(place, cx.waker()));
        self.place = None;
        Poll::Ready(done.into_outcome())
    }
}

/// The result as it comes
impl Future for PendingCall {
    type Output = Result<Bytes, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.get_mut().poll_outcome(cx))?;
        Poll::Ready(outcome.map_err(Error::Remote))
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            release(&self.link, place);
        }
    }
}
