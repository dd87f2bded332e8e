//! Listening

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use flyrpc_core::CloseReason;
use flyrpc_core::fly::zip::ZipMode;

use crate::client::common_options;
use crate::link::{Link, Options};
use crate::router::{IntoReply, Request, Router};
use crate::stream::{Listener, Stream};
use crate::{Address, Limits, Overload, Peer, worker};

/// A server to be: what it answers, and its limits
#[derive(Debug)]
#[must_use = "it does nothing until `listen`"]
pub struct Server {
    router: Router,
    options: Options,
    max_connections: usize,
}

/// A running server; it stops when this is dropped
#[derive(Debug)]
pub struct ServerHandle {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    listener: Listener,
    address: Address,
    router: Arc<Router>,
    options: Options,
    max_connections: usize,
    stopping: AtomicBool,
    next_id: AtomicU64,
    peers: Mutex<BTreeMap<u64, Peer>>,
}

impl Default for Server {
    fn default() -> Self {
        Self { router: Router::default(), options: Options::default(), max_connections: 1024 }
    }
}

impl Server {
    /// A server that answers nothing
    pub fn new() -> Self {
        Self::default()
    }

    common_options!();

    /// Connections at a time; more are closed as they come; 1,024 by default
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Listens on `host:port`, `tcp://host:port` or `unix:/path`, on threads of its own
    ///
    /// Port 0 takes a free one: [`ServerHandle::address`] tells which.
    ///
    /// # Errors
    /// The system's, and [`BadAddress`](crate::BadAddress) as [`io::ErrorKind::InvalidInput`].
    pub fn listen(self, address: impl ToString) -> io::Result<ServerHandle> {
        let listener = Listener::bind(&address.to_string().parse()?)?;
        let shared = Arc::new(Shared {
            address: listener.address()?,
            listener,
            router: Arc::new(self.router),
            options: self.options,
            max_connections: self.max_connections,
            stopping: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
            peers: Mutex::new(BTreeMap::new()),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::Builder::new()
            .name("flyrpc-accept".to_owned())
            .spawn(move || accepting.accept_all())?;
        Ok(ServerHandle { shared, acceptor: Some(acceptor) })
    }
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, BTreeMap<u64, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_all(self: &Arc<Self>) {
        while !self.stopping.load(Ordering::SeqCst) {
            match self.listener.accept() {
                Ok(stream) => {
                    // What fails here concerns one connection, which is closed by being dropped.
                    let _ = self.accept(stream);
                }
                // Out of descriptors or the like: others may end meanwhile.
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn accept(self: &Arc<Self>, stream: Stream) -> io::Result<()> {
        if self.stopping.load(Ordering::SeqCst) || self.peers().len() >= self.max_connections {
            return Ok(());
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let server = Arc::downgrade(self);
        let router = Arc::clone(&self.router);
        let on_end = Box::new(move |peer: &Peer, why| {
            if let Some(server) = server.upgrade() {
                server.peers().remove(&id);
            }
            if let Some(hook) = &router.on_close {
                hook(peer, why);
            }
        });
        let link = Link::new(stream, Arc::clone(&self.router), self.options.clone(), on_end)?;
        self.peers().insert(id, link.peer());
        if let Some(hook) = &self.router.on_connect {
            // A panic stays within the connection: others are to be accepted.
            let _ = catch_unwind(AssertUnwindSafe(|| hook(&link.peer(), ())));
        }
        let started = worker::start(&link);
        if started.is_err() {
            self.peers().remove(&id);
            link.close();
        }
        started
    }
}

impl ServerHandle {
    /// Where it listens
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    /// Who is connected now, in the order they came
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.shared.peers().values().cloned().collect()
    }

    /// Sends a message to everyone who is connected, and tells how many took it
    ///
    /// One whose buffer is full is waited for, or passed over, as [`Server::send_buffer`] says.
    pub fn broadcast(&self, code: &str, payload: impl AsRef<[u8]>) -> usize {
        self.peers().iter().filter(|peer| peer.send(code, payload.as_ref()).is_ok()).count()
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

    /// Waits for ever: for a program that is a server and nothing else
    pub fn wait(mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }

    fn stop_accepting(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take()
            && self.shared.listener.wake()
        {
            let _ = acceptor.join();
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop_accepting();
        for peer in self.peers() {
            peer.close();
        }
    }
}
