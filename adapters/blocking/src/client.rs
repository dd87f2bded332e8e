//! Dialling in

use core::ops::Deref;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use flyrpc_core::CloseReason;
use flyrpc_core::fly::zip::ZipMode;

use crate::link::{Link, Options};
use crate::router::{IntoReply, Request, Router};
use crate::stream::Stream;
use crate::{Address, Limits, Overload, Peer, worker};

/// A client to be: what it answers, and its limits
#[derive(Debug, Default)]
#[must_use = "it does nothing until `connect`"]
pub struct Client {
    router: Router,
    options: Options,
}

/// A client's connection: a [`Peer`] that closes when it is dropped
#[derive(Debug)]
pub struct Connected {
    peer: Peer,
}

/// Both ends are told the same things in the same words
macro_rules! common_options {
    () => {
        /// Answers requests, and takes messages, of `code` with `handler`
        ///
        /// The last handler of a code counts. See [`IntoReply`] for what it may give back.
        pub fn handle<R: IntoReply>(
            mut self,
            code: &str,
            handler: impl Fn(&Request<'_>) -> R + Send + Sync + 'static,
        ) -> Self {
            self.router.add(code, handler);
            self
        }

        /// Answers requests, and takes messages, of all other codes; `NOT_FOUND` without it
        pub fn fallback<R: IntoReply>(
            mut self,
            handler: impl Fn(&Request<'_>) -> R + Send + Sync + 'static,
        ) -> Self {
            self.router.set_fallback(handler);
            self
        }

        /// Limits of each connection; [`Limits::new`] with 64 requests handled at a time by default
        ///
        /// Bodies are always taken whole: [`Limits::oversize`] has no effect here.
        pub fn limits(mut self, limits: Limits) -> Self {
            self.options.limits = limits.oversize(Default::default());
            self
        }

        /// When to compress what is sent; never by default
        pub fn zip(mut self, mode: ZipMode) -> Self {
            self.options.zip = mode;
            self
        }

        /// How long the peer may take nothing of what is sent before the connection counts as lost; 30 s by default
        ///
        /// It must not be zero.
        pub fn write_timeout(mut self, timeout: Duration) -> Self {
            self.options.write_timeout = timeout;
            self
        }

        /// How many bytes may wait to be sent, beside the packet that passes it, and what a caller then does: wait, within
        /// its deadline, or be refused; 4 MiB and wait by default
        pub fn send_buffer(mut self, bytes: usize, when_full: Overload) -> Self {
            (self.options.max_buffered, self.options.when_full) = (bytes.max(1), when_full);
            self
        }

        /// Is told when a connection is there
        ///
        /// A server tells it before anything is read, on the thread that accepts: the hook may send, and start calls, but
        /// must not wait for answers.
        pub fn on_connect(mut self, hook: impl Fn(&Peer) + Send + Sync + 'static) -> Self {
            self.router.on_connect = Some(Arc::new(move |peer, ()| hook(peer)));
            self
        }

        /// Is told when a connection has ended, and why
        pub fn on_close(mut self, hook: impl Fn(&Peer, CloseReason) + Send + Sync + 'static) -> Self {
            self.router.on_close = Some(Arc::new(hook));
            self
        }
    };
}
pub(crate) use common_options;

impl Client {
    /// A client that answers nothing
    pub fn new() -> Self {
        Self::default()
    }

    common_options!();

    /// Connects to `host:port`, `tcp://host:port` or `unix:/path`; gives up after 10 s
    ///
    /// # Errors
    /// The system's, and [`BadAddress`](crate::BadAddress) as [`io::ErrorKind::InvalidInput`].
    pub fn connect(self, address: impl ToString) -> io::Result<Connected> {
        self.connect_within(address, Duration::from_secs(10))
    }

    /// Connects, within `timeout` for each of the addresses that the host has
    ///
    /// # Errors
    /// The system's, and [`BadAddress`](crate::BadAddress) as [`io::ErrorKind::InvalidInput`].
    pub fn connect_within(self, address: impl ToString, timeout: Duration) -> io::Result<Connected> {
        let address: Address = address.to_string().parse()?;
        let stream = Stream::connect(&address, timeout)?;
        let router = Arc::new(self.router);
        let told = Arc::clone(&router);
        let on_end = Box::new(move |peer: &Peer, why| {
            if let Some(hook) = &told.on_close {
                hook(peer, why);
            }
        });
        let link = Link::new(stream, Arc::clone(&router), self.options, on_end)?;
        worker::start(&link)?;
        let connected = Connected { peer: link.peer() };
        if let Some(hook) = &router.on_connect {
            hook(&connected, ());
        }
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
