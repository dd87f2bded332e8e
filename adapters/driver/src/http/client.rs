//! A client that posts: units out become requests, bodies of answers become units in

mod pool;
mod worker;

use core::marker::PhantomData;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;

use self::pool::Pool;
use super::exchange::Units;
use super::io::take;
use crate::Address;
use crate::runtime::{Runtime, Transport};

/// A transport whose every unit is posted, over a pool of connections, and whose answers' bodies are its units to read
///
/// * What is posted at the same time may arrive in any order, since each goes over a connection of its own; one connection
///   ([`HttpOptions::connections`]) keeps the order.
/// * Nothing is sent twice, except what did not leave at all because the connection it was given to had just been closed.
/// * Every call in a unit is answered: where HTTP fails it, or the body leaves it out, by an error of code -32000 that says
///   what happened. The other exchanges go on.
/// * A message that is itself a response is dropped: nobody waits for one over HTTP.
/// * [`poll_shutdown`](Transport::poll_shutdown) waits for what is under way; dropping it ends that at once.
pub struct HttpClient<R: Runtime> {
    pool: Arc<Pool>,
    /// Written, but not whole yet
    partial: Units,
    /// Being read
    reading: Bytes,
    runtime: PhantomData<fn() -> R>,
}

/// Settings of an [`HttpClient`]
#[derive(Clone, Debug)]
#[must_use]
pub struct HttpOptions {
    max_message: usize,
    connections: usize,
    max_waiting: usize,
    connect_timeout: Duration,
    exchange_timeout: Duration,
    idle_timeout: Duration,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            max_message: 16 << 20,
            connections: 64,
            max_waiting: 4096,
            connect_timeout: Duration::from_secs(10),
            exchange_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            headers: Vec::new(),
        }
    }
}

impl HttpOptions {
    /// The defaults, named at each method
    pub fn new() -> Self {
        Self::default()
    }

    /// Longest body of an answer, in bytes; its calls fail beyond; 16 MiB by default
    pub const fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Connections, and thereby exchanges, at a time; 64 by default, 1 at least
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Units that may wait for a connection before no more are taken; 4,096 by default, 1 at least, and 4 MiB in any case
    pub fn max_waiting(mut self, units: usize) -> Self {
        self.max_waiting = units.max(1);
        self
    }

    /// How long connecting may take; 10 s by default
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an exchange may take; 60 s by default
    ///
    /// Calls have their own deadlines. But HTTP can't be told that a call is of no interest any more, so its exchange keeps its
    /// connection until then.
    pub const fn exchange_timeout(mut self, timeout: Duration) -> Self {
        self.exchange_timeout = timeout;
        self
    }

    /// How long a connection is kept for the next exchange; 30 s by default
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sends this header with every request: a token, for example
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the name or the value is none for HTTP, or the name is one of those that the client sets.
    pub fn header(mut self, name: &str, value: &str) -> io::Result<Self> {
        let invalid = || io::Error::new(ErrorKind::InvalidInput, "not a header that can be set");
        let name = HeaderName::try_from(name).map_err(|_| invalid())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| invalid())?;
        if worker::OWN_HEADERS.contains(&name) {
            return Err(invalid());
        }
        value.set_sensitive(true);
        self.headers.push((name, value));
        Ok(self)
    }
}

impl<R: Runtime> HttpClient<R> {
    /// Posts to `path` of the server at `address`, which it calls `authority`: `host:port`, as `Host` has it, and `localhost` whatever it
    /// says if that is a Unix socket
    ///
    /// Connects when there is something to post.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the authority or the path is none.
    pub fn new(address: Address, authority: &str, path: &str, options: HttpOptions) -> io::Result<Self> {
        let invalid = |what| io::Error::new(ErrorKind::InvalidInput, what);
        // The path of a Unix socket is no host; the server there is as near as can be.
        let authority = if matches!(address, Address::Unix(_)) { "localhost" } else { authority };
        let host = HeaderValue::try_from(authority).map_err(|_| invalid("this is no host"))?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let path = PathAndQuery::try_from(path).map_err(|_| invalid("this is no path"))?;
        let pool = Arc::new(Pool::new(address, host, path, options));
        Ok(Self { pool, partial: Units::default(), reading: Bytes::new(), runtime: PhantomData })
    }
}

impl<R: Runtime> Transport for HttpClient<R> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        if self.reading.is_empty() {
            match self.pool.poll_answer(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(0)),
                Poll::Ready(Some(unit)) => self.reading = unit,
            }
        }
        Poll::Ready(Ok(take(&mut self.reading, buf)))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut written = 0;
        for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                if self.pool.poll_room(cx).is_pending() {
                    return if written == 0 { Poll::Pending } else { Poll::Ready(Ok(written)) };
                }
                let before = rest.len();
                let message = self.partial.next(&mut rest);
                written += before - rest.len();
                if let Some(message) = message
                    && let Some(seat) = self.pool.post(message)?
                {
                    R::spawn(Box::pin(worker::run::<R>(seat)));
                }
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pool.poll_done(cx).map(Ok)
    }

    fn may_be_called(&self) -> bool {
        false
    }

    fn remote(&self) -> String {
        self.pool.remote()
    }
}

impl<R: Runtime> Drop for HttpClient<R> {
    fn drop(&mut self) {
        self.pool.abandon();
    }
}

impl<R: Runtime> core::fmt::Debug for HttpClient<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HttpClient").field("pool", &self.pool).finish_non_exhaustive()
    }
}
