//! The two buffers of a line, and the link between them and the line

use flyrpc_core::{Instant, NoRoom, RecvBuf, Sink};

use crate::link::{Found, sealed};

/// What goes out: the link, and the transmit buffer
#[derive(Debug)]
pub(crate) struct Outbound<'m, L> {
    pub(crate) link: L,
    tx: RecvBuf<&'m mut [u8]>,
}

impl<'m, L: sealed::Link> Outbound<'m, L> {
    #[inline(always)]
    pub(crate) const fn new(link: L, tx: &'m mut [u8]) -> Self {
        Self { link, tx: RecvBuf::new(tx) }
    }

    pub(crate) fn unsent(&self) -> &[u8] {
        self.tx.data()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.tx.capacity()
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.tx.is_empty()
    }

    pub(crate) fn sent(&mut self, n: usize) {
        self.tx.consume(n);
    }

    /// Puts the packet on the line that `write` writes, if it writes one
    pub(crate) fn send<R>(&mut self, write: impl FnOnce(&mut Outlet<'_, 'm, L>) -> R) -> R {
        let mut out = Outlet { tx: &mut self.tx, len: 0, link: core::marker::PhantomData };
        let result = write(&mut out);
        let len = out.len;
        if len > 0 {
            self.seal(len);
        }
        result
    }

    /// Sends the empty packet that the link wants sent, once there is nothing else
    pub(crate) fn announce(&mut self) {
        if self.link.is_due() && self.tx.is_empty() {
            self.seal(0);
        }
    }

    fn seal(&mut self, len: usize) {
        let sealed = self.link.seal(self.tx.space(), len);
        self.tx.filled(sealed);
    }
}

/// The transmit buffer as a connection sees it: one packet, which stands where the link wants it
pub(crate) struct Outlet<'a, 'm, L> {
    tx: &'a mut RecvBuf<&'m mut [u8]>,
    /// Length of the packet
    len: usize,
    link: core::marker::PhantomData<L>,
}

impl<L: sealed::Link> Sink for Outlet<'_, '_, L> {
    fn packet(&mut self, head: usize, body: &[u8], tail: &[u8]) -> Result<&mut [u8], NoRoom> {
        let len = head.saturating_add(body.len()).saturating_add(tail.len());
        let need = L::frame_max(len);
        let no_room = NoRoom { need };
        if self.tx.space().len() < need {
            self.tx.compact();
        }
        let space = self.tx.space().get_mut(..need).ok_or(no_room)?;
        let packet = space.get_mut(L::lead(len)..).and_then(|at| at.get_mut(..len)).ok_or(no_room)?;
        let (header, rest) = packet.split_at_mut_checked(head).ok_or(no_room)?;
        // `copy_from_slice` would bring a panic for slices that are not as long as each other.
        let (place, end) = rest.split_at_mut_checked(body.len()).ok_or(no_room)?;
        place.iter_mut().zip(body).for_each(|(to, from)| *to = *from);
        end.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        self.len = len;
        Ok(header)
    }
}

/// What comes in: the receive buffer, and the silence on the line
#[derive(Debug)]
pub(crate) struct Inbound<'m> {
    rx: RecvBuf<&'m mut [u8]>,
    /// When the line will have been silent for the link's gap
    quiet: Instant,
    /// What comes is dropped until the line is silent
    deaf: bool,
    /// There may be whole packets in what has come: nobody has looked at all of it yet
    fresh: bool,
}

/// Where the next packet is, or the next packets are, in the receive buffer
#[derive(Clone, Copy)]
pub(crate) struct Next {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// What to drop when it has been dealt with; 0 for a stream, where that is to be found out
    pub(crate) len: usize,
    /// The other end has restarted before it
    pub(crate) restarted: bool,
}

impl Next {
    pub(crate) const fn is_stream(self) -> bool {
        self.len == 0
    }
}

impl<'m> Inbound<'m> {
    #[inline(always)]
    pub(crate) const fn new(rx: &'m mut [u8]) -> Self {
        Self { rx: RecvBuf::new(rx), quiet: Instant::ZERO, deaf: false, fresh: false }
    }

    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.rx.space()
    }

    /// Takes the next `n` bytes, which came after a silence that ended at `now`
    pub(crate) fn received<L: sealed::Link>(&mut self, link: &L, now: Instant, n: usize) {
        if let Some(gap) = link.gap() {
            self.quiet = self.quiet.max(Instant::from_micros(now.as_micros().wrapping_add(u64::from(gap))));
        }
        if !self.deaf {
            self.rx.filled(n);
            self.fresh = true;
        }
    }

    /// All that is there was looked at, and is no whole packet
    pub(crate) fn looked_at(&mut self) {
        self.fresh = false;
    }

    pub(crate) fn slice(&self, next: Next) -> &[u8] {
        self.rx.data().get(next.start..next.end).unwrap_or_default()
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.rx.consume(n);
    }

    /// What came is no packet: what comes next is not heard, until the line is silent
    pub(crate) fn give_up<L: sealed::Link>(&mut self, link: &L) {
        self.deaf = link.gap().is_some();
        self.fresh = false;
        self.rx.consume(usize::MAX);
    }

    pub(crate) fn next<L: sealed::Link>(&mut self, link: &mut L) -> Option<Next> {
        let data = self.rx.data_mut();
        match link.receive(data) {
            Found::Stream => Some(Next { start: 0, end: data.len(), len: 0, restarted: false }),
            Found::Frame { len, start, end, restarted } => Some(Next { start, end, len, restarted }),
            Found::NeedMore => {
                if self.rx.space().is_empty() {
                    self.rx.consume(usize::MAX);
                    link.overrun();
                }
                None
            }
        }
    }

    /// Drops what is there if it is no whole packet, and the line was silent for so long that it will never be; tells so
    pub(crate) fn drop_rest<L: sealed::Link>(&mut self, link: &L, now: Instant) -> bool {
        let is_quiet = link.gap().is_some() && now >= self.quiet;
        if is_quiet {
            self.deaf = false;
        }
        // What waits for its turn, behind an answer or a busy application, may be whole.
        let is_over = is_quiet && !self.fresh;
        if is_over {
            self.rx.consume(usize::MAX);
        }
        is_over
    }

    /// When the silence ends something
    pub(crate) fn deadline<L: sealed::Link>(&self, link: &L) -> Option<Instant> {
        (link.gap().is_some() && (self.deaf || !self.fresh && !self.rx.is_empty())).then_some(self.quiet)
    }
}
