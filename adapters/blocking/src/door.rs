//! From a connected socket to a connection: the handshakes of what carries it

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use flyrpc_driver::dialect::AnyDialect;
use flyrpc_driver::{Carrier, Endpoint, Limits, Overload};

use crate::http;
use crate::server::Shared;
use crate::stream::{Listener, Stream};

/// Where connections come in
#[derive(Debug)]
pub(crate) struct Door {
    shared: Arc<Shared>,
    listener: Listener,
    dialect: AnyDialect,
    carrier: Carrier,
    /// Its thread waits for a connection to end; changes under the lock of the connections
    waits: AtomicBool,
}

/// How long a client may take for a handshake
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long accepting rests after an error
const PAUSE: Duration = Duration::from_millis(20);

impl Door {
    pub(crate) const fn new(
        shared: Arc<Shared>,
        listener: Listener,
        dialect: AnyDialect,
        carrier: Carrier,
    ) -> Self {
        Self { shared, listener, dialect, carrier, waits: AtomicBool::new(false) }
    }

    /// Accepts until the server stops
    pub(crate) fn accept_all(self: &Arc<Self>) {
        while self.wait_for_room() {
            match self.listener.accept() {
                Ok(stream) => self.admit(stream),
                // Out of descriptors or the like: others may end meanwhile.
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Takes what was accepted; what fails here concerns one connection, which is closed by being dropped
    fn admit(self: &Arc<Self>, stream: Stream) {
        if self.carrier == Carrier::Stream {
            drop(self.shared.take(stream, self.dialect.clone()));
            return;
        }
        let Ok(Some(guest)) = self.shared.greet(&stream) else { return };
        let door = Arc::clone(self);
        let thread = std::thread::Builder::new().name("flyrpc-greet".to_owned());
        drop(thread.spawn(move || {
            if let Ok(stream) = door.shake_hands(stream) {
                drop(door.shared.take_guest(guest, stream, door.dialect.clone()));
            }
        }));
    }

    fn shake_hands(&self, stream: Stream) -> io::Result<Stream> {
        match self.carrier {
            Carrier::HttpConnect => {
                http::accept(stream.tcp()?, HANDSHAKE)?;
                Ok(stream)
            }
            #[cfg(feature = "ws")]
            Carrier::WebSocket => {
                let options = &self.shared.options;
                let settings = websocket_options(&options.limits).origins(options.origins.clone());
                stream.accept_websocket(&settings, HANDSHAKE)
            }
            // Refused when the door was made.
            _ => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// May another connection be accepted? Waits for that if it should; false when the server stops
    fn wait_for_room(&self) -> bool {
        let shared = &self.shared;
        let mut connections = shared.lock();
        while shared.when_full == Overload::Wait && shared.is_full(&connections) && !connections.stopped {
            self.waits.store(true, Ordering::Relaxed);
            connections = shared.wait(connections);
        }
        self.waits.store(false, Ordering::Relaxed);
        !connections.stopped
    }

    /// Does its thread wait for a connection to end? Asked under the lock of the connections
    pub(crate) fn waits_for_room(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// Ends an `accept` that waits; false when that can't be done
    pub(crate) fn wake(&self) -> bool {
        self.listener.wake()
    }
}

/// Connects to a server, within `timeout` for each of the addresses that the host has, and again for a handshake
pub(crate) fn connect(endpoint: &Endpoint, limits: &Limits, timeout: Duration) -> io::Result<Stream> {
    let stream = Stream::connect(&endpoint.address, timeout)?;
    match endpoint.carrier {
        Carrier::HttpConnect => {
            http::connect(stream.tcp()?, &endpoint.path, timeout)?;
            Ok(stream)
        }
        #[cfg(feature = "ws")]
        Carrier::WebSocket => {
            let host = endpoint.address.to_string();
            stream.connect_websocket(&host, &endpoint.path, &websocket_options(limits), timeout)
        }
        _ => {
            #[cfg(not(feature = "ws"))]
            let _ = limits;
            Ok(stream)
        }
    }
}

/// What a WebSocket takes: the longest message that the dialect does not refuse itself, in bytes; longer ones end it
#[cfg(feature = "ws")]
fn websocket_options(limits: &Limits) -> crate::ws::Options {
    let longest =
        (limits.get_max_payload() as usize).saturating_add(limits.get_max_method() as usize + ENVELOPE);
    crate::ws::Options::new().max_message(longest)
}

/// Bytes of a message beside its method and payload, and then some
#[cfg(feature = "ws")]
const ENVELOPE: usize = 64 << 10;
