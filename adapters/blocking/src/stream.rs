//! TCP and Unix sockets behind one face

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};

use crate::Address;

/// A connected socket; reading and writing go through `&Stream`, so two threads can do both at once
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A listening socket
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, SocketFile),
}

/// A Unix socket's file, by its path and by what it is: another server may have taken the path meanwhile
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: std::path::PathBuf,
    identity: Option<(u64, u64)>,
}

impl Stream {
    pub(crate) fn connect(address: &Address, timeout: Duration) -> io::Result<Self> {
        match address {
            Address::Tcp(host) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, format!("'{host}' has no address"));
                for address in host.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, timeout) {
                        Ok(stream) => return Self::tcp(stream),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            #[cfg(unix)]
            Address::Unix(path) => UnixStream::connect(path).map(Self::Unix),
            #[cfg(not(unix))]
            Address::Unix(_) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "no Unix sockets on this system"))
            }
        }
    }

    fn tcp(stream: TcpStream) -> io::Result<Self> {
        // Packets are written in batches already; waiting for more would only delay answers.
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(timeout),
            #[cfg(unix)]
            Self::Unix(stream) => stream.set_write_timeout(timeout),
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        // It fails only when the connection is gone already, which is what was wanted.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(how),
        };
    }

    /// The other end, for people
    pub(crate) fn remote(&self) -> String {
        match self {
            Self::Tcp(stream) => {
                stream.peer_addr().map_or_else(|_| "tcp".to_owned(), |addr| addr.to_string())
            }
            #[cfg(unix)]
            Self::Unix(_) => "unix".to_owned(),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).read(buf),
            #[cfg(unix)]
            Stream::Unix(stream) => (&mut &*stream).read(buf),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).write(buf),
            #[cfg(unix)]
            Stream::Unix(stream) => (&mut &*stream).write(buf),
        }
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
                remove_dead_socket(path)?;
                let listener = UnixListener::bind(path)?;
                let file = SocketFile { identity: identity(path), path: path.clone() };
                Ok(Self::Unix(listener, file))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "no Unix sockets on this system"))
            }
        }
    }

    pub(crate) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().and_then(|(stream, _)| Stream::tcp(stream)),
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    /// Where clients can connect to
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => Ok(listener.local_addr()?.into()),
            #[cfg(unix)]
            Self::Unix(_, file) => Ok(Address::Unix(file.path.clone())),
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
            Self::Unix(_, file) if file.is_ours() => UnixStream::connect(&file.path).map(drop),
            // Nobody can connect any more. Linux and others, not all, end `accept` when its socket is shut down.
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.try_clone().and_then(|listener| {
                UnixStream::from(std::os::fd::OwnedFd::from(listener)).shutdown(Shutdown::Both)
            }),
        };
        woken.is_ok()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Self::Unix(_, file) = self
            && file.is_ours()
        {
            let _ = std::fs::remove_file(&file.path);
        }
    }
}

#[cfg(unix)]
impl SocketFile {
    fn is_ours(&self) -> bool {
        self.identity.is_some() && identity(&self.path) == self.identity
    }
}

/// Device and number of a file; while its socket is open, no other file has the same
#[cfg(unix)]
fn identity(path: &std::path::Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    std::fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Removes a socket file that a dead server left; one that answers is left alone
#[cfg(unix)]
fn remove_dead_socket(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;

    let is_socket = std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let dead = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).is_err_and(dead) { std::fs::remove_file(path) } else { Ok(()) }
}
