//! Listening

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use flyrpc_driver::dialect::AnyDialect;
use flyrpc_driver::{Address, ConnectionId, Endpoint, FormatError, IntoPayload, Overload, Payload};

use crate::door::Door;
use crate::link::Link;
use crate::options::{Options, common_options};
use crate::stream::{Listener, Stream};
use crate::{Peer, Router, worker};

/// A server to be: what it answers, and its limits
#[derive(Debug)]
#[must_use = "it does nothing until `listen`"]
pub struct Server {
    router: Router,
    options: Options,
    max_connections: usize,
    when_full: Overload,
}

/// A running server; it stops, and its connections close, when this is dropped
#[derive(Debug)]
#[must_use = "a server stops when its handle is dropped"]
pub struct ServerHandle {
    shared: Arc<Shared>,
    /// Where it listened first
    endpoint: Option<Endpoint>,
    /// Where it listens, and the threads that accept until they are stopped
    accepting: Vec<(Arc<Door>, JoinHandle<()>)>,
}

/// What a server's threads and handle share; connections know it weakly, since it owns them
#[derive(Debug)]
pub(crate) struct Shared {
    router: Arc<Router>,
    pub(crate) options: Arc<Options>,
    max_connections: usize,
    pub(crate) when_full: Overload,
    connections: Mutex<Connections>,
    /// A connection has ended, or the server stops
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct Connections {
    peers: BTreeMap<ConnectionId, Peer>,
    /// Those whose handshake is under way
    guests: BTreeMap<u64, TcpStream>,
    /// How many there have been
    greeted: u64,
    /// No connection is taken any more
    pub(crate) stopped: bool,
    /// It serves standard input and output and nothing else, and is over with that
    single: bool,
}

/// One whose handshake is under way
pub(crate) struct Guest {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let gone = self.shared.lock().guests.remove(&self.number);
        self.shared.changed.notify_all();
        drop(gone);
    }
}

/// Connections that a server has before it takes no more
const MAX_CONNECTIONS: usize = 1024;

impl Default for Server {
    fn default() -> Self {
        Self {
            router: Router::default(),
            options: Options::default(),
            max_connections: MAX_CONNECTIONS,
            when_full: Overload::Refuse,
        }
    }
}

impl Server {
    /// A server that answers nothing
    pub fn new() -> Self {
        Self::default()
    }

    common_options!();

    /// Connections at a time, and what becomes of more: they are closed as they come, or wait in the system's queue; 1,024
    /// and closed by default
    pub const fn max_connections(mut self, connections: usize, when_full: Overload) -> Self {
        (self.max_connections, self.when_full) = (connections, when_full);
        self
    }

    /// Listens, on threads of its own: on `host:port`, `tcp://host:port` or `unix:/path`, and where [`Endpoint`] says so
    ///
    /// Port 0 takes a free one: [`ServerHandle::address`] tells which. `stdio:` is one connection, over this program's own
    /// standard input and output; where nothing else listens, [`ServerHandle::wait`] ends with it.
    ///
    /// # Errors
    /// The system's; [`BadAddress`](crate::BadAddress) as [`io::ErrorKind::InvalidInput`];
    /// [`io::ErrorKind::Unsupported`] for what is not offered here, such as HTTP POST.
    pub fn listen(self, address: impl ToString) -> io::Result<ServerHandle> {
        let mut handle = self.start();
        handle.also_listen(address)?;
        Ok(handle)
    }

    /// Starts without listening: connections come by [`ServerHandle::attach`] only
    pub fn start(self) -> ServerHandle {
        let shared = Arc::new(Shared {
            router: Arc::new(self.router),
            options: Arc::new(self.options),
            max_connections: self.max_connections,
            when_full: self.when_full,
            connections: Mutex::default(),
            changed: Condvar::new(),
        });
        ServerHandle { shared, endpoint: None, accepting: Vec::new() }
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait<'a>(&self, connections: MutexGuard<'a, Connections>) -> MutexGuard<'a, Connections> {
        self.changed.wait(connections).unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection, unless there are as many as may be, or it is the end
    pub(crate) fn take(self: &Arc<Self>, stream: Stream, dialect: AnyDialect) -> io::Result<Option<Peer>> {
        self.enter(stream, dialect, |connections| !self.is_full(connections))
    }

    /// Takes the connection of a guest, which has been counted
    pub(crate) fn take_guest(
        self: &Arc<Self>,
        guest: Guest,
        stream: Stream,
        dialect: AnyDialect,
    ) -> io::Result<Option<Peer>> {
        let mut handshake = None;
        let peer = self.enter(stream, dialect, |connections| {
            // One is in the other's place from here on.
            handshake = connections.guests.remove(&guest.number);
            true
        });
        drop((guest, handshake));
        peer
    }

    /// Counts a guest, unless there are as many as may be, or it is the end
    pub(crate) fn greet(self: &Arc<Self>, stream: &Stream) -> io::Result<Option<Guest>> {
        let stream = stream.tcp()?.try_clone()?;
        let mut connections = self.lock();
        if connections.stopped || self.is_full(&connections) {
            return Ok(None);
        }
        connections.greeted += 1;
        let number = connections.greeted;
        connections.guests.insert(number, stream);
        drop(connections);
        Ok(Some(Guest { shared: Arc::clone(self), number }))
    }

    pub(crate) fn is_full(&self, connections: &Connections) -> bool {
        connections.peers.len() + connections.guests.len() >= self.max_connections
    }

