//! Handlers by code

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::HashMap;
use std::panic::catch_unwind;
use std::sync::Arc;

use flyrpc_core::fly::codes;

use crate::{Peer, RemoteError};

/// A request or message, as its handler sees it
#[derive(Debug)]
pub struct Request<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) code: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) cancelled: &'a AtomicBool,
    pub(crate) wants_reply: bool,
}

impl Request<'_> {
    /// The code it was sent under
    #[must_use]
    pub const fn code(&self) -> &str {
        self.code
    }

    /// Its payload
    #[must_use]
    pub const fn payload(&self) -> &[u8] {
        self.payload
    }

    /// Its payload as text
    ///
    /// # Errors
    /// `BAD_PAYLOAD` when it is not UTF-8; `?` answers the request with that.
    pub fn text(&self) -> Result<&str, RemoteError> {
        core::str::from_utf8(self.payload)
            .map_err(|_| RemoteError::new(codes::BAD_PAYLOAD).details("not UTF-8"))
    }

    /// Who sent it; may be called, from here or later
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        self.peer
    }

    /// Does the sender no longer wait for the answer? A handler that works for long looks now and then
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Does the sender wait for an answer at all? Not for a message
    #[must_use]
    pub const fn wants_reply(&self) -> bool {
        self.wants_reply
    }
}

/// What a handler may give back: nothing (the implicit ack), bytes, text, an error, or a `Result` of these
pub trait IntoReply {
    /// The payload, or the error
    ///
    /// # Errors
    /// What the request is answered with.
    fn into_reply(self) -> Result<Vec<u8>, RemoteError>;
}

impl IntoReply for () {
    fn into_reply(self) -> Result<Vec<u8>, RemoteError> {
        Ok(Vec::new())
    }
}

impl IntoReply for Vec<u8> {
    fn into_reply(self) -> Result<Vec<u8>, RemoteError> {
        Ok(self)
    }
}

impl IntoReply for &[u8] {
    fn into_reply(self) -> Result<Vec<u8>, RemoteError> {
        Ok(self.to_vec())
    }
}

impl IntoReply for String {
    fn into_reply(self) -> Result<Vec<u8>, RemoteError> {
        Ok(self.into_bytes())
    }
}

impl IntoReply for &str {
    fn into_reply(self) -> Result<Vec<u8>, RemoteError> {
        Ok(self.as_bytes().to_vec())
    }
}

impl IntoReply for RemoteError {
    fn into_reply(self) -> Result<Vec<u8>, RemoteError> {
        Err(self)
    }
}

impl<T: IntoReply> IntoReply for Result<T, RemoteError> {
    fn into_reply(self) -> Result<Vec<u8>, RemoteError> {
        self.and_then(T::into_reply)
    }
}

type Handler = Arc<dyn Fn(&Request<'_>) -> Result<Vec<u8>, RemoteError> + Send + Sync>;
type Hook<T> = Option<Arc<dyn Fn(&Peer, T) + Send + Sync>>;

/// Handlers by code, and what else an application wants to hear of
#[derive(Default)]
pub(crate) struct Router {
    handlers: HashMap<String, Handler>,
    fallback: Option<Handler>,
    pub(crate) on_connect: Hook<()>,
    pub(crate) on_close: Hook<crate::CloseReason>,
}

impl Router {
    pub(crate) fn add<R: IntoReply>(
        &mut self,
        code: &str,
        handler: impl Fn(&Request<'_>) -> R + Send + Sync + 'static,
    ) {
        self.handlers.insert(code.to_owned(), Arc::new(move |request| handler(request).into_reply()));
    }

    pub(crate) fn set_fallback<R: IntoReply>(
        &mut self,
        handler: impl Fn(&Request<'_>) -> R + Send + Sync + 'static,
    ) {
        self.fallback = Some(Arc::new(move |request| handler(request).into_reply()));
    }

    /// Runs the handler; a panic becomes an error of its own and stays within the request
    pub(crate) fn run(&self, request: &Request<'_>) -> Result<Vec<u8>, RemoteError> {
        let Some(handler) = self.handlers.get(request.code).or(self.fallback.as_ref()) else {
            return Err(RemoteError::new(codes::NOT_FOUND));
        };
        catch_unwind(AssertUnwindSafe(|| handler(request)))
            .unwrap_or_else(|_| Err(RemoteError::new(codes::HANDLER_PANIC)))
    }
}

impl core::fmt::Debug for Router {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Router").field("handlers", &self.handlers.len()).finish_non_exhaustive()
    }
}
