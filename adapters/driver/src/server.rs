//! Listening

use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use crate::door::Door;
use crate::hub::{Hub, Listening, send_to_all};
use crate::options::{Options, common_options};
use crate::runtime::{Listener, Runtime, Timer, Transport};
use crate::until::within;
use crate::watchers::Watch;
use crate::{Address, CloseReason, ConnectionId, Endpoint, IntoPayload, Overload, Peer, Protocol, Router};

/// A server to be: what it answers, and its limits
///
/// Keep what [`listen`](Self::listen) gives: the server stops when it is dropped.
#[must_use = "it does nothing until `listen`"]
pub struct Server<R> {
    router: Router<Peer>,
    options: Options,
    max_connections: usize,
    when_full: Overload,
    runtime: PhantomData<fn() -> R>,
}

/// A running server; it stops, and its connections close, when this is dropped
#[derive(Debug)]
#[must_use = "a server stops when its handle is dropped"]
pub struct ServerHandle<R> {
    hub: Arc<Hub>,
    when_full: Overload,
    endpoint: Option<Endpoint>,
    runtime: PhantomData<fn() -> R>,
}

/// Connections that a server has before it takes no more
const MAX_CONNECTIONS: usize = 100_000;

impl<R: Runtime> Server<R> {
    /// A server that answers nothing
    pub fn new() -> Self {
        Self {
            router: Router::new(),
            options: Options::default(),
            max_connections: MAX_CONNECTIONS,
            when_full: Overload::Refuse,
            runtime: PhantomData,
        }
    }

    common_options!();

    /// Connections at a time, and what becomes of more: they are closed as they come, or wait in the system's queue;
    /// 100,000 and closed by default
    pub fn max_connections(mut self, connections: usize, when_full: Overload) -> Self {
        (self.max_connections, self.when_full) = (connections, when_full);
        self
    }

    /// Listens, in a task of its own: on `host:port`, `tcp://host:port` or `unix:/path`, and where [`Endpoint`] says so
    ///
    /// Port 0 takes a free one: [`ServerHandle::address`] tells which. `stdio:` is one connection, over this program's own
    /// standard input and output; [`ServerHandle::wait`] ends with it.
    ///
    /// # Errors
    /// The system's, and [`BadAddress`](crate::BadAddress) as [`io::ErrorKind::InvalidInput`].
    pub async fn listen(self, address: impl ToString) -> io::Result<ServerHandle<R>> {
        let mut handle = self.start();
        handle.also_listen(address).await?;
        Ok(handle)
    }

    /// Starts without listening: connections come by [`ServerHandle::attach`] only
    pub fn start(self) -> ServerHandle<R> {
        let hub = Hub::new(self.router, self.options, self.max_connections);
        ServerHandle { hub, when_full: self.when_full, endpoint: None, runtime: PhantomData }
    }
}

impl<R: Runtime> Default for Server<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> core::fmt::Debug for Server<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Server")
            .field("router", &self.router)
            .field("options", &self.options)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// Accepts connections until the server stops
struct Acceptor<R: Runtime> {
    door: Arc<Door>,
    listener: R::Listener,
    when_full: Overload,
    /// After an error: out of descriptors, for example, until others have ended
    pause: Option<R::Timer>,
    /// After `listener`: fields are dropped in this order
    _place: Listening,
}

/// How long accepting rests after an error
const PAUSE: Duration = Duration::from_millis(20);

/// Connections accepted before other tasks get their turn
const AT_A_TIME: usize = 64;

