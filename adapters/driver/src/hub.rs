//! Connections of a server, or of a client, while they live

use core::future::Future;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use flyrpc_core::Limits;

use crate::dialect::AnyDialect;
use crate::driver::Driver;
use crate::link::Link;
use crate::options::Options;
use crate::runtime::{Runtime, Transport};
use crate::watchers::Watchers;
use crate::{ConnectionId, Info, Payload, Peer, Router, Session};

/// Who is connected, and how connections are made
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) router: Arc<Router<Peer>>,
    pub(crate) options: Arc<Options>,
    pub(crate) max_connections: usize,
    state: Mutex<HubState>,
}

#[derive(Debug, Default)]
pub(crate) struct HubState {
    pub(crate) peers: BTreeMap<ConnectionId, Peer>,
    /// Places taken: by sockets that are connections, are about to become one, or carry some (HTTP)
    pub(crate) places: usize,
    /// Those that are not connections yet (a handshake is under way), or carry some (HTTP)
    guests: BTreeMap<u64, Waker>,
    /// Numbers the guests
    #[cfg(any(feature = "ws", feature = "http"))]
    greeted: u64,
    /// It has ended when nobody is connected and nothing listens, though nobody has stopped it
    pub(crate) ends_alone: bool,
    /// No connection is taken any more
    pub(crate) stopped: bool,
    /// Nor may a guest go on
    overdue: bool,
    /// Listening sockets that are open
    pub(crate) listening: usize,
    /// Whom to tell when a connection has ended, or when it stops
    pub(crate) watchers: Watchers,
}

/// Connections of the whole process
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Hub {
    pub(crate) fn new(router: Router<Peer>, options: Options, max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            router: Arc::new(router),
            options: Arc::new(options),
            max_connections,
            state: Mutex::default(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection, unless there are as many as may be, or it is the end
    pub(crate) fn take<R: Runtime, T: Transport>(
        self: &Arc<Self>,
        transport: T,
        dialect: AnyDialect,
    ) -> Option<Peer> {
        let place = self.place()?;
        self.enter::<R, T>(transport, dialect, self.options.limits.clone(), Some(place))
    }

    /// Takes a connection into a place, or, without one, into that of what carries it; unless it is the end
    pub(crate) fn enter<R: Runtime, T: Transport>(
        self: &Arc<Self>,
        transport: T,
        dialect: AnyDialect,
        limits: Limits,
        place: Option<Place>,
    ) -> Option<Peer> {
        let peer = self.link::<R, T>(&transport, dialect, limits);
        {
            // Who stops the server closes those who are in the list, so nobody enters behind that.
            let mut state = self.lock();
            if state.stopped {
                return None;
            }
            state.peers.insert(peer.id(), peer.clone());
        }
        self.start::<R, T>(&peer, transport, place);
        Some(peer)
    }

    /// Takes a connection in any case and lets the runtime drive it
    pub(crate) fn open<R: Runtime, T: Transport>(
        self: &Arc<Self>,
        transport: T,
        dialect: AnyDialect,
    ) -> Peer {
        let peer = self.link::<R, T>(&transport, dialect, self.options.limits.clone());
        self.lock().peers.insert(peer.id(), peer.clone());
        self.start::<R, T>(&peer, transport, None);
        peer
    }

    fn link<R: Runtime, T: Transport>(
        self: &Arc<Self>,
        transport: &T,
        dialect: AnyDialect,
        limits: Limits,
    ) -> Peer {
        let info = Info {
            id: ConnectionId(NEXT.fetch_add(1, Ordering::Relaxed)),
            remote: transport.remote(),
            protocol: dialect.protocol(),
            may_be_called: transport.may_be_called(),
            session: Session::default(),
            shared: self.router.shared(),
        };
        Peer {
            link: Link::new(info, dialect, limits, self, R::spawn, R::error_code, R::now, transport.writer()),
        }
    }

    fn start<R: Runtime, T: Transport>(self: &Arc<Self>, peer: &Peer, transport: T, place: Option<Place>) {
        // It leaves the list also when the runtime drops its task, or can't start one.
        let entry = Entry { hub: Arc::downgrade(self), id: peer.id(), _place: place };
        if self.options.hello {
            peer.link.say_hello();
        }
        if let Some(hook) = &self.options.on_connect {
            // A panic stays within the connection: others are to be accepted.
            let _ = catch_unwind(AssertUnwindSafe(|| hook(peer)));
        }
        let driver = Driver::<R, T>::new(Arc::clone(&peer.link), transport);
        R::spawn(Box::pin(Listed { driver, _entry: entry }));
    }

    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.lock().peers.values().cloned().collect()
    }

    /// Takes no connection any more
    pub(crate) fn stop(&self) {
        self.change(|state| state.stopped = true);
        self.wake_guests();
    }

    /// Guests go no further: what they have still to write is not waited for any more
    pub(crate) fn expel(&self) {
        self.lock().overdue = true;
        self.wake_guests();
    }

    fn wake_guests(&self) {
        let wakers: Vec<Waker> = self.lock().guests.values().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Changes something that others wait for; what the change gives back is dropped without the lock
    fn change<T>(&self, change: impl FnOnce(&mut HubState) -> T) {
        let mut state = self.lock();
        let changed = change(&mut state);
        let mut wakers = Vec::new();
        state.watchers.take(&mut wakers);
        drop(state);
        drop(changed);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A socket listens from now on, until what this returns is dropped
    pub(crate) fn listen(self: &Arc<Self>) -> Listening {
        self.lock().listening += 1;
        Listening { hub: Arc::clone(self) }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lock().places >= self.max_connections
    }

    /// A place for what was accepted, unless as many are taken as there may be, or it is the end
    fn place(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.lock();
        if state.stopped || state.places >= self.max_connections {
            return None;
        }
        state.places += 1;
        drop(state);
        Some(Place { hub: Arc::clone(self) })
    }

    /// The same for what is no connection yet, or carries some
    #[cfg(any(feature = "ws", feature = "http"))]
    pub(crate) fn greet(self: &Arc<Self>) -> Option<Guest> {
        let place = Mutex::new(Some(self.place()?));
        let mut state = self.lock();
        state.greeted += 1;
        let number = state.greeted;
        state.guests.insert(number, Waker::noop().clone());
        drop(state);
        Some(Guest { hub: Arc::clone(self), number, place })
    }
}

/// The task of a connection; an `async` block would hold the driver twice
///
/// The connection leaves the list also when the runtime drops its task.
struct Listed<R: Runtime, T: Transport> {
    driver: Driver<R, T>,
    _entry: Entry,
}

impl<R: Runtime, T: Transport> Future for Listed<R, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.driver).poll(cx).map(drop)
    }
}

