//! TCP and Unix sockets

use core::net::SocketAddr;
use core::task::{Context, Poll, ready};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use bytes::BytesMut;
use flyrpc_driver::Address;
#[cfg(unix)]
use flyrpc_driver::runtime::SocketFile;
use flyrpc_driver::runtime::{Transport, TryWrite, not_here};
use smol::Async;
use socket2::SockRef;

#[cfg(feature = "stdio")]
use crate::io::Io;
use crate::io::Step;
#[cfg(feature = "stdio")]
use crate::pipes::Pipes;

/// A connected socket
#[derive(Debug)]
pub struct Stream {
    socket: Kind,
    step: Step,
    /// The last read left nothing: it is time to wait
    emptied: bool,
    remote: String,
}

#[derive(Debug)]
enum Kind {
    Tcp(Arc<Socket<TcpStream>>),
    #[cfg(unix)]
    Unix(Arc<Socket<UnixStream>>),
    #[cfg(feature = "stdio")]
    Pipes(Box<Io<Pipes>>),
}

/// Both kinds of socket do the same, and pipes have their own ways
macro_rules! on_kind {
    ($kind:expr, $socket:ident => $what:expr, $pipes:ident => $other:expr) => {
        match $kind {
            #[cfg(feature = "stdio")]
            Kind::Pipes($pipes) => $other,
            Kind::Tcp($socket) => $what,
            #[cfg(unix)]
            Kind::Unix($socket) => $what,
        }
    };
}

/// What the connection's own task shares with those that write at once
#[derive(Debug)]
struct Socket<T>(Async<T>);

impl Stream {
    pub(crate) async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(host) => {
                let mut failed = None;
                for address in resolve(host).await? {
                    match Async::<TcpStream>::connect(address).await {
                        Ok(stream) => return Self::try_from(stream),
                        Err(error) => failed = Some(error),
                    }
                }
                Err(failed.unwrap_or_else(|| no_address(host)))
            }
            #[cfg(unix)]
            Address::Unix(path) => Ok(Self::from(Async::<UnixStream>::connect(path).await?)),
            #[cfg(feature = "stdio")]
            Address::Stdio => Ok(Self::new(Kind::Pipes(Box::new(Io::new(Pipes::own()))), "stdio".to_owned())),
            #[cfg(feature = "stdio")]
            Address::Command(command) => {
                Ok(Self::new(Kind::Pipes(Box::new(Io::new(Pipes::of(command)?))), format!("stdio:{command}")))
            }
            _ => Err(not_here(address)),
        }
    }

    fn new(socket: Kind, remote: String) -> Self {
        Self { socket, step: Step::default(), emptied: false, remote }
    }
}

impl TryFrom<Async<TcpStream>> for Stream {
    type Error = io::Error;

    fn try_from(stream: Async<TcpStream>) -> io::Result<Self> {
        // Packets are written in batches already; waiting for more would only delay answers.
        stream.get_ref().set_nodelay(true)?;
        let remote = stream.get_ref().peer_addr().map_or_else(|_| "tcp".to_owned(), |at| at.to_string());
        Ok(Self::new(Kind::Tcp(Arc::new(Socket(stream))), remote))
    }
}

#[cfg(unix)]
impl From<Async<UnixStream>> for Stream {
    fn from(stream: Async<UnixStream>) -> Self {
        Self::new(Kind::Unix(Arc::new(Socket(stream))), "unix".to_owned())
    }
}

