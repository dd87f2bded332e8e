//! Who is connected

use std::sync::{Mutex, MutexGuard, PoisonError};

use flyrpc_driver::Caller;
use flyrpc_tokio::Peer;

/// Clients that can be called, in the order they came
///
/// Those that send their requests by HTTP POST can't be: each request is a connection of its own there.
#[derive(Default)]
pub(crate) struct Clients(Mutex<Vec<Peer>>);

impl Clients {
    pub(crate) fn add(&self, peer: &Peer) {
        if peer.info().may_be_called {
            self.lock().push(peer.clone());
        }
    }

    pub(crate) fn remove(&self, peer: &Peer) {
        self.lock().retain(|other| other.id() != peer.id());
    }

    pub(crate) fn all(&self) -> Vec<Peer> {
        self.lock().clone()
    }

    /// The one that came last
    pub(crate) fn newest(&self) -> Option<Peer> {
        self.lock().last().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
