//! Standard input and output, this program's own and those of a program that is started
//!
//! Pipes know no timeouts, and nothing ends a read from one that waits. So the connection has a socket, as any other, and
//! a thread each way copies between that and a pipe.

use core::time::Duration;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::AsFd as _;
#[cfg(windows)]
use std::os::windows::io::AsHandle as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use flyrpc_driver::runtime::split_command;

/// What the connection reads from and writes to
#[cfg(unix)]
type Socket = std::os::unix::net::UnixStream;
#[cfg(not(unix))]
type Socket = std::net::TcpStream;

/// A pair of pipes, as a socket
#[derive(Debug)]
pub(crate) struct Pipes {
    socket: Socket,
    remote: String,
    sent: Arc<Sent>,
    /// Whose pipes they are, if they are not this program's own
    child: Mutex<Option<Child>>,
}

/// What has arrived in the outgoing pipe
#[derive(Debug, Default)]
struct Sent {
    progress: Mutex<Progress>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    bytes: u64,
    ended: bool,
}

impl Pipes {
    /// This program's own, of which the thread that reads ends with the program
    pub(crate) fn own(remote: String) -> io::Result<Self> {
        // Not through the standard library's buffers, which would hold lines back.
        #[cfg(unix)]
        let (input, output) =
            (io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?);
        #[cfg(windows)]
        let (input, output) =
            (io::stdin().as_handle().try_clone_to_owned()?, io::stdout().as_handle().try_clone_to_owned()?);
        Self::new(File::from(input), File::from(output), remote, None)
    }

    /// Starts a program; what it says on its standard error goes where this program's does
    pub(crate) fn of(command: &str, remote: String) -> io::Result<Self> {
        let (program, arguments) = split_command(command)?;
        let mut child = Reaped(Some(
            Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?,
        ));
        let pipes = child.0.as_mut().map(|child| (child.stdin.take(), child.stdout.take()));
        let Some((Some(input), Some(output))) = pipes else { return Err(ErrorKind::BrokenPipe.into()) };
        Self::new(output, input, remote, child.0.take())
    }

    fn new(
        input: impl Read + Send + 'static,
        output: impl Write + Send + 'static,
        remote: String,
        child: Option<Child>,
    ) -> io::Result<Self> {
        let mut child = Reaped(child);
        let (socket, inner) = pair()?;
        let (incoming, sent) = (inner.try_clone()?, Arc::new(Sent::default()));
        let progress = Arc::clone(&sent);
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("flyrpc-stdin").spawn(move || {
            let _ = copy(input, &incoming, |_| {});
            let _ = incoming.shutdown(Shutdown::Write);
        })?;
        thread("flyrpc-stdout").spawn(move || {
            // Closed before anybody is told that it has ended.
            let copied = copy(&inner, output, |n| progress.lock().bytes += n as u64);
            if copied.is_err() {
                let _ = inner.shutdown(Shutdown::Both);
            }
            progress.lock().ended = true;
            progress.ended.notify_all();
        })?;
        Ok(Self { socket, remote, sent, child: Mutex::new(child.0.take()) })
    }

    pub(crate) const fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn remote(&self) -> &str {
        &self.remote
    }

    /// Waits until what was sent is in the pipe, for `time` at the longest; false when only a part of it is by then
    pub(crate) fn wait_sent(&self, time: Duration) -> bool {
        let progress = self.sent.lock();
        let before = progress.bytes;
        let waited = self.sent.ended.wait_timeout_while(progress, time, |progress| !progress.ended);
        let progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        progress.ended || progress.bytes == before
    }

    /// Stops the program that was started
    pub(crate) fn finish(&self) {
        drop(Reaped(self.child.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        drop(Reaped(self.child.get_mut().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

impl Sent {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program that is stopped when this is dropped
struct Reaped(Option<Child>);

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It fails where the program has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Copies until one end is closed
fn copy(mut from: impl Read, mut to: impl Write, mut copied: impl FnMut(usize)) -> io::Result<()> {
    let mut buf = vec![0; CHUNK];
    loop {
        match from.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                to.write_all(buf.get(..n).unwrap_or_default())?;
                copied(n);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Bytes copied at a time
const CHUNK: usize = 64 << 10;

#[cfg(unix)]
fn pair() -> io::Result<(Socket, Socket)> {
    Socket::pair()
}

#[cfg(not(unix))]
fn pair() -> io::Result<(Socket, Socket)> {
    let listener = std::net::TcpListener::bind((core::net::Ipv4Addr::LOCALHOST, 0))?;
    let ours = Socket::connect(listener.local_addr()?)?;
    loop {
        // Others may connect too.
        let (theirs, from) = listener.accept()?;
        if from == ours.local_addr()? {
            ours.set_nodelay(true)?;
            theirs.set_nodelay(true)?;
            return Ok((ours, theirs));
        }
    }
}
