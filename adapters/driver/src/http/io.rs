//! Byte streams as hyper takes them, with the time that each phase of a connection may take

use core::future::poll_fn;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::Options;
use crate::runtime::{Runtime, Timer, Transport, TryWrite};
use crate::until::within;

/// A stream of which some bytes were read before they were wanted
#[derive(Debug)]
pub struct Prefixed<T> {
    prefix: Bytes,
    stream: T,
}

impl<T> Prefixed<T> {
    /// `prefix` comes first, then what the stream has
    pub const fn new(prefix: Bytes, stream: T) -> Self {
        Self { prefix, stream }
    }

    /// The bytes that were not read again, and the stream
    pub fn into_parts(self) -> (Bytes, T) {
        (self.prefix, self.stream)
    }

    /// Puts bytes that were read back to the front
    pub(super) fn unread(mut self, front: &[&[u8]]) -> Self {
        if front.iter().any(|part| !part.is_empty()) {
            self.prefix = Bytes::from([front.concat().as_slice(), &self.prefix].concat());
        }
        self
    }
}

impl<T: Transport> Transport for Prefixed<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        if self.prefix.is_empty() {
            return self.stream.poll_read(cx, buf);
        }
        Poll::Ready(Ok(take(&mut self.prefix, buf)))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, parts)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }

    fn writer(&self) -> Option<Arc<dyn TryWrite>> {
        self.stream.writer()
    }

    fn remote(&self) -> String {
        self.stream.remote()
    }
}

/// Moves as much as there is room for
pub(super) fn take(from: &mut Bytes, buf: &mut BytesMut) -> usize {
    let n = from.len().min(buf.capacity() - buf.len());
    buf.extend_from_slice(&from.split_to(n));
    n
}

/// A transport as hyper takes it
pub(super) struct Io<R: Runtime, T> {
    transport: T,
    /// Read and not handed over yet
    buf: BytesMut,
    /// Taken and not written yet: hyper hands an upgraded stream over without waiting for its last write
    unsent: BytesMut,
    times: Option<Times<R>>,
}

/// Bytes read at a time
const LEAST_READ: usize = 4 << 10;
const MOST_READ: usize = 64 << 10;

impl<R: Runtime, T> Io<R, T> {
    /// Without limits in time
    pub(super) fn new(transport: T) -> Self {
        Self { transport, buf: BytesMut::new(), unsent: BytesMut::new(), times: None }
    }

    /// Reads and writes fail that take longer than the phase allows
    pub(super) fn timed(transport: T, phase: &Arc<Phase>, options: &Options) -> Self {
        let times = Times {
            phase: Arc::clone(phase),
            header: options.header_timeout,
            body: options.body_timeout,
            idle: options.idle_timeout,
            write: options.write_timeout,
            reading: R::timer(),
            reading_since: None,
            expired: None,
            writing: R::timer(),
        };
        Self { transport, buf: BytesMut::new(), unsent: BytesMut::new(), times: Some(times) }
    }

    pub(super) fn into_parts(self) -> Parts<T> {
        Parts { transport: self.transport, unread: self.buf, unsent: self.unsent }
    }
}

/// What is left when hyper has done its part
pub(super) struct Parts<T> {
    pub(super) transport: T,
    pub(super) unread: BytesMut,
    pub(super) unsent: BytesMut,
}

impl<R: Runtime, T: Transport> Read for Io<R, T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.times.as_ref().is_some_and(Times::is_expired) {
            // What comes too late would only keep the answer that says so from being sent.
            return Poll::Pending;
        }
        if this.buf.is_empty() {
            this.buf.reserve(cursor.remaining().clamp(LEAST_READ, MOST_READ));
            match this.transport.poll_read(cx, &mut this.buf) {
                Poll::Ready(Ok(n)) => {
                    if let Some(times) = this.times.as_mut().filter(|_| n > 0) {
                        times.received();
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let waited_too_long = this.times.as_mut().is_some_and(|times| times.poll_read(cx));
                    return if waited_too_long { Poll::Ready(Err(timed_out())) } else { Poll::Pending };
                }
            }
        }
        let n = this.buf.len().min(cursor.remaining());
        cursor.put_slice(this.buf.get(..n).unwrap_or_default());
        this.buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<R: Runtime, T: Transport> Write for Io<R, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.times.as_ref().is_some_and(Times::is_upgraded) {
            parts.iter().for_each(|part| this.unsent.extend_from_slice(part));
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        let written = this.transport.poll_write(cx, parts);
        let Some(times) = &mut this.times else { return written };
        if written.is_ready() {
            times.sent();
        } else if times.poll_write(cx) {
            return Poll::Ready(Err(timed_out()));
        }
        written
    }

    /// A transport counts only what was passed on
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A server closes the connection itself, with `close`.
        if self.times.is_some() { Poll::Ready(Ok(())) } else { self.get_mut().transport.poll_shutdown(cx) }
    }
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// What a server's connection waits for; each change is told from the one before
#[derive(Debug, Default)]
pub(super) struct Phase {
    number: AtomicU32,
    /// The other end takes nothing, and there is something for it
    is_stalled: AtomicBool,
}

