//! WebSocket over a blocking socket
//!
//! One thread reads and one at a time writes, as over any other socket. What is owed besides messages, for a ping or a
//! close, whoever writes takes along; while nobody does, the reader writes it as far as the socket takes it at once. No
//! lock is held while the socket is waited for, but for the reader's own.

use core::time::Duration;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use flyrpc_driver::ws::{Control, Decoder, Encoder, Handshake, Role};
pub use flyrpc_driver::ws::{Kind, Options};

use crate::link::is_timeout;
use crate::stream::{Socket, Stream};

#[cfg(test)]
mod tests;

impl Stream {
    /// Grants a client's wish for a WebSocket, whatever path it asks for; gives up after `timeout`
    ///
    /// The stream then takes and gives *units*: see [`flyrpc_driver::ws`].
    ///
    /// # Errors
    /// The system's; [`ErrorKind::InvalidData`] for what is no WebSocket, which has been answered;
    /// [`ErrorKind::UnexpectedEof`], [`ErrorKind::TimedOut`]
    pub fn accept_websocket(self, options: &Options, timeout: Duration) -> io::Result<Self> {
        upgrade(self, Handshake::server(options), Role::Server, options, timeout)
    }

    /// Asks a server, `name:port`, for a WebSocket at `path`; gives up after `timeout`
    ///
    /// The stream then takes and gives *units*: see [`flyrpc_driver::ws`].
    ///
    /// # Errors
    /// The system's; [`ErrorKind::InvalidInput`] for a host or a path that can't be asked for;
    /// [`ErrorKind::InvalidData`] where the server refuses; [`ErrorKind::UnexpectedEof`], [`ErrorKind::TimedOut`]
    pub fn connect_websocket(
        self,
        host: &str,
        path: &str,
        options: &Options,
        timeout: Duration,
    ) -> io::Result<Self> {
        upgrade(self, Handshake::client(host, path)?, Role::Client, options, timeout)
    }
}

/// A socket that speaks WebSocket; a clone is the same one
#[derive(Clone, Debug)]
pub(crate) struct WebSocket(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    io: Stream,
    reader: Mutex<Reader>,
    outbox: Mutex<Outbox>,
    /// The turn to write has become free
    free: Condvar,
}

/// Held by the thread that reads, also while it waits
#[derive(Debug)]
struct Reader {
    decoder: Decoder,
    /// Units that were not asked for yet
    units: BytesMut,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Outbox {
    encoder: Encoder,
    /// Somebody has the turn to write
    busy: bool,
    /// A thread was started to write what the reader could not
    helped: bool,
    /// How long a write may wait, as it was asked for and as the socket knows it
    patience: Option<Duration>,
    known: Option<Option<Duration>>,
    /// What is being written
    batch: Vec<u8>,
}

type Guard<'a> = MutexGuard<'a, Outbox>;

impl WebSocket {
    fn new(io: Stream, role: Role, options: &Options, received: BytesMut) -> Self {
        Self(Arc::new(Inner {
            io,
            reader: Mutex::new(Reader {
                decoder: Decoder::with(role, options, received),
                units: BytesMut::new(),
                scratch: vec![0; SMALL],
            }),
            outbox: Mutex::new(Outbox {
                encoder: Encoder::new(role, options),
                busy: false,
                helped: false,
                patience: None,
                known: None,
                batch: Vec::new(),
            }),
            free: Condvar::new(),
        }))
    }

    #[expect(clippy::unnecessary_wraps, reason = "as a socket's")]
    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.lock().patience = timeout;
        Ok(())
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.io.set_read_timeout(timeout)
    }

    /// Says that it is over, if the peer takes that at once, and shuts the socket down
    #[expect(clippy::unnecessary_wraps, reason = "as a socket's")]
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if let Ok(mut outbox) = self.0.turn(Some(BRIEF)) {
            outbox.encoder.control(Control::close(Some(NORMAL)));
            let (outbox, _) = self.0.flush(outbox, Some(BRIEF));
            self.0.release(outbox);
        }
        self.0.io.shutdown(how);
        Ok(())
    }

    pub(crate) fn remote(&self) -> String {
        self.0.io.remote()
    }

    /// Hands on what the peer is owed besides messages
    fn pay(&self, control: Control) {
        let inner = &self.0;
        let mut outbox = inner.lock();
        outbox.encoder.control(control);
        if outbox.busy {
            // Who writes takes it along.
            return;
        }
        outbox.busy = true;
        let (mut outbox, written) = inner.flush(outbox, Some(BRIEF));
        let late = written.is_err_and(|error| is_timeout(&error)) && !outbox.helped;
        if late {
            // There may be nothing else to write, and the reader must not wait.
            let helper = Self(Arc::clone(inner));
            let thread = std::thread::Builder::new().name("flyrpc-write".to_owned());
            outbox.helped = thread.spawn(move || helper.0.help()).is_ok();
        }
        inner.release(outbox);
    }
}

