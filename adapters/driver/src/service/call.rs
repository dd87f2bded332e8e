//! Typed calls through the async peer

use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::de::value::UnitDeserializer;

use super::client::Calls;
use crate::peer::Sending;
use crate::{Call, Caller, Error, FormatError, IntoPayload, Payload, Peer, UnreadableReply, WireFormat};

/// A call of a service's method under way: see [`Peer::call`]
///
/// Nothing is sent until it is polled; dropping it then cancels the call.
#[derive(Debug)]
#[must_use = "a call is not sent until it is awaited"]
pub struct ServiceCall<'a, T> {
    call: Call<'a, Bytes>,
    format: WireFormat,
    result: PhantomData<fn() -> T>,
}

impl<T> ServiceCall<'_, T> {
    /// Gives up after this time, which counts from the first poll
    pub fn within(mut self, timeout: Duration) -> Self {
        self.call = self.call.within(timeout);
        self
    }
}

impl<T: DeserializeOwned> Future for ServiceCall<'_, T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let payload = ready!(Pin::new(&mut self.call).poll(cx))?;
        Poll::Ready(self.format.decode_result(&payload))
    }
}

impl Calls for Peer {
    type Call<'a, T: DeserializeOwned> = ServiceCall<'a, T>;
    type Sending<'a> = Sending<'a>;

    fn wire_format(&self) -> WireFormat {
        self.format()
    }

    fn call_service<'a, T: DeserializeOwned>(
        &'a self,
        code: &'a str,
        payload: Result<Payload<'static>, FormatError>,
        within: Option<Duration>,
    ) -> ServiceCall<'a, T> {
        let call = self.call(code, Written(payload));
        let call = match within {
            Some(within) => call.within(within),
            None => call,
        };
        ServiceCall { call, format: self.wire_format(), result: PhantomData }
    }

    fn notify_service<'a>(
        &'a self,
        code: &'a str,
        payload: Result<Payload<'static>, FormatError>,
    ) -> Sending<'a> {
        self.send(code, Written(payload))
    }
}

/// A payload that is written already, or could not be
struct Written(Result<Payload<'static>, FormatError>);

impl<'a> IntoPayload<'a> for Written {
    fn into_payload(self) -> Result<Payload<'a>, FormatError> {
        self.0
    }
}

impl WireFormat {
    /// The result of a method: nothing is the value of a method that has none, and the absence of one that may
    ///
    /// # Errors
    /// [`Error::UnreadableReply`]
    #[doc(hidden)]
    pub fn decode_result<T: DeserializeOwned>(self, payload: &Bytes) -> Result<T, Error> {
        let nothing = || T::deserialize(UnitDeserializer::<serde::de::value::Error>::new());
        if payload.is_empty()
            && self.describes_itself()
            && let Ok(nothing) = nothing()
        {
            return Ok(nothing);
        }
        self.decode(payload).map_err(|error| Error::UnreadableReply(UnreadableReply::Format(error)))
    }
}
