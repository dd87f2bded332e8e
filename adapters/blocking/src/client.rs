//! Dialling in

use core::ops::Deref;
use core::time::Duration;
use std::io;
use std::sync::{Arc, Weak};

use flyrpc_driver::Endpoint;
use flyrpc_driver::dialect::AnyDialect;

use crate::door;
use crate::link::Link;
use crate::options::{Options, common_options};
use crate::stream::Stream;
use crate::{Peer, Router, worker};

/// A client to be: what it answers, and its limits
#[derive(Debug, Default)]
#[must_use = "it does nothing until `connect`"]
pub struct Client {
    router: Router,
    options: Options,
}

/// A client's connection: a [`Peer`] that closes when it is dropped
#[derive(Debug)]
#[must_use = "a connection closes when this is dropped"]
pub struct Connected {
    peer: Peer,
}

impl Client {
    /// A client that answers nothing
    pub fn new() -> Self {
        Self::default()
    }

    common_options!();

    /// Connects to `host:port`, `tcp://host:port` or `unix:/path`, and whatever else [`Endpoint`] says; gives up after 10 s
    ///
    /// # Errors
    /// The system's; [`BadAddress`](crate::BadAddress) as [`io::ErrorKind::InvalidInput`];
    /// [`io::ErrorKind::Unsupported`] for what is not offered here, such as HTTP POST.
    pub fn connect(self, address: impl ToString) -> io::Result<Connected> {
        self.connect_within(address, Duration::from_secs(10))
    }

    /// Connects, within `timeout` for each of the addresses that the host has, and again for a handshake
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_within(self, address: impl ToString, timeout: Duration) -> io::Result<Connected> {
        let endpoint: Endpoint = address.to_string().parse()?;
        let dialect = self.options.dialect(&endpoint)?;
        let stream = door::connect(&endpoint, &self.options.limits, timeout)?;
        self.open(stream, dialect)
    }

    /// Speaks over a socket that is connected already: FlyRPC, or JSON-RPC after [`json_rpc`](Self::json_rpc)
    ///
    /// # Errors
    /// The system's: no thread could be started.
    pub fn attach(self, stream: impl Into<Stream>) -> io::Result<Connected> {
        let dialect = self.options.dialect_of_streams();
        self.open(stream.into(), dialect)
    }

    fn open(self, stream: Stream, dialect: AnyDialect) -> io::Result<Connected> {
        let options = Arc::new(self.options);
        let told = Arc::clone(&options);
        let on_end = Box::new(move |peer: &Peer, why| {
            if let Some(hook) = &told.on_close {
                hook(peer, why);
            }
        });
        let link = Link::new(stream, dialect, Arc::new(self.router), options, Weak::new(), on_end)?;
        let connected = Connected { peer: link.peer() };
        link.greet();
        worker::start(&link)?;
        Ok(connected)
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
