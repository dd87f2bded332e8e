//! Peers as services of tower's

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::borrow::Cow;

use bytes::Bytes;
use tower_service::Service;

use crate::{Error, FormatError, IntoPayload, Payload, Peer};

/// What tower's middleware makes of errors
pub type BoxError = Box<dyn core::error::Error + Send + Sync>;

/// A call that a [`Peer`] makes as a service
///
/// Cheap to clone, so that middleware can try again.
#[derive(Clone, Debug)]
pub struct CallRequest {
    code: Cow<'static, str>,
    payload: Result<Payload<'static>, FormatError>,
    within: Option<Duration>,
}

impl CallRequest {
    /// A call of `code`; a payload that can't be encoded fails the call
    pub fn new<'a>(code: impl Into<Cow<'static, str>>, payload: impl IntoPayload<'a>) -> Self {
        let payload = payload.into_payload().map(|payload| Payload::Shared(payload.into_bytes()));
        Self { code: code.into(), payload, within: None }
    }

    /// Gives up after this time; [`Limits::call_timeout`](crate::Limits::call_timeout) by default
    #[must_use]
    pub const fn within(mut self, timeout: Duration) -> Self {
        self.within = Some(timeout);
        self
    }

    /// The code
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }
}

/// Calls: see [`Peer::call`]
///
/// It is always ready: where the outgoing buffer is full it is the call that waits, or is refused, as the connection was
/// told. Dropping the future cancels the call.
///
/// On a bare `Peer` the name `call` means [`Peer::call`]: write `Service::call(&mut peer, request)`, or take tower's `oneshot`
/// or a layer.
impl Service<CallRequest> for Peer {
    type Response = Bytes;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Bytes, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CallRequest) -> Self::Future {
        let peer = self.clone();
        Box::pin(async move {
            let payload = request.payload.map_err(Error::Unencodable)?;
            let call = Self::call(&peer, &request.code, payload);
            match request.within {
                Some(timeout) => call.within(timeout).await,
                None => call.await,
            }
        })
    }
}
