//! Any byte stream of the `futures` kind

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, IoSlice};

use bytes::BytesMut;
use flyrpc_driver::runtime::Transport;
use smol::io::{AsyncRead, AsyncWrite};

/// Any `futures_io::AsyncRead + AsyncWrite` as a transport: TLS, a pipe, a stream in memory
///
/// ```
/// use flyrpc_smol::{Bytes, Client, Io, Server};
/// use smol::net::{TcpListener, TcpStream};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// smol::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let left = TcpStream::connect(listener.local_addr()?).await?;
///     let (right, _) = listener.accept().await?;
///
///     let server = Server::new().handle("echo", |payload: Bytes| payload).start();
///     server.attach(Io::new(left));
///     let client = Client::new().attach(Io::new(right));
///     assert_eq!(client.call("echo", "hi").await?, "hi");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Io<S> {
    stream: S,
    remote: String,
    step: Step,
    /// Bytes that the stream has taken into a buffer of its own, and not yet passed on
    taken: usize,
}

impl<S> Io<S> {
    /// Of a connected stream
    pub fn new(stream: S) -> Self {
        Self { stream, remote: "memory".to_owned(), step: Step::default(), taken: 0 }
    }

    /// The same, with a name for the other end
    #[must_use]
    pub fn remote(mut self, remote: impl Into<String>) -> Self {
        self.remote = remote.into();
        self
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for Io<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.step.read(buf, |room| Pin::new(&mut self.stream).poll_read(cx, room))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            self.taken = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts))?;
        }
        // Only what was passed on counts as written: a flush that waits is continued by the next call with the same parts.
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Poll::Ready(Ok(core::mem::take(&mut self.taken)))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }

    fn remote(&self) -> String {
        self.remote.clone()
    }
}

/// How much of a buffer's spare capacity is made ready for a read
///
/// Streams of this kind read into bytes that have a value. Giving them one costs time, so it follows how much comes.
#[derive(Debug)]
pub(crate) struct Step(usize);

/// Reads begin with this many bytes
const LEAST: usize = 16 << 10;
/// While there is as much, they grow to this many
const MOST: usize = 256 << 10;

impl Default for Step {
    fn default() -> Self {
        Self(LEAST)
    }
}

impl Step {
    /// Room in `buf` for the next read, in bytes
    pub(crate) fn room(&self, buf: &BytesMut) -> usize {
        (buf.capacity() - buf.len()).min(self.0)
    }

    /// Lets `poll` read into the spare capacity
    pub(crate) fn read(
        &mut self,
        buf: &mut BytesMut,
        poll: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let (len, room) = (buf.len(), self.room(buf));
        buf.resize(len + room, 0);
        let polled = poll(buf.get_mut(len..).unwrap_or_default());
        let read = if let Poll::Ready(Ok(n)) = &polled { (*n).min(room) } else { 0 };
        buf.truncate(len + read);
        if room == self.0 && polled.is_ready() {
            if read == room {
                self.0 = (room * 2).min(MOST);
            } else if read < room / 4 {
                self.0 = (room / 2).max(LEAST);
            }
        }
        polled
    }
}
