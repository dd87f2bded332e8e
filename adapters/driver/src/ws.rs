//! WebSocket (RFC 6455) as a transport
//!
//! A connection is a stream of bytes to its driver, so the boundaries of messages travel in it: as *units*, each the length of
//! a message in four bytes, big-endian, and then the message. [`WebSocket`] makes messages of the units that it is given, and
//! units of the messages that come, whether text or binary.
//!
//! [`Decoder`] and [`Encoder`] do the work and [`Handshake`] comes before; they know no sockets. What one of them holds is
//! bounded by what was really received, [`Options::max_message`] at the most, and 64 KiB on the way out.
//!
//! A ping is answered between two messages, the last one if several have come meanwhile. A close is answered and ends the
//! stream; nothing more can be written then. Extensions are not offered, nor agreed to.

mod decoder;
mod encoder;
mod handshake;
mod mask;
mod text;

use core::future::poll_fn;
use core::task::{Context, Poll, ready};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

pub use decoder::{Decoder, Failure};
pub use encoder::{Control, Encoder};
pub use handshake::{Handshake, accept_key};

use crate::Origins;
use crate::runtime::{Transport, TryWrite};

/// A kind of message
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8
    #[default]
    Text,
    /// Any bytes
    Binary,
}

/// An end of a connection
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has asked for the upgrade, and masks what it sends
    Client,
    /// It has granted it
    Server,
}

/// What a WebSocket sends, and takes
#[derive(Clone, Debug)]
pub struct Options {
    max_message: usize,
    kind: Kind,
    origins: Origins,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// Text, and messages of 16 MiB at the most
    #[must_use]
    pub fn new() -> Self {
        Self { max_message: 16 << 20, kind: Kind::Text, origins: Origins::default() }
    }

    /// The longest message that is taken, in bytes, up to 4 GiB - 1
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        // A unit says its length in four bytes.
        let most = u32::MAX as usize;
        self.max_message = if bytes < most { bytes } else { most };
        self
    }

    /// What is sent; both kinds are taken
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The web pages that a server takes besides those of its own host; no others by default
    #[must_use]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }
}

/// A WebSocket over any stream of bytes, as a stream of units
#[derive(Debug)]
pub struct WebSocket<T> {
    io: T,
    decoder: Decoder,
    encoder: Arc<Mutex<Encoder>>,
    /// A control frame is still to be written
    owing: bool,
}

/// Rounds of reading per poll that bring nothing to hand on, as frames do that are no messages
const ROUNDS: usize = 8;
/// What a peaceful end is called (RFC 6455 section 7.4.1)
const NORMAL: u16 = 1000;

impl<T: Transport> WebSocket<T> {
    /// Grants a client's wish for an upgrade, whatever path it asks for; takes as long as the client does
    ///
    /// # Errors
    /// The transport's; [`io::ErrorKind::InvalidData`] for what is no WebSocket, which has been answered;
    /// [`io::ErrorKind::UnexpectedEof`]
    pub async fn accept(transport: T, options: &Options) -> io::Result<Self> {
        Self::after(transport, Handshake::server(options), Role::Server, options).await
    }

    /// Asks a server, `name:port`, for an upgrade; takes as long as the server does
    ///
    /// # Errors
    /// The transport's; [`io::ErrorKind::InvalidInput`] for a host or a path that can't be asked for;
    /// [`io::ErrorKind::InvalidData`] where the server refuses; [`io::ErrorKind::UnexpectedEof`]
    pub async fn connect(transport: T, host: &str, path: &str, options: &Options) -> io::Result<Self> {
        Self::after(transport, Handshake::client(host, path)?, Role::Client, options).await
    }

    /// The server's end of a stream that was upgraded elsewhere: see [`accept_key`]
    pub fn upgraded(transport: T, options: &Options) -> Self {
        Self::new(transport, Role::Server, options, BytesMut::new())
    }

    async fn after(mut io: T, mut handshake: Handshake, role: Role, options: &Options) -> io::Result<Self> {
        poll_fn(|cx| poll_say(&mut io, &mut handshake, cx)).await?;
        loop {
            if poll_fn(|cx| io.poll_read(cx, handshake.space())).await? == 0 {
                return Err(Handshake::cut_short());
            }
            let step = handshake.advance();
            poll_fn(|cx| poll_say(&mut io, &mut handshake, cx)).await?;
            match step {
                Ok(true) => return Ok(Self::new(io, role, options, handshake.into_rest())),
                Ok(false) => {}
                Err(error) => {
                    let _ = poll_fn(|cx| io.poll_shutdown(cx)).await;
                    return Err(error);
                }
            }
        }
    }

    fn new(io: T, role: Role, options: &Options, received: BytesMut) -> Self {
        Self {
            io,
            decoder: Decoder::with(role, options, received),
            encoder: Arc::new(Mutex::new(Encoder::new(role, options))),
            owing: false,
        }
    }

