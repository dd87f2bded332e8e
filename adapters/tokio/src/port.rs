//! Serial ports, and the one connection at a time that each of them has

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use flyrpc_driver::Address;
use flyrpc_driver::runtime::Transport;
use tokio::io::AsyncWrite;
use tokio::time::Sleep;
use tokio_serial::SerialStream;

use crate::io::poll_read;

/// An open port
#[derive(Debug)]
pub(crate) struct Port {
    stream: SerialStream,
    remote: String,
    is_shut: bool,
    /// A listener's; after `stream`: the port is closed before it may be opened again
    _loan: Option<Loan>,
}

impl Port {
    /// Opens a port for this program alone
    pub(crate) fn open(name: &str, baud: u32) -> io::Result<Self> {
        let stream =
            SerialStream::open(&tokio_serial::new(name, baud)).map_err(|error| explain(name, baud, error))?;
        let remote = Address::Serial { port: name.to_owned(), baud }.to_string();
        Ok(Self { stream, remote, is_shut: false, _loan: None })
    }
}

/// The error, with the port's name and what may help
fn explain(name: &str, baud: u32, error: tokio_serial::Error) -> io::Error {
    use tokio_serial::ErrorKind as Kind;

    let (kind, why) = match error.kind {
        Kind::Io(ErrorKind::NotFound) => (ErrorKind::NotFound, "there is no such port".to_owned()),
        Kind::Io(ErrorKind::PermissionDenied) if cfg!(target_os = "linux") => {
            let hint =
                "not allowed; ports belong to a group, often dialout or uucp, that you may have to join";
            (ErrorKind::PermissionDenied, hint.to_owned())
        }
        // What the system says of a port that is taken, and on Windows of one that is not there
        Kind::NoDevice if cfg!(unix) => {
            (ErrorKind::ResourceBusy, "another program has opened it, and one at a time may".to_owned())
        }
        Kind::NoDevice => (ErrorKind::NotFound, error.description),
        Kind::InvalidInput => {
            (ErrorKind::InvalidInput, format!("{}, at {baud} baud, 8N1", error.description))
        }
        Kind::Io(kind) => (kind, error.description),
        Kind::Unknown => {
            (ErrorKind::Other, format!("no serial port that can be used: {}", error.description))
        }
    };
    io::Error::new(kind, format!("{name}: {why}"))
}

impl Transport for Port {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        if self.is_shut {
            // A line has no end: nobody closes the other direction, and waiting for that would be in vain.
            return Poll::Ready(Ok(0));
        }
        poll_read(&mut self.stream, cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // Never flushed: that would hold the thread until the line has sent everything.
        let part: &[u8] = parts.iter().find(|part| !part.is_empty()).map_or(&[], |part| part);
        Pin::new(&mut self.stream).poll_write(cx, part)
    }

    /// What was written is the system's to send; a line has no end to be told of
    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Poll::Ready(Ok(()))
    }

    fn remote(&self) -> String {
        self.remote.clone()
    }
}

/// A port that is opened again after each connection
#[derive(Debug)]
pub(crate) struct PortListener {
    name: String,
    baud: u32,
    /// Opened, and not given away yet
    open: Option<Port>,
    lending: Arc<Lending>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// How long a port rests before it is opened again, also where that failed: its plug may have been pulled
const PAUSE: Duration = Duration::from_millis(500);

impl PortListener {
    pub(crate) fn bind(name: &str, baud: u32) -> io::Result<Self> {
        let open = Some(Port::open(name, baud)?);
        Ok(Self { name: name.to_owned(), baud, open, lending: Arc::default(), pause: None })
    }

    pub(crate) fn address(&self) -> Address {
        Address::Serial { port: self.name.clone(), baud: self.baud }
    }

    /// The port, when nobody has it
    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Port>> {
        loop {
            if let Some(mut port) = self.open.take() {
                port._loan = Some(Lending::lend(&self.lending));
                return Poll::Ready(Ok(port));
            }
            ready!(self.lending.poll_back(cx));
            let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
            // Whatever is wrong with it may pass.
            self.open = Port::open(&self.name, self.baud).ok();
        }
    }
}

/// Whether a port is given away
#[derive(Debug, Default)]
struct Lending(Mutex<Lent>);

#[derive(Debug, Default)]
struct Lent {
    is_out: bool,
    /// Who waits for it
    waker: Option<Waker>,
}

/// A port that is given away, until this is dropped
#[derive(Debug)]
struct Loan(Arc<Lending>);

impl Lending {
    fn lend(this: &Arc<Self>) -> Loan {
        this.lock().is_out = true;
        Loan(Arc::clone(this))
    }

    fn poll_back(&self, cx: &Context<'_>) -> Poll<()> {
        let mut lent = self.lock();
        if lent.is_out {
            lent.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn lock(&self) -> MutexGuard<'_, Lent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let waker = {
            let mut lent = self.0.lock();
            lent.is_out = false;
            lent.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
