//! Any byte stream of tokio's

use core::pin::{Pin, pin};
use core::task::{Context, Poll, ready};
use std::io::{self, IoSlice};

use bytes::BytesMut;
use flyrpc_driver::runtime::Transport;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Any `AsyncRead + AsyncWrite` as a transport: TLS, a pipe, `tokio::io::duplex` in a test
///
/// ```
/// use flyrpc_tokio::{Bytes, Client, Io, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), flyrpc_tokio::Error> {
/// let (left, right) = tokio::io::duplex(4096);
/// let server = Server::new().handle("echo", |payload: Bytes| payload).start();
/// server.attach(Io::new(left));
/// let client = Client::new().attach(Io::new(right));
/// assert_eq!(client.call("echo", "hi").await?, "hi");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Io<S> {
    stream: S,
    remote: String,
    /// Bytes that the stream has taken into a buffer of its own, and not yet passed on
    taken: usize,
}

impl<S> Io<S> {
    /// Of a connected stream
    pub fn new(stream: S) -> Self {
        Self { stream, remote: "memory".to_owned(), taken: 0 }
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
        poll_read(&mut self.stream, cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            let stream = Pin::new(&mut self.stream);
            let written = if stream.is_write_vectored() {
                stream.poll_write_vectored(cx, parts)
            } else {
                let Some(first) = parts.first() else { return Poll::Ready(Ok(0)) };
                stream.poll_write(cx, first)
            };
            self.taken = ready!(written)?;
        }
        // Only what was passed on counts as written: a flush that waits is continued by the next call with the same parts.
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Poll::Ready(Ok(core::mem::take(&mut self.taken)))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn remote(&self) -> String {
        self.remote.clone()
    }
}

/// Reads into the spare capacity, which need not have been initialised
pub(crate) fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    buf: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    // The future keeps nothing between two polls, so each poll may have a new one.
    pin!(stream.read_buf(buf)).poll(cx)
}