/// A connection's place in the list
struct Entry {
    hub: Weak<Hub>,
    id: ConnectionId,
    /// Free when the connection has left the list
    _place: Option<Place>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.change(|state| state.peers.remove(&self.id));
        }
    }
}

/// One of the places that a server has
pub(crate) struct Place {
    hub: Arc<Hub>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.change(|state| state.places -= 1);
    }
}

/// What has a place and is no connection yet, or carries some
#[cfg(any(feature = "ws", feature = "http"))]
pub(crate) struct Guest {
    hub: Arc<Hub>,
    number: u64,
    /// Free when nothing is known of the guest any more
    place: Mutex<Option<Place>>,
}

#[cfg(any(feature = "ws", feature = "http"))]
impl Guest {
    /// The place, for the connection that it has become
    pub(crate) fn take_place(&self) -> Option<Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ready when no connection is taken any more; for the one task that this guest is
    pub(crate) fn poll_stopping(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_until(cx, |state| state.stopped)
    }

    /// Ready when it must not go on
    #[cfg(feature = "http")]
    pub(crate) fn poll_overdue(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_until(cx, |state| state.overdue)
    }

    /// Others that come and go do not wake it, of whom there may be many
    fn poll_until(&self, cx: &Context<'_>, is_so: impl FnOnce(&HubState) -> bool) -> Poll<()> {
        let mut state = self.hub.lock();
        if is_so(&state) {
            return Poll::Ready(());
        }
        if let Some(waker) = state.guests.get_mut(&self.number) {
            waker.clone_from(cx.waker());
        }
        Poll::Pending
    }
}

#[cfg(any(feature = "ws", feature = "http"))]
impl Drop for Guest {
    fn drop(&mut self) {
        self.hub.change(|state| state.guests.remove(&self.number));
    }
}

/// The listening socket's place, dropped after the socket itself
pub(crate) struct Listening {
    hub: Arc<Hub>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.hub.change(|state| state.listening -= 1);
    }
}

/// Sends a message to all of these, and tells how many took it
pub(crate) fn send_to_all(peers: &[Peer], code: &str, payload: Payload<'_>) -> usize {
    // One copy for all; a large one is not copied for each either.
    let payload = payload.into_bytes();
    peers.iter().filter(|peer| peer.try_send(code, &payload).is_ok()).count()
}
