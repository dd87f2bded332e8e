//! TCP and Unix sockets, and what goes over them, behind one face

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};

use flyrpc_driver::Address;
#[cfg(unix)]
use flyrpc_driver::runtime::SocketFile;
use flyrpc_driver::runtime::not_here;

#[cfg(any(unix, windows))]
use crate::pipes::Pipes;

/// A connected socket: what [`Client::attach`](crate::Client::attach) and
/// [`ServerHandle::attach`](crate::ServerHandle::attach) take
#[derive(Debug)]
pub struct Stream(pub(crate) Socket);

// Reading and writing go through `&Stream`, so two threads can do both at once.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg(feature = "ws")]
    WebSocket(crate::ws::WebSocket),
    #[cfg(any(unix, windows))]
    Pipes(Pipes),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        // Packets are written in batches already; waiting for more would only delay answers. It fails only on a socket that is
        // of no more use anyway.
        let _ = stream.set_nodelay(true);
        Self(Socket::Tcp(stream))
    }
}

#[cfg(unix)]
impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self(Socket::Unix(stream))
    }
}

/// All kinds of socket do the same
macro_rules! on_socket {
    ($stream:expr, $socket:pat => $what:expr) => {
        match &$stream.0 {
            Socket::Tcp($socket) => $what,
            #[cfg(unix)]
            Socket::Unix($socket) => $what,
            #[cfg(feature = "ws")]
            Socket::WebSocket($socket) => $what,
            #[cfg(any(unix, windows))]
            Socket::Pipes(pipes) => {
                let $socket = pipes.socket();
                $what
            }
        }
    };
}

/// A listening socket
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, SocketFile),
}

impl Stream {
    pub(crate) fn connect(address: &Address, timeout: Duration) -> io::Result<Self> {
        match address {
            Address::Tcp(host) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, format!("'{host}' has no address"));
                for address in host.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, timeout) {
                        Ok(stream) => return Ok(stream.into()),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            #[cfg(unix)]
            Address::Unix(path) => UnixStream::connect(path).map(Self::from),
            #[cfg(any(unix, windows))]
            Address::Stdio => Self::own(),
            #[cfg(any(unix, windows))]
            Address::Command(command) => {
                Pipes::of(command, address.to_string()).map(|pipes| Self(Socket::Pipes(pipes)))
            }
            _ => Err(not_here(address)),
        }
    }

    /// This program's own standard input and output
    pub(crate) fn own() -> io::Result<Self> {
        #[cfg(any(unix, windows))]
        return Pipes::own(Address::Stdio.to_string()).map(|pipes| Self(Socket::Pipes(pipes)));
        #[cfg(not(any(unix, windows)))]
        return Err(not_here(&Address::Stdio));
    }

    /// The TCP socket that it is
    pub(crate) fn tcp(&self) -> io::Result<&TcpStream> {
        if let Socket::Tcp(stream) = &self.0 { Ok(stream) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        on_socket!(self, stream => stream.set_write_timeout(timeout))
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        on_socket!(self, stream => stream.set_read_timeout(timeout))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        // It fails only when the connection is gone already, which is what was wanted.
        let _ = on_socket!(self, stream => stream.shutdown(how));
    }

    /// The other end, for people
    pub(crate) fn remote(&self) -> String {
        match &self.0 {
            Socket::Tcp(stream) => {
                stream.peer_addr().map_or_else(|_| "tcp".to_owned(), |addr| addr.to_string())
            }
            #[cfg(unix)]
            Socket::Unix(_) => "unix".to_owned(),
            #[cfg(feature = "ws")]
            Socket::WebSocket(socket) => socket.remote(),
            #[cfg(any(unix, windows))]
            Socket::Pipes(pipes) => pipes.remote().to_owned(),
        }
    }

    /// After the end: waits until what was sent has left this program, where the system does not see to that by itself,
    /// for `time` at the longest; false when only a part of it has by then
    pub(crate) fn wait_sent(&self, time: Duration) -> bool {
        match &self.0 {
            #[cfg(any(unix, windows))]
            Socket::Pipes(pipes) => pipes.wait_sent(time),
            _ => {
                let _ = time;
                true
            }
        }
    }

    /// After that: stops the program that was started for it
    pub(crate) fn finish(&self) {
        #[cfg(any(unix, windows))]
        if let Socket::Pipes(pipes) = &self.0 {
            pipes.finish();
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        on_socket!(self, stream => (&mut &*stream).read(buf))
    }
}

impl Write for &Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        on_socket!(self, stream => (&mut &*stream).write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Listener {
    pub(crate) fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(host) => TcpListener::bind(host.as_str()).map(Self::Tcp),
            #[cfg(unix)]
            Address::Unix(path) => {
                let file = SocketFile::prepare(path)?;
                let listener = UnixListener::bind(path)?;
                Ok(Self::Unix(listener, file.bound()))
            }
            _ => Err(not_here(address)),
        }
    }

    pub(crate) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| stream.into()),
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.accept().map(|(stream, _)| stream.into()),
        }
    }

    /// Where clients can connect to
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => Ok(listener.local_addr()?.into()),
            #[cfg(unix)]
            Self::Unix(_, file) => Ok(Address::Unix(file.path().to_owned())),
        }
    }

    /// Ends an `accept` that waits, by connecting to it; false when that can't be done
    pub(crate) fn wake(&self) -> bool {
        let woken = match self {
            Self::Tcp(listener) => listener.local_addr().and_then(|mut address| {
                if address.ip().is_unspecified() {
                    address.set_ip(match address {
                        core::net::SocketAddr::V4(_) => core::net::Ipv4Addr::LOCALHOST.into(),
                        core::net::SocketAddr::V6(_) => core::net::Ipv6Addr::LOCALHOST.into(),
                    });
                }
                TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop)
            }),
            #[cfg(unix)]
            Self::Unix(_, file) if file.is_ours() => UnixStream::connect(file.path()).map(drop),
            // Nobody can connect any more. Linux and others, not all, end `accept` when its socket is shut down.
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.try_clone().and_then(|listener| {
                UnixStream::from(std::os::fd::OwnedFd::from(listener)).shutdown(Shutdown::Both)
            }),
        };
        woken.is_ok()
    }
}