impl Inner {
    /// Nothing of the application's runs under the lock, so a poisoned one has not been left half changed
    fn lock(&self) -> Guard<'_> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn to write
    fn turn(&self, patience: Option<Duration>) -> io::Result<Guard<'_>> {
        let outbox = self.lock();
        let mut outbox = match patience {
            None => {
                self.free.wait_while(outbox, |outbox| outbox.busy).unwrap_or_else(PoisonError::into_inner)
            }
            Some(time) => {
                let waited = self.free.wait_timeout_while(outbox, time, |outbox| outbox.busy);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        if outbox.busy {
            return Err(ErrorKind::TimedOut.into());
        }
        outbox.busy = true;
        Ok(outbox)
    }

    fn release(&self, mut outbox: Guard<'_>) {
        outbox.busy = false;
        drop(outbox);
        self.free.notify_one();
    }

    /// Writes everything there is, without the lock; for who has the turn
    fn flush<'a>(&'a self, mut outbox: Guard<'a>, patience: Option<Duration>) -> (Guard<'a>, io::Result<()>) {
        while !outbox.encoder.outgoing().is_empty() {
            let mut batch = core::mem::take(&mut outbox.batch);
            batch.clear();
            batch.extend_from_slice(outbox.encoder.outgoing());
            let set = if outbox.known == Some(patience) {
                Ok(())
            } else {
                outbox.known = Some(patience);
                self.io.set_write_timeout(patience)
            };
            drop(outbox);
            let written = set.and_then(|()| (&self.io).write(&batch));
            outbox = self.lock();
            if batch.capacity() <= KEPT {
                outbox.batch = batch;
            }
            match written {
                Ok(0) => return (outbox, Err(ErrorKind::WriteZero.into())),
                Ok(n) => outbox.encoder.sent(n),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (outbox, Err(error)),
            }
        }
        (outbox, Ok(()))
    }

    /// Writes what the reader could not, however long it takes
    fn help(&self) {
        loop {
            let Ok(outbox) = self.turn(None) else { return };
            let (mut outbox, written) = self.flush(outbox, Some(HELP));
            let goes_on = written.is_err_and(|error| is_timeout(&error));
            outbox.helped = goes_on;
            self.release(outbox);
            if !goes_on {
                return;
            }
        }
    }
}

impl Read for &WebSocket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut reader = self.0.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let Reader { decoder, units, scratch } = &mut *reader;
        loop {
            if !units.is_empty() {
                let n = units.len().min(buf.len());
                units.copy_to_slice(buf.get_mut(..n).unwrap_or_default());
                return Ok(n);
            }
            units.reserve(SMALL);
            let decoded = decoder.units(units);
            if let Some(control) = decoder.take_reply() {
                self.pay(control);
            }
            match decoded {
                Ok(0) if decoder.is_closed() => return Ok(0),
                Ok(0) => {}
                Ok(_) => continue,
                Err(failure) => {
                    self.pay(Control::close(Some(failure.code)));
                    return Err(failure.into());
                }
            }
            decoder.rest();
            let n = (&self.0.io).read(scratch)?;
            if n == 0 {
                return decoder.end().map(|()| 0);
            }
            decoder.space().extend_from_slice(scratch.get(..n).unwrap_or_default());
            if n == scratch.len() && n < LARGE {
                scratch.resize(LARGE, 0);
            }
        }
    }
}

impl Write for &WebSocket {
    /// Only what the socket has taken counts as written: after a time-out the next call comes with the same bytes, and goes
    /// on with what is left
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let patience = self.0.lock().patience;
        let mut outbox = self.0.turn(patience)?;
        let mut written = 0;
        let end = loop {
            let flushed;
            (outbox, flushed) = self.0.flush(outbox, patience);
            if flushed.is_err() {
                break flushed;
            }
            written += outbox.encoder.written();
            let rest = buf.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            if let Err(error) = outbox.encoder.take(&[IoSlice::new(rest)]) {
                break Err(error);
            }
        };
        self.0.release(outbox);
        if written > 0 { Ok(written) } else { end.map(|()| 0) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The HTTP upgrade, within `timeout` altogether
fn upgrade(
    io: Stream,
    mut handshake: Handshake,
    role: Role,
    options: &Options,
    timeout: Duration,
) -> io::Result<Stream> {
    let deadline = now() + timeout;
    say(&io, &mut handshake, deadline)?;
    let mut scratch = vec![0; SMALL];
    loop {
        io.set_read_timeout(Some(left(deadline)?))?;
        let n = match (&io).read(&mut scratch) {
            Ok(0) => return Err(Handshake::cut_short()),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if is_timeout(&error) => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        };
        handshake.space().extend_from_slice(scratch.get(..n).unwrap_or_default());
        let step = handshake.advance();
        say(&io, &mut handshake, deadline)?;
        match step {
            Ok(true) => {
                io.set_read_timeout(None)?;
                let socket = WebSocket::new(io, role, options, handshake.into_rest());
                return Ok(Stream(Socket::WebSocket(socket)));
            }
            Ok(false) => {}
            Err(error) => {
                io.shutdown(Shutdown::Write);
                return Err(error);
            }
        }
    }
}

/// Writes what the handshake has
fn say(io: &Stream, handshake: &mut Handshake, deadline: Instant) -> io::Result<()> {
    while !handshake.outgoing().is_empty() {
        io.set_write_timeout(Some(left(deadline)?))?;
        match (&*io).write(handshake.outgoing()) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => handshake.sent(n),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

#[expect(clippy::disallowed_methods, reason = "an adapter's clock: a handshake has no connection yet")]
fn now() -> Instant {
    Instant::now()
}

/// What a peaceful end is called (RFC 6455 section 7.4.1)
const NORMAL: u16 = 1000;

/// How long the reader, and who ends the connection, wait for the socket to take what is owed
const BRIEF: Duration = Duration::from_millis(5);

/// How long the thread that writes it otherwise keeps others from writing
const HELP: Duration = Duration::from_millis(100);

/// Bytes read at a time
const SMALL: usize = 4 << 10;
/// The same, where there is much to read
const LARGE: usize = 64 << 10;
/// A buffer of up to this many bytes is kept for the next write
const KEPT: usize = 80 << 10;
