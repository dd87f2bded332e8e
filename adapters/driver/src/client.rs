//! Dialling in

use core::marker::PhantomData;
use core::ops::Deref;
use core::time::Duration;
use std::io;

use crate::door;
use crate::hub::Hub;
use crate::options::{Options, common_options};
use crate::runtime::{Runtime, Transport};
use crate::until::within;
use crate::{Endpoint, Peer, Router};

/// A client to be: what it answers, and its limits
///
/// It dials once. Who wants to be connected again calls [`connect`](Self::connect) again, on a client made anew, after
/// [`Peer::closed`].
#[must_use = "it does nothing until `connect`"]
pub struct Client<R> {
    router: Router<Peer>,
    options: Options,
    runtime: PhantomData<fn() -> R>,
}

/// A client's connection: a [`Peer`] that closes when it is dropped, at once: what was not sent yet is lost unless
/// [`drain`](Peer::drain) was awaited before
#[derive(Debug)]
#[must_use = "a connection closes when this is dropped"]
pub struct Connected {
    peer: Peer,
}

impl<R: Runtime> Client<R> {
    /// A client that answers nothing
    pub fn new() -> Self {
        Self { router: Router::new(), options: Options::default(), runtime: PhantomData }
    }

    common_options!();

    /// Connects to `host:port`, `tcp://host:port` or `unix:/path`, and whatever else [`Endpoint`] says; gives up after 10 s
    ///
    /// # Errors
    /// The system's, and [`BadAddress`](crate::BadAddress) as [`io::ErrorKind::InvalidInput`].
    pub async fn connect(self, address: impl ToString) -> io::Result<Connected> {
        self.connect_within(address, Duration::from_secs(10)).await
    }

    /// Connects to a net/rpc server at `host:port` that speaks JSON-RPC: the same as `jsonrpc+tcp://host:port`
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn dial(self, address: impl ToString) -> io::Result<Connected> {
        self.connect(format!("jsonrpc+tcp://{}", address.to_string())).await
    }

    /// Connects to a net/rpc server at `host:port` by HTTP `CONNECT`, on its usual path: the same as
    /// `jsonrpc+connect://host:port/_goRPC_`
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    #[cfg(feature = "http")]
    pub async fn dial_http(self, address: impl ToString) -> io::Result<Connected> {
        self.connect(format!("jsonrpc+connect://{}", address.to_string())).await
    }

    /// Connects, within `timeout`
    ///
    /// # Errors
    /// The system's, and [`BadAddress`](crate::BadAddress) as [`io::ErrorKind::InvalidInput`].
    pub async fn connect_within(self, address: impl ToString, timeout: Duration) -> io::Result<Connected> {
        let endpoint: Endpoint = address.to_string().parse()?;
        let dialect = self.options.dialect(&endpoint)?;
        let hub = Hub::new(self.router, self.options, usize::MAX);
        let peer = within::<R, _>(timeout, door::connect::<R>(&hub, dialect, &endpoint)).await;
        let peer = peer.ok_or(io::ErrorKind::TimedOut)??;
        Ok(Connected { peer })
    }

    /// Speaks over a stream that is connected already: FlyRPC, or JSON-RPC after [`json_rpc`](Self::json_rpc)
    pub fn attach<T: Transport>(self, transport: T) -> Connected {
        let dialect = self.options.dialect_of_streams();
        let hub = Hub::new(self.router, self.options, usize::MAX);
        Connected { peer: hub.open::<R, T>(transport, dialect) }
    }
}

impl<R: Runtime> Default for Client<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> core::fmt::Debug for Client<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Client").field("router", &self.router).field("options", &self.options).finish()
    }
}

impl Connected {
    /// The peer, as a clone that does not close the connection when it is dropped
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }
}

impl Deref for Connected {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.peer.close();
    }
}
