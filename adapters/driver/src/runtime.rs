//! What an async runtime gives to connections: sockets, time, tasks

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::BytesMut;

use crate::Address;

/// An async runtime
///
/// `flyrpc-tokio` and `flyrpc-smol` implement it; so can a program for a runtime of its own.
pub trait Runtime: Send + Sync + 'static {
    /// A timer that can be set again
    type Timer: Timer;
    /// A connected socket
    type Stream: Transport;
    /// A listening socket
    type Listener: Listener<Stream = Self::Stream>;

    /// A timer that is not set
    fn timer() -> Self::Timer;

    /// The time that timers go by: the system's by default, what a runtime for tests makes of it otherwise
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "an adapter's clock")]
    fn now() -> std::time::Instant {
        std::time::Instant::now()
    }

    /// Runs a task to its end, whatever becomes of its starter
    fn spawn(task: Task);

    /// Connects a socket
    fn connect(address: &Address) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The code that a request is answered with whose handler, or middleware, failed with an error of the runtime's world:
    /// `TIMEOUT` for an elapsed time, for example; none by default, which becomes `ERROR`
    fn error_code(error: &(dyn core::error::Error + 'static)) -> Option<&'static str> {
        let _ = error;
        None
    }

    /// Listens
    fn listen(address: &Address) -> impl Future<Output = io::Result<Self::Listener>> + Send;
}

/// What [`Runtime::spawn`] runs
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A timer that can be set again and again
pub trait Timer: Send + Unpin + 'static {
    /// Sets it to expire `after` this time from now
    fn set(&mut self, after: Duration);

    /// Ready once, when the time has passed that was last set; pending while none is set
    ///
    /// Once it was pending, the task is woken when the time has passed, though it may not be polled again before: a runtime that
    /// limits what a task does in one turn must not count this.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A listening socket
pub trait Listener: Send + 'static {
    /// What it accepts
    type Stream: Transport;

    /// The next connection
    ///
    /// # Errors
    /// The system's; the listener goes on.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;

    /// Where clients can connect to
    ///
    /// # Errors
    /// The system's
    fn address(&self) -> io::Result<Address>;
}

/// A byte stream: what a connection runs over
pub trait Transport: Send + Unpin + 'static {
    /// Reads into the spare capacity of `buf`, which it does not enlarge; 0 at the end of the stream
    ///
    /// # Errors
    /// The system's; the connection ends.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Writes some of the parts, and tells how many bytes
    ///
    /// # Errors
    /// The system's; the connection ends.
    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Ends the outgoing direction, after everything that was written
    ///
    /// # Errors
    /// The system's; they are of no interest any more.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// A way to write without waiting from any task, where there is one; `None` by default
    fn writer(&self) -> Option<Arc<dyn TryWrite>> {
        None
    }

    /// Does the end of the incoming stream end the outgoing one too? So it does in WebSocket: answers that are owed then can't be
    /// given, so their handlers need not go on; false by default
    fn ends_both_ways(&self) -> bool {
        false
    }

    /// May the other end send anything but answers? Not over HTTP POST; true by default
    fn may_be_called(&self) -> bool {
        true
    }

    /// The other end, for people; `memory` by default
    fn remote(&self) -> String {
        "memory".to_owned()
    }
}

/// Writes what a socket takes at once
pub trait TryWrite: Send + Sync {
    /// Writes some of the parts, and tells how many bytes
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the socket takes nothing now; others are left to the connection's own writes, which
    /// meet them again.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// A program and its arguments, as [`Address::Command`] has them: words between blanks, and no quotes
///
/// # Errors
/// There is no word.
pub fn split_command(command: &str) -> io::Result<(&str, impl Iterator<Item = &str>)> {
    let mut words = command.split_ascii_whitespace();
    let program = words.next().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no command"))?;
    Ok((program, words))
}

/// What a runtime says of an address that it can't have
#[must_use]
pub fn not_here(address: &Address) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("{address}: not on this system, or not in this build"))
}

#[cfg(unix)]
pub use socket_file::SocketFile;

#[cfg(unix)]
mod socket_file {
    use std::io;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};

    /// A listening Unix socket's file, which is removed with this
    ///
    /// It is known by what it is as well as by its path: another server may have taken the path meanwhile.
    #[derive(Debug)]
    pub struct SocketFile {
        path: PathBuf,
        identity: Option<(u64, u64)>,
    }

    impl SocketFile {
        /// Removes the file that a dead server left at `path`, so that it can be bound; one that answers is left alone
        ///
        /// # Errors
        /// The system's
        pub fn prepare(path: &Path) -> io::Result<Self> {
            let is_socket = std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
            let dead = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
            if is_socket && UnixStream::connect(path).is_err_and(dead) {
                std::fs::remove_file(path)?;
            }
            Ok(Self { path: path.to_owned(), identity: None })
        }

        /// The path was bound
        #[must_use]
        pub fn bound(mut self) -> Self {
            self.identity = identity(&self.path);
            self
        }

        /// Where it is
        #[must_use]
        pub fn path(&self) -> &Path {
            &self.path
        }

        /// Is the file at the path still this one?
        #[must_use]
        pub fn is_ours(&self) -> bool {
            self.identity.is_some() && identity(&self.path) == self.identity
        }
    }

    impl Drop for SocketFile {
        fn drop(&mut self) {
            if self.is_ours() {
                let _ = std::fs::remove_file(&self.path);
            }
        }
    }

    /// Device and number of a file; while its socket is open, no other file has the same
    fn identity(path: &Path) -> Option<(u64, u64)> {
        std::fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
    }
}
