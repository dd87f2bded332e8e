//! Who sent a request, and what its handler may know of the connection

use core::fmt;
use core::task::{Poll, Waker};
use std::sync::Arc;
use std::time::Instant;

use crate::watchers::Watch;
use crate::{Extensions, Protocol, Session, WireFormat};

/// A connection's number, unlike that of any other in this process
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Which of a connection's requests
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestId {
    /// Its place among those that run
    pub index: u32,
    /// Tells it from those that had the place before
    pub generation: u32,
}

/// What stays the same for as long as a connection lives
#[derive(Debug)]
pub struct Info {
    /// Its number
    pub id: ConnectionId,
    /// The other end: `127.0.0.1:4711`, `unix`, `memory`
    pub remote: String,
    /// What it speaks
    pub protocol: Protocol,
    /// May the peer send anything but answers? Not over HTTP POST
    pub may_be_called: bool,
    /// Its own data
    pub session: Session,
    /// The router's data
    pub shared: Arc<Extensions>,
}

/// The other end of a connection, as a [`Router`](crate::Router) sees it
pub trait Caller: Clone + Send + Sync + 'static {
    /// What stays the same for as long as the connection lives
    fn info(&self) -> &Info;

    /// Does the peer no longer wait for the answer to this request?
    fn is_cancelled(&self, request: RequestId) -> bool;

    /// Ready as soon as the peer no longer waits for the answer to this request; the task is woken then
    fn poll_cancelled(&self, request: RequestId, cx: &mut core::task::Context<'_>) -> Poll<()>;

    /// One that waited in [`poll_cancelled`](Self::poll_cancelled) with this waker was dropped
    ///
    /// The waker need not be kept any longer; one that was kept is woken now, for others may wait with the same. Does nothing
    /// by default.
    fn forget_cancelled(&self, request: RequestId, waker: &Waker) {
        let _ = (request, waker);
    }

    /// The format of services' arguments and results; JSON by default
    fn format(&self) -> WireFormat {
        WireFormat::Json
    }

    /// The code for an error that is not this crate's: of middleware, for example; none by default
    fn error_code(&self, error: &(dyn core::error::Error + 'static)) -> Option<&'static str> {
        let _ = error;
        None
    }
}

/// Who sent a request, and what else its handler may know; cheap to clone
#[derive(Clone)]
pub struct Context<P> {
    peer: P,
    request: RequestId,
    deadline: Option<Instant>,
}

impl<P: Caller> Context<P> {
    /// Of a request, whose answer is waited for until `deadline`
    pub const fn new(peer: P, request: RequestId, deadline: Option<Instant>) -> Self {
        Self { peer, request, deadline }
    }

    /// Who sent it; may be called, now or later
    pub const fn peer(&self) -> &P {
        &self.peer
    }

    /// The connection it came over
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.peer.info().id
    }

    /// The other end's address: `127.0.0.1:4711`, `unix`, `memory`
    #[must_use]
    pub fn remote(&self) -> &str {
        &self.peer.info().remote
    }

    /// What the connection speaks
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.peer.info().protocol
    }

    /// Which request it is
    #[must_use]
    pub const fn request(&self) -> RequestId {
        self.request
    }

    /// When this handler's time is up: set by [`Server::handler_timeout`](crate::Server::handler_timeout), else `None`
    ///
    /// FlyRPC does not carry the caller's own deadline; that it has passed shows as a cancellation, if at all.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The router's data of this type; as an argument of a handler: [`State`](crate::State)
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.peer.info().shared.get()
    }

    /// The connection's own data
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.peer.info().session
    }

    /// Does the sender no longer wait for the answer? A handler that computes for long looks now and then
    ///
    /// A FlyRPC sender says so only after a `$hello`, of either end, a JSON-RPC sender where [`JsonRpc::cancel_method`](crate::JsonRpc::cancel_method) is set at
    /// both; the connection's end and `handler_timeout` show in any case.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.peer.is_cancelled(self.request)
    }

    /// Waits until the sender no longer waits for the answer: for tasks that a handler has started
    ///
    /// The handler itself, if it is `async`, is dropped then.
    pub async fn cancelled(&self) {
        let forget = |waker: &Waker| self.peer.forget_cancelled(self.request, waker);
        Watch::new(|cx: &mut core::task::Context<'_>| self.peer.poll_cancelled(self.request, cx), forget)
            .await;
    }
}

impl<P: Caller> fmt::Debug for Context<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("connection", &self.connection())
            .field("remote", &self.remote())
            .field("request", &self.request)
            .field("deadline", &self.deadline)
            .finish()
    }
}
