//! Panics of handlers stay within their request

use core::any::Any;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;

use flyrpc_core::fly::codes;

use super::request::Request;
use crate::{Caller, ConnectionId, RemoteError};

/// A handler panicked
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PanicReport {
    /// The code of its request
    pub code: String,
    /// Who sent that
    pub remote: String,
    /// Over which connection
    pub connection: ConnectionId,
    /// What the panic said, if that was text; the peer is not told
    pub message: Option<String>,
}

pub(super) type Hook = Arc<dyn Fn(&PanicReport) + Send + Sync>;
pub(super) type Panic = Box<dyn Any + Send>;

/// Runs code of the application
///
/// What it leaves half done is its own and dropped, so nobody sees it; its shared data is behind its own locks.
pub(super) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(run))
}

/// Tells the hook, and says what the peer is told
#[cold]
pub(super) fn report<P: Caller>(panic: &Panic, request: &Request<P>, hook: Option<&Hook>) -> RemoteError {
    if let Some(hook) = hook {
        let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let report = PanicReport {
            code: request.code().to_owned(),
            remote: request.context().remote().to_owned(),
            connection: request.context().connection(),
            message: message.or_else(|| panic.downcast_ref::<String>().cloned()),
        };
        // A hook that panics has been told; there is nobody else to tell.
        let _ = catch(|| hook(&report));
    }
    RemoteError::new(codes::HANDLER_PANIC)
}
