//! HTTP as a transport: POST with one message each way, CONNECT as net/rpc opens streams, and the way in for WebSocket
//!
//! Messages travel as *units*, as with every message transport: four bytes, big-endian, that tell a length, then the message.
//!
//! | who | starts from |
//! |---|---|
//! | a server | [`serve`], which gives each POST to its [`Host`] as an [`Exchange`]: a transport of one unit each way |
//! | a client that posts | [`HttpClient`]: a transport whose units become POSTs, and their answers units |
//! | a client that wants a stream | [`connect_handshake`], then the stream is the codec's |
//!
//! HTTP/1.1 is hyper's, over any [`Runtime`](crate::runtime::Runtime).

mod client;
mod connect;
mod exchange;
mod io;
mod look;
mod server;

use core::task::{Context, Poll};
use core::time::Duration;

use crate::Origins;

pub use client::{HttpClient, HttpOptions};
pub use connect::connect_handshake;
pub(crate) use exchange::Answer;
pub use exchange::{Departure, Exchange};
pub use io::Prefixed;
pub use server::serve;

/// Path that net/rpc connects to (Go's `rpc.DefaultRPCPath`)
pub const CONNECT_PATH: &str = "/_goRPC_";

/// What [`serve`] gives its exchanges and streams to
pub trait Host<T>: Send + Sync + 'static {
    /// Takes an exchange as a connection of its own; `false` if it can't, which is answered with status 503
    fn exchange(&self, exchange: Exchange) -> bool;

    /// Takes a byte stream that was opened by CONNECT
    ///
    /// Dropping it closes the connection.
    fn connected(&self, stream: Prefixed<T>);

    /// Takes a stream that speaks WebSocket from here on; its handshake is done
    ///
    /// Dropping it closes the connection. Called with feature `ws` only.
    fn upgraded(&self, stream: Prefixed<T>) {
        drop(stream);
    }

    /// Ready when it stops: a connection then ends behind the exchange under way, at once if there is none
    ///
    /// Never ready by default.
    fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Pending
    }
}

/// Limits of a server's HTTP connections
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    max_message: usize,
    header_timeout: Duration,
    body_timeout: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
    connect_path: Option<String>,
    origins: Origins,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_message: 16 << 20,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            connect_path: Some(CONNECT_PATH.to_owned()),
            origins: Origins::default(),
        }
    }
}

impl Options {
    /// The defaults, named at each method
    pub fn new() -> Self {
        Self::default()
    }

    /// Longest body of a request, in bytes, answered with status 413 beyond; 16 MiB by default
    pub const fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// How long a request's head may take, and the first request to begin; 10 s by default
    pub const fn header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// How long a request's body may stand still; 10 s by default
    pub const fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// How long a connection may wait for its next request; 60 s by default
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How long a client may take nothing of its answer; 30 s by default
    pub const fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// The web pages that may open a WebSocket besides those of the server's own host; no others by default
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// Path that CONNECT opens a stream on, `None` for none at all; [`CONNECT_PATH`] by default
    pub fn connect_path(mut self, path: Option<&str>) -> Self {
        self.connect_path = path.map(str::to_owned);
        self
    }
}