    fn enter(
        self: &Arc<Self>,
        stream: Stream,
        dialect: AnyDialect,
        may_enter: impl FnOnce(&mut Connections) -> bool,
    ) -> io::Result<Option<Peer>> {
        let server = Arc::downgrade(self);
        let options = Arc::clone(&self.options);
        let on_end = Box::new(move |peer: &Peer, why| {
            if let Some(server) = server.upgrade() {
                server.remove(peer.id());
            }
            if let Some(hook) = &options.on_close {
                hook(peer, why);
            }
        });
        let (router, options) = (Arc::clone(&self.router), Arc::clone(&self.options));
        let link = Link::new(stream, dialect, router, options, Arc::downgrade(self), on_end)?;
        let peer = link.peer();
        {
            let mut connections = self.lock();
            if connections.stopped || !may_enter(&mut connections) {
                return Ok(None);
            }
            connections.peers.insert(peer.id(), peer.clone());
        }
        link.greet();
        if let Err(error) = worker::start(&link) {
            self.remove(peer.id());
            link.close();
            return Err(error);
        }
        Ok(Some(peer))
    }

    /// Who is connected now, in the order they came
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.lock().peers.values().cloned().collect()
    }

    fn remove(&self, id: ConnectionId) {
        let gone = self.lock().peers.remove(&id);
        self.changed.notify_all();
        drop(gone);
    }
}

impl ServerHandle {
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

    /// Listens at another address too, which may speak another protocol: its connections are the same server's
    ///
    /// [`address`](Self::address) goes on naming the first. Gives where it listens.
    ///
    /// # Errors
    /// As [`Server::listen`].
    pub fn also_listen(&mut self, address: impl ToString) -> io::Result<String> {
        let mut endpoint: Endpoint = address.to_string().parse()?;
        let dialect = self.shared.options.dialect(&endpoint)?;
        if endpoint.address == Address::Stdio {
            self.shared.take(Stream::own()?, dialect)?;
            self.shared.lock().single = self.accepting.is_empty();
        } else {
            let listener = Listener::bind(&endpoint.address)?;
            endpoint.address = listener.address()?;
            let door = Arc::new(Door::new(Arc::clone(&self.shared), listener, dialect, endpoint.carrier));
            let accepting = Arc::clone(&door);
            let thread = std::thread::Builder::new()
                .name("flyrpc-accept".to_owned())
                .spawn(move || accepting.accept_all())?;
            self.accepting.push((door, thread));
            self.shared.lock().single = false;
        }
        let text = endpoint.to_string();
        self.endpoint.get_or_insert(endpoint);
        Ok(text)
    }

    /// Serves a socket that is connected already; `None` past the limit of connections
    ///
    /// # Errors
    /// The system's: no thread could be started.
    pub fn attach(&self, stream: impl Into<Stream>) -> io::Result<Option<Peer>> {
        self.shared.take(stream.into(), self.shared.options.dialect_of_streams())
    }

    /// Who is connected now, in the order they came
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.shared.peers()
    }

    /// The connection of this number
    #[must_use]
    pub fn peer(&self, id: ConnectionId) -> Option<Peer> {
        self.shared.lock().peers.get(&id).cloned()
    }

    /// How many are connected now
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().peers.len()
    }

    /// Sends a message to everyone who is connected, and tells how many took it
    ///
    /// One whose buffer is full is passed over, so that a slow reader stalls nobody: see [`Peer::try_send`].
    ///
    /// # Errors
    /// The payload can't be encoded.
    pub fn broadcast<'a>(&self, code: &str, payload: impl IntoPayload<'a>) -> Result<usize, FormatError> {
        Ok(send_to_all(&self.peers(), code, &payload.into_payload()?))
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
    ) -> Result<usize, FormatError> {
        let peers: Vec<Peer> = {
            let connections = self.shared.lock();
            ids.iter().filter_map(|id| connections.peers.get(id).cloned()).collect()
        };
        Ok(send_to_all(&peers, code, &payload.into_payload()?))
    }

    /// Accepts no more, lets every connection drain, and returns when all have ended; by `timeout` at the latest
    pub fn shutdown(mut self, timeout: Duration) {
        self.stop_accepting();
        std::thread::scope(|scope| {
            for peer in self.peers() {
                scope.spawn(move || peer.drain(timeout));
            }
        });
    }

    /// Waits until the server was stopped and its last connection has ended: for a program that is a server and nothing
    /// else
    pub fn wait(&self) {
        let mut connections = self.shared.lock();
        let over =
            |it: &Connections| (it.stopped || it.single) && it.peers.is_empty() && it.guests.is_empty();
        while !over(&connections) {
            connections = self.shared.wait(connections);
        }
    }

    fn stop_accepting(&mut self) {
        let mut to_join = Vec::new();
        {
            let mut connections = self.shared.lock();
            connections.stopped = true;
            for guest in connections.guests.values() {
                // It fails only when the socket is gone already.
                let _ = guest.shutdown(Shutdown::Both);
            }
            for (door, thread) in self.accepting.drain(..) {
                // A thread that waits for room comes without being woken by a connection, which it would not take.
                to_join.push((door.waits_for_room(), door, thread));
            }
            self.shared.changed.notify_all();
        }
        // The sockets are closed here, so that who connects from now on is told.
        for (comes, door, thread) in to_join {
            if comes || door.wake() {
                let _ = thread.join();
            }
        }
    }
}

/// How many took it
pub(crate) fn send_to_all(peers: &[Peer], code: &str, payload: &Payload<'_>) -> usize {
    peers.iter().filter(|peer| peer.try_send(code, payload.as_ref()).is_ok()).count()
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop_accepting();
        for peer in self.peers() {
            peer.close();
        }
    }
}
