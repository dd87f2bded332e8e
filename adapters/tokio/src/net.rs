//! TCP and Unix sockets, and what else a connection may go over

use core::task::{Context, Poll, ready};
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;

use bytes::BytesMut;
use flyrpc_driver::Address;
#[cfg(unix)]
use flyrpc_driver::runtime::SocketFile;
use flyrpc_driver::runtime::{Transport, TryWrite, not_here};
use socket2::SockRef;
use tokio::net::tcp;
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream, unix};

#[cfg(feature = "stdio")]
use crate::io::Io;
use crate::io::poll_read;
#[cfg(feature = "stdio")]
use crate::pipes::Pipes;
#[cfg(feature = "serial")]
use crate::port::{Port, PortListener};

/// A connected socket, or what stands for one
#[derive(Debug)]
pub struct Stream {
    halves: Halves,
    remote: String,
}

#[derive(Debug)]
enum Halves {
    Tcp(tcp::OwnedReadHalf, Arc<TcpWriter>),
    #[cfg(unix)]
    Unix(unix::OwnedReadHalf, Arc<UnixWriter>),
    #[cfg(feature = "stdio")]
    Pipes(Box<Io<Pipes>>),
    #[cfg(feature = "serial")]
    Serial(Box<Port>),
}

#[derive(Debug)]
struct TcpWriter(tcp::OwnedWriteHalf);

#[cfg(unix)]
#[derive(Debug)]
struct UnixWriter(unix::OwnedWriteHalf);

impl Stream {
    pub(crate) async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(host) => Self::tcp(TcpStream::connect(host.as_str()).await?),
            #[cfg(unix)]
            Address::Unix(path) => Ok(Self::unix(UnixStream::connect(path).await?)),
            #[cfg(feature = "stdio")]
            Address::Stdio => Ok(Self::pipes(Pipes::own(), address)),
            #[cfg(feature = "stdio")]
            Address::Command(command) => Ok(Self::pipes(Pipes::of(command)?, address)),
            #[cfg(feature = "serial")]
            Address::Serial { port, baud } => Port::open(port, *baud).map(Self::serial),
            _ => Err(not_here(address)),
        }
    }

    #[cfg(feature = "serial")]
    fn serial(port: Port) -> Self {
        let remote = port.remote();
        Self { halves: Halves::Serial(Box::new(port)), remote }
    }

    fn tcp(stream: TcpStream) -> io::Result<Self> {
        // Packets are written in batches already; waiting for more would only delay answers.
        stream.set_nodelay(true)?;
        let remote = stream.peer_addr().map_or_else(|_| "tcp".to_owned(), |address| address.to_string());
        let (read, write) = stream.into_split();
        Ok(Self { halves: Halves::Tcp(read, Arc::new(TcpWriter(write))), remote })
    }

    #[cfg(feature = "stdio")]
    fn pipes(pipes: Pipes, address: &Address) -> Self {
        Self { halves: Halves::Pipes(Box::new(Io::new(pipes))), remote: address.to_string() }
    }

    #[cfg(unix)]
    fn unix(stream: UnixStream) -> Self {
        let (read, write) = stream.into_split();
        Self { halves: Halves::Unix(read, Arc::new(UnixWriter(write))), remote: "unix".to_owned() }
    }
}

impl TryFrom<TcpStream> for Stream {
    type Error = io::Error;

    fn try_from(stream: TcpStream) -> io::Result<Self> {
        Self::tcp(stream)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::unix(stream)
    }
}

/// Both kinds of socket do the same, and what is no socket has its own ways
macro_rules! on_halves {
    ($halves:expr, $read:pat, $write:pat => $what:expr, $whole:ident => $other:expr) => {
        match $halves {
            #[cfg(feature = "stdio")]
            Halves::Pipes($whole) => $other,
            #[cfg(feature = "serial")]
            Halves::Serial($whole) => $other,
            Halves::Tcp($read, $write) => $what,
            #[cfg(unix)]
            Halves::Unix($read, $write) => $what,
        }
    };
}

impl Transport for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        on_halves!(&mut self.halves, read, _ => poll_read(read, cx, buf), whole => whole.poll_read(cx, buf))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let written = on_halves!(&mut self.halves, _, write => {
                let stream = write.0.as_ref();
                ready!(stream.poll_write_ready(cx))?;
                stream.try_write_vectored(parts)
            }, whole => return whole.poll_write(cx, parts));
            match written {
                // It was not ready after all, and says when it is.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = &cx;
        Poll::Ready(on_halves!(&mut self.halves, _, write => {
            SockRef::from(write.0.as_ref()).shutdown(Shutdown::Write)
        }, whole => return whole.poll_shutdown(cx)))
    }

    fn writer(&self) -> Option<Arc<dyn TryWrite>> {
        Some(match &self.halves {
            Halves::Tcp(_, write) => Arc::<TcpWriter>::clone(write),
            #[cfg(unix)]
            Halves::Unix(_, write) => Arc::<UnixWriter>::clone(write),
            // A pipe would have to wait.
            #[cfg(feature = "stdio")]
            Halves::Pipes(_) => return None,
            // It carries less than one task can write.
            #[cfg(feature = "serial")]
            Halves::Serial(_) => return None,
        })
    }

    fn remote(&self) -> String {
        self.remote.clone()
    }
}

impl TryWrite for TcpWriter {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }
}

#[cfg(unix)]
impl TryWrite for UnixWriter {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }
}

/// A listening socket, or a serial port
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, SocketFile),
    #[cfg(feature = "serial")]
    Serial(Box<PortListener>),
}

impl Listener {
    pub(crate) async fn bind(address: &Address) -> io::Result<Self> {
        let socket = match address {
            Address::Tcp(host) => Socket::Tcp(TcpListener::bind(host.as_str()).await?),
            #[cfg(unix)]
            Address::Unix(path) => {
                let file = SocketFile::prepare(path)?;
                let listener = UnixListener::bind(path)?;
                Socket::Unix(listener, file.bound())
            }
            #[cfg(feature = "serial")]
            Address::Serial { port, baud } => Socket::Serial(Box::new(PortListener::bind(port, *baud)?)),
            _ => return Err(not_here(address)),
        };
        Ok(Self { socket })
    }
}

impl flyrpc_driver::runtime::Listener for Listener {
    type Stream = Stream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        Poll::Ready(match &mut self.socket {
            Socket::Tcp(listener) => {
                ready!(listener.poll_accept(cx)).and_then(|(stream, _)| Stream::tcp(stream))
            }
            #[cfg(unix)]
            Socket::Unix(listener, _) => {
                ready!(listener.poll_accept(cx)).map(|(stream, _)| Stream::unix(stream))
            }
            #[cfg(feature = "serial")]
            Socket::Serial(listener) => ready!(listener.poll_accept(cx)).map(Stream::serial),
        })
    }

    fn address(&self) -> io::Result<Address> {
        match &self.socket {
            Socket::Tcp(listener) => Ok(listener.local_addr()?.into()),
            #[cfg(unix)]
            Socket::Unix(_, file) => Ok(Address::Unix(file.path().to_owned())),
            #[cfg(feature = "serial")]
            Socket::Serial(listener) => Ok(listener.address()),
        }
    }
}
