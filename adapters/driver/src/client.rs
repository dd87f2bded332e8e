//! Dialling in

use core::future::{Future, poll_fn};
use core::marker::PhantomData;
use core::ops::Deref;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::io;

use crate::hub::Hub;
use crate::options::{Options, common_options};
use crate::runtime::{Runtime, Timer, Transport};
use crate::{Address, Peer, Router};

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

    /// Connects to `host:port`, `tcp://host:port` or `unix:/path`; gives up after 10 s
    ///
    /// # Errors
    /// The system's, and [`BadAddress`](crate::BadAddress) as [`io::ErrorKind::InvalidInput`].
    pub async fn connect(self, address: impl ToString) -> io::Result<Connected> {
        self.connect_within(address, Duration::from_secs(10)).await
    }

    /// Connects, within `timeout`
    ///
    /// # Errors
    /// The system's, and [`BadAddress`](crate::BadAddress) as [`io::ErrorKind::InvalidInput`].
    pub async fn connect_within(self, address: impl ToString, timeout: Duration) -> io::Result<Connected> {
        let address: Address = address.to_string().parse()?;
        let connected = {
            let mut connecting = pin!(R::connect(&address));
            let mut timer = R::timer();
            timer.set(timeout);
            poll_fn(|cx| match connecting.as_mut().poll(cx) {
                Poll::Pending if timer.poll_expired(cx).is_ready() => {
                    Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
                }
                polled @ (Poll::Ready(_) | Poll::Pending) => polled,
            })
            .await?
        };
        Ok(self.attach(connected))
    }

    /// Speaks over a stream that is connected already
    pub fn attach<T: Transport>(self, transport: T) -> Connected {
        let hub = Hub::new(self.router, self.options, usize::MAX);
        Connected { peer: hub.open::<R, T>(transport) }
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