impl Transport for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        #[cfg(feature = "stdio")]
        if let Kind::Pipes(pipes) = &mut self.socket {
            return pipes.poll_read(cx, buf);
        }
        loop {
            if self.emptied {
                // The system would only say that there is nothing.
                ready!(
                    on_kind!(&self.socket, socket => socket.0.poll_readable(cx), _pipes => Poll::Pending)
                )?;
                self.emptied = false;
            }
            let room = self.step.room(buf);
            let read = self.step.read(buf, |room| {
                on_kind!(
                    &self.socket,
                    socket => Poll::Ready(uninterrupted(|| socket.0.get_ref().read(room))),
                    _pipes => Poll::Pending
                )
            });
            match ready!(read) {
                Ok(n) => {
                    // At the end of the stream it is not: the next read says so again.
                    self.emptied = n > 0 && n < room;
                    return Poll::Ready(Ok(n));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.emptied = true,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        on_kind!(&mut self.socket, socket => loop {
            match socket.try_write(parts) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
            ready!(socket.0.poll_writable(cx))?;
        }, pipes => pipes.poll_write(cx, parts))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = &cx;
        on_kind!(
            &mut self.socket,
            socket => Poll::Ready(socket.0.get_ref().shutdown(Shutdown::Write)),
            pipes => pipes.poll_shutdown(cx)
        )
    }

    fn writer(&self) -> Option<Arc<dyn TryWrite>> {
        Some(match &self.socket {
            Kind::Tcp(socket) => Arc::<Socket<TcpStream>>::clone(socket),
            #[cfg(unix)]
            Kind::Unix(socket) => Arc::<Socket<UnixStream>>::clone(socket),
            // A pipe would have to wait.
            #[cfg(feature = "stdio")]
            Kind::Pipes(_) => return None,
        })
    }

    fn remote(&self) -> String {
        self.remote.clone()
    }
}

impl<T: Send + Sync> TryWrite for Socket<T>
where
    for<'a> &'a T: Write,
{
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        uninterrupted(|| self.0.get_ref().write_vectored(parts))
    }
}

/// Again, when only a signal came between
fn uninterrupted<T>(mut what: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match what() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// A listening socket
#[derive(Debug)]
pub struct Listener {
    socket: Listening,
}

#[derive(Debug)]
enum Listening {
    Tcp(Async<TcpListener>),
    #[cfg(unix)]
    Unix(Async<UnixListener>, SocketFile),
}

/// Connections that may wait to be accepted, where the system allows as many
const BACKLOG: i32 = 1024;

impl Listener {
    pub(crate) async fn bind(address: &Address) -> io::Result<Self> {
        let socket = match address {
            Address::Tcp(host) => Listening::Tcp(bind_tcp(host).await?),
            #[cfg(unix)]
            Address::Unix(path) => {
                let path = path.clone();
                // It may have to ask a server at the path whether it is alive.
                let (listener, file) = smol::unblock(move || {
                    let file = SocketFile::prepare(&path)?;
                    let listener = UnixListener::bind(&path)?;
                    let file = file.bound();
                    SockRef::from(&listener).listen(BACKLOG)?;
                    io::Result::Ok((listener, file))
                })
                .await?;
                Listening::Unix(Async::new(listener)?, file)
            }
            _ => return Err(not_here(address)),
        };
        Ok(Self { socket })
    }
}

/// Listens on the first of the host's addresses that can be had
async fn bind_tcp(host: &str) -> io::Result<Async<TcpListener>> {
    let mut failed = None;
    for address in resolve(host).await? {
        match Async::<TcpListener>::bind(address) {
            Ok(listener) => {
                // The standard library's queue overflows when many connect at once.
                SockRef::from(listener.get_ref()).listen(BACKLOG)?;
                return Ok(listener);
            }
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| no_address(host)))
}

impl flyrpc_driver::runtime::Listener for Listener {
    type Stream = Stream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match &self.socket {
            Listening::Tcp(listener) => {
                let (stream, _) = ready!(poll_accept(listener, cx, TcpListener::accept))?;
                Poll::Ready(Async::new(stream).and_then(Stream::try_from))
            }
            #[cfg(unix)]
            Listening::Unix(listener, _) => {
                let (stream, _) = ready!(poll_accept(listener, cx, UnixListener::accept))?;
                Poll::Ready(Async::new(stream).map(Stream::from))
            }
        }
    }

    fn address(&self) -> io::Result<Address> {
        match &self.socket {
            Listening::Tcp(listener) => Ok(listener.get_ref().local_addr()?.into()),
            #[cfg(unix)]
            Listening::Unix(_, file) => Ok(Address::Unix(file.path().to_owned())),
        }
    }
}

fn poll_accept<L, S>(
    listener: &Async<L>,
    cx: &mut Context<'_>,
    accept: impl Fn(&L) -> io::Result<S>,
) -> Poll<io::Result<S>> {
    loop {
        match accept(listener.get_ref()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
        ready!(listener.poll_readable(cx))?;
    }
}

/// Addresses of `host:port`, looked up on a thread that may block
async fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
    smol::net::resolve(host).await
}

fn no_address(host: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{host}: no address"))
}