    /// The kind of the message that has begun to come last
    #[must_use]
    pub const fn received(&self) -> Option<Kind> {
        self.decoder.kind()
    }

    /// Writes what is owed besides messages
    fn pay(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.owing {
            let mut encoder = lock(&self.encoder);
            if let Poll::Ready(written) = poll_flush(&mut self.io, &mut encoder, cx) {
                written?;
                self.owing = encoder.is_owing();
            }
        }
        Ok(())
    }

    /// Tells the peer what it did wrong, if it takes that at once
    fn blame(&mut self, failure: Failure, cx: &mut Context<'_>) -> io::Error {
        let mut encoder = lock(&self.encoder);
        encoder.control(Control::close(Some(failure.code)));
        let _ = poll_flush(&mut self.io, &mut encoder, cx);
        failure.into()
    }
}

impl<T: Transport> Transport for WebSocket<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        if buf.len() == buf.capacity() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidInput, "a read into no room")));
        }
        for _ in 0..ROUNDS {
            let units = self.decoder.units(buf);
            if let Some(reply) = self.decoder.take_reply() {
                lock(&self.encoder).control(reply);
                self.owing = true;
            }
            let n = match units {
                Ok(n) => n,
                Err(failure) => return Poll::Ready(Err(self.blame(failure, cx))),
            };
            let paid = self.pay(cx);
            if n > 0 || self.decoder.is_closed() {
                return Poll::Ready(Ok(n));
            }
            paid?;
            if self.decoder.is_direct() {
                let start = buf.len();
                if ready!(self.io.poll_read(cx, buf))? == 0 {
                    return Poll::Ready(self.decoder.end().map(|()| 0));
                }
                let taken = self.decoder.direct(buf, start);
                return Poll::Ready(taken.map_err(|failure| self.blame(failure, cx)));
            }
            match self.io.poll_read(cx, self.decoder.space()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(self.decoder.end().map(|()| 0)),
                Poll::Ready(Ok(_)) => self.decoder.filled(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.decoder.rest();
                    return Poll::Pending;
                }
            }
        }
        // Others have their turn before there is more of this.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut encoder = lock(&self.encoder);
        // Only what was passed on counts as written: the next call comes with the same parts, and goes on with what is left.
        let goes_on = encoder.has_unreported();
        ready!(poll_flush(&mut self.io, &mut encoder, cx))?;
        if !goes_on {
            encoder.take(parts)?;
            ready!(poll_flush(&mut self.io, &mut encoder, cx))?;
        }
        Poll::Ready(Ok(encoder.written()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut encoder = lock(&self.encoder);
        encoder.control(Control::close(Some(NORMAL)));
        ready!(poll_flush(&mut self.io, &mut encoder, cx))?;
        self.io.poll_shutdown(cx)
    }

    fn ends_both_ways(&self) -> bool {
        true
    }

    fn writer(&self) -> Option<Arc<dyn TryWrite>> {
        let io = self.io.writer()?;
        Some(Arc::new(Writer { encoder: Arc::clone(&self.encoder), io }))
    }

    fn remote(&self) -> String {
        self.io.remote()
    }
}

/// Writes from tasks that are not the driver
struct Writer {
    encoder: Arc<Mutex<Encoder>>,
    io: Arc<dyn TryWrite>,
}

impl TryWrite for Writer {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        // No write of a socket waits here, so the lock is never held for long.
        let mut encoder = lock(&self.encoder);
        let goes_on = encoder.has_unreported();
        self.try_flush(&mut encoder)?;
        if !goes_on {
            encoder.take(parts)?;
            self.try_flush(&mut encoder)?;
        }
        Ok(encoder.written())
    }
}

impl Writer {
    /// Writes everything; where that can't be done at once, the driver goes on with it
    fn try_flush(&self, encoder: &mut Encoder) -> io::Result<()> {
        while !encoder.outgoing().is_empty() {
            let n = self.io.try_write(&[IoSlice::new(encoder.outgoing())])?;
            if n == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            encoder.sent(n);
        }
        Ok(())
    }
}

/// Writes what the encoder has
fn poll_flush<T: Transport>(io: &mut T, encoder: &mut Encoder, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while !encoder.outgoing().is_empty() {
        let n = ready!(io.poll_write(cx, &[IoSlice::new(encoder.outgoing())]))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        encoder.sent(n);
    }
    Poll::Ready(Ok(()))
}

/// Writes what a handshake has
fn poll_say<T: Transport>(
    io: &mut T,
    handshake: &mut Handshake,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !handshake.outgoing().is_empty() {
        let n = ready!(io.poll_write(cx, &[IoSlice::new(handshake.outgoing())]))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        handshake.sent(n);
    }
    Poll::Ready(Ok(()))
}

/// Nothing of the application's runs under the lock, so a poisoned one has not been left half changed
fn lock(encoder: &Mutex<Encoder>) -> MutexGuard<'_, Encoder> {
    encoder.lock().unwrap_or_else(PoisonError::into_inner)
}
