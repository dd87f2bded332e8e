//! Serial lines as a transport: packets in frames, which are found again after noise
//!
//! [`Framed`] goes between a connection and the bytes of a line that may lose and invent some: a serial port, or a socket that
//! stands for one. Each packet is a frame of [`flyrpc_core::serial`], with a check; what is damaged is dropped, so a call on a
//! noisy line is answered or runs into its deadline, and is never answered wrongly.
//!
//! When the other end restarts, the connection ends as if it had been reset, at once: calls in flight fail. A
//! [`Client`](crate::Client) connects again then; a server's next connection goes on over the same line.
//!
//! Only FlyRPC is carried: its packets say how long they are.

mod next;
mod outgoing;

use core::future::poll_fn;
use core::hash::{BuildHasher, Hasher};
use core::num::NonZeroU16;
use core::task::{Context, Poll, ready};
use std::hash::RandomState;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use flyrpc_core::fly::decode_head;
use flyrpc_core::serial::{Found, Line, LineStats, What};

use self::next::Next;
use self::outgoing::Outgoing;
use crate::runtime::Transport;

/// A line as a stream of packets, for one connection
///
/// It holds the longest frame that it takes at the most, and what of the outgoing bytes is not written yet.
pub struct Framed<T> {
    life: Option<Life<T>>,
    outgoing: Outgoing,
    /// The longest frame, in bytes
    max_frame: usize,
    /// The other end has restarted: this connection is over
    restarted: bool,
    /// Where the line goes then
    next: Option<Arc<Next<T>>>,
}

/// What outlives a connection whose other end has restarted
pub(crate) struct Life<T> {
    io: T,
    line: Line,
    /// What has come and was not dropped yet
    data: BytesMut,
    /// The packet at its front: from, to, and what is to be dropped with it
    packet: (usize, usize, usize),
}

/// Rounds of reading per poll that bring no packet
const ROUNDS: usize = 8;
/// Bytes to read at a time
const CHUNK: usize = 4 << 10;

impl<T: Transport> Framed<T> {
    /// Over a connected stream; packets of more than `max_packet` bytes are not taken
    ///
    /// It tells the other end that it has started, with the first read.
    pub fn new(transport: T, max_packet: usize) -> Self {
        let mut line = Line::new(session());
        line.announce();
        Self::of(Life { io: transport, line, data: BytesMut::new(), packet: (0, 0, 0) }, max_packet)
    }

    fn of(life: Life<T>, max_packet: usize) -> Self {
        let max_frame = Line::frame_max(max_packet);
        Self { life: Some(life), outgoing: Outgoing::default(), max_frame, restarted: false, next: None }
    }

    /// What was taken and dropped
    #[must_use]
    pub fn stats(&self) -> LineStats {
        self.life.as_ref().map(|life| *life.line.stats()).unwrap_or_default()
    }

    /// Where the line goes when the other end has restarted
    pub(crate) fn next(&mut self) -> Arc<Next<T>> {
        Arc::clone(self.next.get_or_insert_with(Arc::default))
    }
}

/// A number that differs from start to start
fn session() -> NonZeroU16 {
    let random = RandomState::new().build_hasher().finish();
    NonZeroU16::new((random % u64::from(u16::MAX)) as u16 + 1).unwrap_or(NonZeroU16::MIN)
}

/// Waits until the connection over a line has ended, and tells with what the next one begins, if there is to be one
pub(crate) async fn next_of<T: Transport>(next: Arc<Next<T>>, max_packet: usize) -> Option<Framed<T>> {
    let life = poll_fn(|cx| next.poll(cx)).await?;
    Some(Framed::of(life, max_packet))
}

