//! From a connected socket to a connection: the handshakes of what carries it

#[cfg(feature = "http")]
mod http;

#[cfg(feature = "ws")]
use core::time::Duration;
use std::io;
use std::sync::Arc;

use crate::dialect::AnyDialect;
use crate::hub::Hub;
use crate::runtime::{Runtime, Transport};
#[cfg(feature = "ws")]
use crate::until::{until, within};
use crate::{BadAddress, Carrier, Endpoint, Peer};

/// How long a handshake may take
#[cfg(feature = "ws")]
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Where connections come in that one listening socket accepts
pub(crate) struct Door {
    hub: Arc<Hub>,
    dialect: AnyDialect,
    carrier: Carrier,
}

impl Door {
    pub(crate) fn new(hub: &Arc<Hub>, dialect: AnyDialect, endpoint: &Endpoint) -> Result<Self, BadAddress> {
        check(endpoint)?;
        Ok(Self { hub: Arc::clone(hub), dialect, carrier: endpoint.carrier })
    }

    pub(crate) const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Takes what was accepted; past the limit of connections it is closed by being dropped
    pub(crate) fn admit<R: Runtime, T: Transport>(self: &Arc<Self>, stream: T) {
        match self.carrier {
            Carrier::Stream => drop(self.hub.take::<R, _>(stream, self.dialect.clone())),
            #[cfg(feature = "ws")]
            Carrier::WebSocket => {
                let Some(guest) = self.hub.greet() else { return };
                let door = Arc::clone(self);
                R::spawn(Box::pin(async move {
                    let options = websocket_options(&door.hub);
                    let limits = door.hub.options.limits.clone();
                    let handshake = crate::ws::WebSocket::accept(stream, &options);
                    let handshake = until(|cx| guest.poll_stopping(cx), handshake);
                    if let Some(Some(Ok(socket))) = within::<R, _>(HANDSHAKE, handshake).await {
                        let place = guest.take_place();
                        drop(door.hub.enter::<R, _>(socket, door.dialect.clone(), limits, place));
                    }
                }));
            }
            #[cfg(feature = "http")]
            Carrier::Http | Carrier::HttpConnect => self.admit_http::<R, T>(stream),
            #[cfg(feature = "serial")]
            Carrier::Frames => {
                let door = Arc::clone(self);
                R::spawn(Box::pin(async move {
                    let max_packet = max_message(&door.hub);
                    let mut line = Some(crate::serial::Framed::new(stream, max_packet));
                    // A restart of the other end is the end of a connection, and not of the line.
                    while let Some(mut framed) = line.take() {
                        let next = framed.next();
                        drop(door.hub.take::<R, _>(framed, door.dialect.clone()));
                        line = crate::serial::next_of(next, max_packet).await;
                    }
                }));
            }
            // Refused when the door was made.
            #[cfg(not(all(feature = "ws", feature = "http", feature = "serial")))]
            _ => {}
        }
    }
}

/// What a WebSocket of this hub's takes
#[cfg(feature = "ws")]
fn websocket_options(hub: &Hub) -> crate::ws::Options {
    crate::ws::Options::new().max_message(max_message(hub)).origins(hub.options.origins.clone())
}

/// The longest message that the dialect does not refuse itself, in bytes; longer ones end what carries them
#[cfg(any(feature = "ws", feature = "http", feature = "serial"))]
fn max_message(hub: &Hub) -> usize {
    let limits = &hub.options.limits;
    (limits.get_max_payload() as usize).saturating_add(limits.get_max_method() as usize + ENVELOPE)
}

/// Bytes of a message beside its method and payload, and then some
#[cfg(any(feature = "ws", feature = "http", feature = "serial"))]
const ENVELOPE: usize = 64 << 10;

/// Connects to a server
pub(crate) async fn connect<R: Runtime>(
    hub: &Arc<Hub>,
    dialect: AnyDialect,
    endpoint: &Endpoint,
) -> io::Result<Peer> {
    check(endpoint)?;
    match endpoint.carrier {
        Carrier::Stream => Ok(hub.open::<R, _>(R::connect(&endpoint.address).await?, dialect)),
        #[cfg(feature = "ws")]
        Carrier::WebSocket => {
            let stream = R::connect(&endpoint.address).await?;
            let (host, options) = (endpoint.address.to_string(), websocket_options(hub));
            let socket = crate::ws::WebSocket::connect(stream, &host, &endpoint.path, &options).await?;
            Ok(hub.open::<R, _>(socket, dialect))
        }
        #[cfg(feature = "http")]
        Carrier::Http | Carrier::HttpConnect => http::connect::<R>(hub, dialect, endpoint).await,
        #[cfg(feature = "serial")]
        Carrier::Frames => {
            let stream = R::connect(&endpoint.address).await?;
            Ok(hub.open::<R, _>(crate::serial::Framed::new(stream, max_message(hub)), dialect))
        }
        #[cfg(not(all(feature = "ws", feature = "http", feature = "serial")))]
        _ => Err(endpoint.bad("it is not carried here").into()),
    }
}

/// Can this crate, as it was built, carry that?
fn check(endpoint: &Endpoint) -> Result<(), BadAddress> {
    match endpoint.carrier {
        Carrier::Stream => Ok(()),
        Carrier::WebSocket if cfg!(feature = "ws") => Ok(()),
        Carrier::WebSocket => Err(endpoint.bad("it needs feature 'ws'")),
        Carrier::Http | Carrier::HttpConnect if cfg!(feature = "http") => Ok(()),
        Carrier::Http | Carrier::HttpConnect => Err(endpoint.bad("it needs feature 'http'")),
        Carrier::Frames if cfg!(feature = "serial") => Ok(()),
        Carrier::Frames => Err(endpoint.bad("it needs feature 'serial', or framing=plain")),
    }
}
