//! Handlers by code

mod argument;
mod handler;
mod panics;
mod reply;
mod request;
mod route;
#[cfg(feature = "tower")]
mod tower;

use core::fmt;
use core::hash::{BuildHasherDefault, Hasher};
use core::pin::Pin;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use flyrpc_core::fly::codes;
use flyrpc_core::jsonrpc;

pub use argument::{Argument, State};
pub use handler::Handler;
pub use panics::PanicReport;
pub use reply::{IntoReply, Outcome};
pub use request::{Packet, Request};
pub use route::Route;
#[cfg(feature = "tower")]
pub use tower::{HandlerFuture, HandlerService};

use crate::{Caller, Extensions, RemoteError};
use panics::Hook;

/// Handlers by code, and the data they share
///
/// `P` is the other end of a connection: a peer that handlers may call. A handler is a function or closure, `async` or
/// not, that takes any [arguments](Argument) in any order, up to six, and gives any [reply](IntoReply).
///
/// ```
/// use bytes::Bytes;
/// use flyrpc_driver::{Caller, Context, Error, RemoteError, Request, Router, State};
///
/// struct Lamps(u32);
///
/// async fn lamps(State(lamps): State<Lamps>) -> String {
///     lamps.0.to_string()
/// }
///
/// fn router<P: Caller>() -> Router<P> {
///     Router::new()
///         .state(Lamps(7))
///         .handle("echo", |payload: Bytes| payload)
///         .handle("upper", |text: &str| text.to_uppercase())
///         .handle("lamps", lamps)
///         .handle("where", |context: Context<P>| async move { context.remote().to_owned() })
///         .handle("half", |text: &str| -> Result<String, RemoteError> {
///             let number: u32 = text.parse().map_err(|_| "NO_NUMBER")?;
///             Ok((number / 2).to_string())
///         })
///         .fallback(|request: &Request<P>| RemoteError::new("WHAT?").details(request.code()))
/// }
/// ```
///
/// A code is what other protocols call a method: `Arith.Multiply` is the method `Multiply` of the service `Arith`.
///
/// A code without a handler is answered `NOT_FOUND`, a payload that an argument can't be read from `BAD_PAYLOAD`, and a
/// handler that panics `HANDLER_PANIC`; none of them ends the connection.
pub struct Router<P> {
    routes: HashMap<Box<[u8]>, Route<P>, BuildHasherDefault<Fnv>>,
    fallback: Option<Route<P>>,
    hook: Option<Hook>,
    shared: Arc<Extensions>,
    /// What comes before the last point of a code: services, as net/rpc names them
    services: BTreeSet<Box<[u8]>>,
}

/// What has become of a request that was dispatched
#[must_use]
pub enum Dispatched {
    /// It is answered
    Ready(Outcome),
    /// Its handler waits for something; whoever has this polls it to the end, or drops it to give the request up
    Pending(Pin<Box<dyn Future<Output = Outcome> + Send>>),
}

impl<P: Caller> Router<P> {
    /// No handlers yet
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `handler` answer what is sent under `code`; the last one for a code counts
    #[must_use]
    pub fn handle<A>(mut self, code: &str, handler: impl Handler<A, P>) -> Self {
        self.insert(code, handler.into_route());
        self
    }

    fn insert(&mut self, code: &str, route: Route<P>) {
        if let Some((service, _)) = code.rsplit_once('.') {
            self.services.insert(service.as_bytes().into());
        }
        self.routes.insert(code.as_bytes().into(), route);
    }

    /// Lets `handler` answer what has no handler of its own; without, that is answered `NOT_FOUND`
    #[must_use]
    pub fn fallback<A>(mut self, handler: impl Handler<A, P>) -> Self {
        self.fallback = Some(handler.into_route());
        self
    }

    /// Shares a value, one of each type, with all handlers: [`State`] or [`Context::state`](crate::Context::state)
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        Arc::make_mut(&mut self.shared).insert(value);
        self
    }

    /// Adds what `other` has; where both have the same, `other`'s counts
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self.services.extend(other.services);
        self.fallback = other.fallback.or(self.fallback);
        self.hook = other.hook.or(self.hook);
        if !other.shared.is_empty() {
            Arc::make_mut(&mut self.shared).extend(&other.shared);
        }
        self
    }

    /// Calls `hook` when a handler has panicked, on the thread it panicked on; the last one counts
    #[must_use]
    pub fn on_panic(mut self, hook: impl Fn(&PanicReport) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// The values that all handlers share, for the [`Info`](crate::Info) of connections
    #[must_use]
    pub fn shared(&self) -> Arc<Extensions> {
        Arc::clone(&self.shared)
    }

    /// Finds the handler and polls it once
    ///
    /// A handler that panics, now or later, is answered `HANDLER_PANIC` and reported to [`on_panic`](Self::on_panic).
    /// `cx` is woken when a [`Dispatched::Pending`] should be polled for the next time.
    pub fn dispatch(&self, request: Request<P>, cx: &mut core::task::Context<'_>) -> Dispatched {
        match self.routes.get(&request.packet().code[..]).or(self.fallback.as_ref()) {
            Some(route) => route.run(request, self.hook.as_ref(), cx),
            None => Dispatched::Ready(Err(self.not_found(&request.packet().code))),
        }
    }

    /// JSON-RPC tells an unknown service from an unknown method of a known one, where there are services
    #[cold]
    fn not_found(&self, code: &[u8]) -> RemoteError {
        let service = code.iter().rposition(|byte| *byte == b'.').and_then(|point| code.get(..point));
        match service {
            Some(service) if !self.services.is_empty() && !self.services.contains(service) => {
                RemoteError::new(codes::NOT_FOUND).number(jsonrpc::codes::SERVICE_NOT_FOUND)
            }
            _ => RemoteError::new(codes::NOT_FOUND),
        }
    }

    /// Has the code a handler of its own?
    #[cfg(feature = "json")]
    pub(crate) fn handles(&self, code: &[u8]) -> bool {
        self.routes.contains_key(code)
    }

    /// The codes that have a handler, sorted
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "sorted before anybody sees them")]
    pub fn codes(&self) -> Vec<&str> {
        let mut codes: Vec<_> =
            self.routes.keys().filter_map(|code| core::str::from_utf8(code).ok()).collect();
        codes.sort_unstable();
        codes
    }
}

impl<P> Default for Router<P> {
    fn default() -> Self {
        Self {
            routes: HashMap::default(),
            fallback: None,
            hook: None,
            shared: Arc::default(),
            services: BTreeSet::new(),
        }
    }
}

impl<P: Caller> fmt::Debug for Router<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("codes", &self.codes())
            .field("fallback", &self.fallback.is_some())
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// The error's details, like the payload, are only counted (P22)
impl fmt::Debug for Dispatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(Ok(payload)) => write!(f, "Ready({} bytes)", payload.len()),
            Self::Ready(Err(error)) => write!(f, "Ready({error:?})"),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}

/// FNV-1a: quick for short codes
///
/// Only the application puts codes into the table, so a peer can't fill it with ones that collide.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The length, which slices hash before their bytes: in one step
    fn write_usize(&mut self, len: usize) {
        self.0 = (self.0 ^ len as u64).wrapping_mul(0x0100_0000_01b3);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