impl<R: Runtime> Future for Acceptor<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { door, listener, when_full, pause, .. } = self.get_mut();
        let hub = door.hub();
        {
            let mut state = hub.lock();
            if state.stopped {
                return Poll::Ready(());
            }
            state.watchers.add(cx.waker());
        }
        if let Some(timer) = pause {
            if timer.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
            *pause = None;
        }
        for _ in 0..AT_A_TIME {
            if *when_full == Overload::Wait && hub.is_full() {
                // The end of a connection wakes this task.
                return Poll::Pending;
            }
            match listener.poll_accept(cx) {
                Poll::Pending => return Poll::Pending,
                // Past the limit it is closed by being dropped.
                Poll::Ready(Ok(stream)) => door.admit::<R, _>(stream),
                Poll::Ready(Err(_)) => {
                    let mut timer = R::timer();
                    timer.set(PAUSE);
                    let expired = timer.poll_expired(cx).is_ready();
                    *pause = Some(timer);
                    if !expired {
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Runtime> Unpin for Acceptor<R> {}

impl<R> ServerHandle<R> {
    #[cfg(feature = "http")]
    pub(crate) const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Where it listens; `None` after [`Server::start`]
    #[must_use]
    pub fn local_address(&self) -> Option<&Address> {
        self.endpoint.as_ref().map(|endpoint| &endpoint.address)
    }

    /// Where it listens, as text that clients can connect to; empty after [`Server::start`]
    #[must_use]
    pub fn address(&self) -> String {
        self.endpoint.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Who is connected now, in the order they came
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.hub.peers()
    }

    /// The connection of this number
    #[must_use]
    pub fn peer(&self, id: ConnectionId) -> Option<Peer> {
        self.hub.lock().peers.get(&id).cloned()
    }

    /// How many are connected now
    #[must_use]
    pub fn connections(&self) -> usize {
        self.hub.lock().peers.len()
    }

    /// Sends a message to everyone who is connected, and tells how many took it
    ///
    /// Never waits: one whose buffer is full is passed over, so that a slow reader stalls nobody.
    ///
    /// # Errors
    /// The payload can't be encoded.
    pub fn broadcast<'a>(
        &self,
        code: &str,
        payload: impl IntoPayload<'a>,
    ) -> Result<usize, crate::FormatError> {
        let peers = self.peers();
        Ok(send_to_all(&peers, code, payload.into_payload()?))
    }

    /// Sends a message to those of these connections that are still there, and tells how many took it
    ///
    /// # Errors
    /// The payload can't be encoded.
    pub fn broadcast_to<'a>(
        &self,
        ids: &[ConnectionId],
        code: &str,
        payload: impl IntoPayload<'a>,
    ) -> Result<usize, crate::FormatError> {
        let peers: Vec<Peer> = {
            let state = self.hub.lock();
            ids.iter().filter_map(|id| state.peers.get(id).cloned()).collect()
        };
        Ok(send_to_all(&peers, code, payload.into_payload()?))
    }

    /// Waits until the server was stopped, its socket closed, and its last connection has ended: for a program that is a
    /// server and nothing else; on standard input and output alone, until that connection has ended
    pub async fn wait(&self) {
        let poll = |cx: &mut Context<'_>| {
            let mut state = self.hub.lock();
            let is_over = state.stopped || state.ends_alone;
            if is_over && state.listening == 0 && state.peers.is_empty() && state.places == 0 {
                return Poll::Ready(());
            }
            state.watchers.add(cx.waker());
            Poll::Pending
        };
        let forget = |waker: &Waker| {
            let forgotten = self.hub.lock().watchers.forget(waker);
            forgotten.into_iter().for_each(Waker::wake);
        };
        Watch::new(poll, forget).await;
    }
}

impl<R: Runtime> ServerHandle<R> {
    /// Accepts no more, lets every connection drain by `timeout` at the latest, and returns when all have ended and the
    /// listening socket is closed
    pub async fn shutdown(self, timeout: Duration) {
        self.hub.stop();
        let draining: Vec<_> = self.peers().iter().map(|peer| peer.drain(timeout)).collect();
        let in_time = within::<R, _>(timeout, self.wait()).await.is_some();
        for connection in draining {
            connection.await;
        }
        if !in_time {
            // An answer that is there may be one that nobody reads.
            self.hub.expel();
            self.wait().await;
        }
    }

    /// Serves a stream that is connected already; `None` past the limit of connections
    ///
    /// It speaks FlyRPC, or JSON-RPC after [`Server::json_rpc`].
    pub fn attach<T: Transport>(&self, transport: T) -> Option<Peer> {
        self.hub.take::<R, T>(transport, self.hub.options.dialect_of_streams())
    }

    /// Serves a stream that is connected already until it ends, and tells what ended it; `None` past the limit of connections
    ///
    /// What it speaks is as for [`attach`](Self::attach). Dropping the future leaves the connection open.
    pub async fn serve_connection<T: Transport>(&self, transport: T) -> Option<CloseReason> {
        let peer = self.attach(transport)?;
        Some(peer.closed().await)
    }

    /// Listens at another address too, which may speak another protocol: its connections are the same server's
    ///
    /// [`address`](Self::address) goes on naming the first. Gives where it listens.
    ///
    /// # Errors
    /// As [`Server::listen`].
    pub async fn also_listen(&mut self, address: impl ToString) -> io::Result<String> {
        let mut endpoint: Endpoint = address.to_string().parse()?;
        let dialect = self.hub.options.dialect(&endpoint)?;
        if dialect.protocol() == Protocol::JsonRpc {
            // Who reads the address is to know, too.
            endpoint.protocol = Some(Protocol::JsonRpc);
        }
        let door = Arc::new(Door::new(&self.hub, dialect, &endpoint)?);
        if endpoint.address == Address::Stdio {
            let place = self.hub.listen();
            door.admit::<R, _>(R::connect(&endpoint.address).await?);
            self.hub.lock().ends_alone = true;
            drop(place);
        } else {
            let listener = R::listen(&endpoint.address).await?;
            endpoint.address = listener.address()?;
            let place = self.hub.listen();
            let acceptor =
                Acceptor::<R> { door, listener, when_full: self.when_full, pause: None, _place: place };
            R::spawn(Box::pin(acceptor));
        }
        let text = endpoint.to_string();
        self.endpoint.get_or_insert(endpoint);
        Ok(text)
    }
}

impl<R> Drop for ServerHandle<R> {
    fn drop(&mut self) {
        self.hub.stop();
        for peer in self.hub.peers() {
            peer.close();
        }
    }
}
