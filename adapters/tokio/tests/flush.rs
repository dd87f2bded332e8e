//! Streams with a buffer of their own

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;

use flyrpc_tokio::{Bytes, Client, Io, Server};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

/// Takes anything, passes it on when it is flushed, and not before it was asked twice
struct Lazy {
    stream: DuplexStream,
    buffer: Vec<u8>,
    asked: bool,
}

impl Lazy {
    fn new(stream: DuplexStream) -> Self {
        Self { stream, buffer: Vec::new(), asked: false }
    }
}

impl AsyncRead for Lazy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lazy {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.buffer.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, buffer, asked } = &mut *self;
        if !core::mem::replace(asked, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while !buffer.is_empty() {
            let n = ready!(Pin::new(&mut *stream).poll_write(cx, buffer))?;
            buffer.drain(..n);
        }
        *asked = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_flush_that_waits_is_continued() {
    let (left, right) = duplex(64);
    let server = Server::new().handle("echo", |payload: Bytes| payload).start();
    server.attach(Io::new(Lazy::new(left)));
    let client = Client::new().attach(Io::new(Lazy::new(right)));
    for len in [0, 1, 100, 10_000] {
        let payload = vec![b'x'; len];
        let call = client.call("echo", &payload).within(Duration::from_secs(20));
        assert_eq!(call.await.unwrap(), payload);
    }
}