/// A request's head; this is where a connection begins
const HEAD: u32 = 0;
/// A request's body
const BODY: u32 = 1;
/// The answer, for which there is no limit here
const ANSWER: u32 = 2;
/// The next request to begin
const IDLE: u32 = 3;
/// Nothing more of HTTP
const UPGRADED: u32 = 4;
/// Numbers the changes
const STEP: u32 = 8;

impl Phase {
    pub(super) fn body(&self) {
        self.change(BODY);
    }

    pub(super) fn answer(&self) {
        self.change(ANSWER);
    }

    pub(super) fn idle(&self) {
        self.change(IDLE);
    }

    pub(super) fn upgraded(&self) {
        self.change(UPGRADED);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.number() % STEP == UPGRADED
    }

    /// Is there no whole request, nor the answer to one?
    pub(super) fn is_before_request(&self) -> bool {
        // It is idle as soon as there is an answer, of which some may not have been written.
        matches!(self.number() % STEP, HEAD | BODY | IDLE) && !self.is_stalled()
    }

    fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// The phase and how many came before, as a number
    pub(super) fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    fn change(&self, phase: u32) {
        let before = self.number();
        self.number.store((before & !(STEP - 1)).wrapping_add(STEP) | phase, Ordering::Relaxed);
    }
}

struct Times<R: Runtime> {
    phase: Arc<Phase>,
    header: Duration,
    body: Duration,
    idle: Duration,
    write: Duration,
    reading: R::Timer,
    /// The phase for which `reading` was set
    reading_since: Option<u32>,
    /// The phase that took too long
    expired: Option<u32>,
    writing: R::Timer,
}

impl<R: Runtime> Times<R> {
    fn is_upgraded(&self) -> bool {
        self.phase.is_upgraded()
    }

    /// Something has come
    fn received(&mut self) {
        match self.phase.number() % STEP {
            IDLE => self.phase.change(HEAD),
            // A body may come as slowly as it likes, if only it comes.
            BODY => self.reading_since = None,
            _ => {}
        }
    }

    /// Something was written
    fn sent(&self) {
        self.phase.is_stalled.store(false, Ordering::Relaxed);
        if self.phase.number() % STEP == IDLE {
            // It begins when the answer before has been written.
            self.phase.idle();
        }
    }

    /// Has a read waited for too long?
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let phase = self.phase.number();
        let limit = match phase % STEP {
            HEAD => self.header,
            BODY => self.body,
            IDLE if !self.phase.is_stalled() => self.idle,
            _ => return false,
        };
        if self.reading_since != Some(phase) {
            self.reading_since = Some(phase);
            self.reading.set(limit);
        }
        let is_expired = self.reading.poll_expired(cx).is_ready();
        if is_expired {
            self.expired = Some(phase);
        }
        is_expired
    }

    fn is_expired(&self) -> bool {
        self.expired == Some(self.phase.number())
    }

    /// Has a write waited for too long?
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.phase.is_stalled.swap(true, Ordering::Relaxed) {
            self.writing.set(self.write);
        }
        self.writing.poll_expired(cx).is_ready()
    }
}

/// Reads some more; 0 at the end of the stream
pub(super) async fn read<T: Transport>(transport: &mut T, buf: &mut BytesMut) -> io::Result<usize> {
    buf.reserve(1 << 10);
    poll_fn(|cx| transport.poll_read(cx, buf)).await
}

pub(super) async fn write_all<T: Transport>(transport: &mut T, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let n = poll_fn(|cx| transport.poll_write(cx, &[IoSlice::new(data)])).await?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        data = data.get(n..).unwrap_or_default();
    }
    Ok(())
}

/// Ends a connection so that the other end can still read what it was sent: closing a socket with unread bytes would destroy it
pub(super) async fn close<R: Runtime, T: Transport>(mut transport: T) {
    let mut discarded = BytesMut::new();
    let lingering = async {
        poll_fn(|cx| transport.poll_shutdown(cx)).await?;
        loop {
            for _ in 0..READS {
                discarded.clear();
                if read(&mut transport, &mut discarded).await? == 0 {
                    return io::Result::Ok(());
                }
            }
            yield_now().await;
        }
    };
    let _ = within::<R, _>(LINGER, lingering).await;
}

/// How long a connection that has ended waits for the other end to close
const LINGER: Duration = Duration::from_secs(1);
/// Reads before other tasks get their turn
const READS: usize = 16;

async fn yield_now() {
    let mut is_first = true;
    poll_fn(|cx| {
        if core::mem::take(&mut is_first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}