impl<T: Transport> Life<T> {
    /// Moves what has come to `buf`, as far as there is room, and tells how many bytes, and whether the other end has restarted
    fn take(&mut self, buf: &mut BytesMut) -> (usize, bool) {
        let before = buf.len();
        loop {
            let (start, end, consumed) = self.packet;
            let room = buf.capacity() - buf.len();
            if start < end {
                let n = room.min(end - start);
                buf.extend_from_slice(self.data.get(start..start + n).unwrap_or_default());
                self.packet.0 += n;
                if start + n < end {
                    return (buf.len() - before, false);
                }
            }
            self.data.advance(consumed.min(self.data.len()));
            self.packet = (0, 0, 0);
            let Found { consumed, restarted, what } = self.line.receive(&mut self.data);
            match what {
                What::Packet { start, end } if is_packet(self.data.get(start..end)) => {
                    self.packet = (start, end, consumed);
                }
                What::Packet { .. } | What::Nothing => self.packet = (0, 0, consumed),
                What::NeedMore => {
                    self.data.advance(consumed.min(self.data.len()));
                    return (buf.len() - before, false);
                }
            }
            if restarted {
                return (buf.len() - before, true);
            }
        }
    }

    /// Reads behind what has come; 0 at the end of the stream
    fn poll_fill(&mut self, cx: &mut Context<'_>, max_frame: usize) -> Poll<io::Result<usize>> {
        if self.data.len() >= max_frame {
            self.line.overrun();
            self.data.clear();
        }
        if self.data.is_empty() && self.data.capacity() > CHUNK {
            // An idle line keeps no more.
            self.data = BytesMut::new();
        }
        if self.data.len() == self.data.capacity() {
            // As much as has come, so that a long frame is not copied again and again.
            self.data.reserve(self.data.len().clamp(CHUNK, max_frame.max(CHUNK)));
        }
        self.io.poll_read(cx, &mut self.data)
    }
}

/// Is it one packet, and whole? Else what follows would be read at the wrong places
fn is_packet(bytes: Option<&[u8]>) -> bool {
    let Some(bytes) = bytes else { return false };
    let head = decode_head(bytes, bytes.len());
    let Ok(Ok(head)) = head else { return false };
    (head.len as u64).checked_add(head.payload_len) == Some(bytes.len() as u64)
}

impl<T: Transport> Transport for Framed<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        if buf.len() == buf.capacity() {
            return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidInput, "a read into no room")));
        }
        let Some(life) = &mut self.life else { return Poll::Ready(Err(ErrorKind::NotConnected.into())) };
        for _ in 0..ROUNDS {
            if self.restarted {
                let why = "the other end of the line has restarted";
                return Poll::Ready(Err(io::Error::new(ErrorKind::ConnectionReset, why)));
            }
            let (n, restarted) = life.take(buf);
            self.restarted = restarted;
            self.outgoing.announce(&mut life.line);
            if let Poll::Ready(Err(error)) = self.outgoing.poll_flush(&mut life.io, cx) {
                return Poll::Ready(Err(error));
            }
            if n > 0 {
                return Poll::Ready(Ok(n));
            }
            if !restarted && ready!(life.poll_fill(cx, self.max_frame))? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
        // Others have their turn before there is more of this.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Some(life) = &mut self.life else { return Poll::Ready(Err(ErrorKind::NotConnected.into())) };
        // Only what was passed on counts as written: the next call comes with the same parts, and goes on with what is left.
        let goes_on = self.outgoing.has_unreported();
        ready!(self.outgoing.poll_flush(&mut life.io, cx))?;
        if !goes_on {
            self.outgoing.take(&mut life.line, parts)?;
            ready!(self.outgoing.poll_flush(&mut life.io, cx))?;
        }
        Poll::Ready(Ok(self.outgoing.written()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(life) = &mut self.life else { return Poll::Ready(Ok(())) };
        ready!(self.outgoing.poll_flush(&mut life.io, cx))?;
        life.io.poll_shutdown(cx)
    }

    fn remote(&self) -> String {
        self.life.as_ref().map(|life| life.io.remote()).unwrap_or_default()
    }
}

impl<T> Drop for Framed<T> {
    /// Hands the line on where only the other end's life is over
    fn drop(&mut self) {
        if let Some(next) = self.next.take() {
            next.end(self.life.take().filter(|_| self.restarted));
        }
    }
}

/// Says nothing of what is in packets (P22)
impl<T> core::fmt::Debug for Framed<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let line = self.life.as_ref().map(|life| &life.line);
        f.debug_struct("Framed")
            .field("line", &line)
            .field("restarted", &self.restarted)
            .finish_non_exhaustive()
    }
}
