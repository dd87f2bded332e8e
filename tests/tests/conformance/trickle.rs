//! Any runtime, with transports that read and write one byte at a time

use core::marker::PhantomData;
use core::task::{Context, Poll, ready};
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use flyrpc_driver::Address;
use flyrpc_driver::runtime::{Listener, Runtime, Task, Transport, TryWrite};

/// The runtime `R` with such transports
pub(crate) struct Trickle<R>(PhantomData<R>);

impl<R: Runtime> Runtime for Trickle<R> {
    type Timer = R::Timer;
    type Stream = OneByte<R::Stream>;
    type Listener = OneByteListener<R::Listener>;

    fn timer() -> R::Timer {
        R::timer()
    }

    fn spawn(task: Task) {
        R::spawn(task);
    }

    async fn connect(address: &Address) -> io::Result<Self::Stream> {
        R::connect(address).await.map(OneByte::new)
    }

    async fn listen(address: &Address) -> io::Result<Self::Listener> {
        R::listen(address).await.map(OneByteListener)
    }
}

pub(crate) struct OneByteListener<L>(L);

impl<L: Listener> Listener for OneByteListener<L> {
    type Stream = OneByte<L::Stream>;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Stream>> {
        self.0.poll_accept(cx).map(|accepted| accepted.map(OneByte::new))
    }

    fn address(&self) -> io::Result<Address> {
        self.0.address()
    }
}

/// Before each byte it lets others go first
pub(crate) struct OneByte<T> {
    inner: T,
    one: BytesMut,
    reads: bool,
    writes: bool,
}

impl<T> OneByte<T> {
    fn new(inner: T) -> Self {
        Self { inner, one: BytesMut::with_capacity(1), reads: false, writes: false }
    }
}

/// Pending the first time
fn rest(goes: &mut bool, cx: &Context<'_>) -> Poll<()> {
    if core::mem::replace(goes, true) {
        return Poll::Ready(());
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// The first byte of all parts
fn first<'a>(parts: &'a [IoSlice<'_>]) -> Option<IoSlice<'a>> {
    parts.iter().find_map(|part| part.get(..1)).map(IoSlice::new)
}

impl<T: Transport> Transport for OneByte<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        ready!(rest(&mut self.reads, cx));
        self.one.clear();
        assert_eq!(self.one.capacity(), 1);
        let read = ready!(self.inner.poll_read(cx, &mut self.one));
        self.reads = false;
        let before = buf.capacity();
        buf.put_slice(&self.one);
        assert_eq!(buf.capacity(), before, "there was room to read into");
        Poll::Ready(read)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(rest(&mut self.writes, cx));
        let Some(part) = first(parts) else { return Poll::Ready(Ok(0)) };
        let written = ready!(self.inner.poll_write(cx, &[part]));
        self.writes = false;
        Poll::Ready(written)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_shutdown(cx)
    }

    fn writer(&self) -> Option<Arc<dyn TryWrite>> {
        Some(Arc::new(OneByteWriter(self.inner.writer()?)))
    }

    fn remote(&self) -> String {
        self.inner.remote()
    }
}

struct OneByteWriter(Arc<dyn TryWrite>);

impl TryWrite for OneByteWriter {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        first(parts).map_or(Ok(0), |part| self.0.try_write(&[part]))
    }
}
