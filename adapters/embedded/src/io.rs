//! Over a UART of `embedded-io`'s

use embedded_io::{Read, ReadReady, Write, WriteReady};
use flyrpc_core::{Instant, Slots};

use crate::{Answer, Event, Flavour, Link, Node, Peer, Server};

/// The turn of a plain loop, the same for both ends: it reads what has come, polls, and writes what is taken
macro_rules! turn {
    ($end:ident, $uart:ident, $now:ident, $handler:ident) => {{
        let mut moved = false;
        while $uart.read_ready()? {
            let space = $end.space();
            if space.is_empty() {
                break;
            }
            let n = $uart.read(space)?;
            if n == 0 {
                break;
            }
            $end.received($now, n);
            moved = true;
        }
        $end.poll($now, $handler);
        while !$end.unsent().is_empty() && $uart.write_ready()? {
            let n = $uart.write($end.unsent())?;
            $end.sent(n);
            moved = true;
        }
        Ok(moved)
    }};
}

impl<'m, L: Link, S: Slots, D: Flavour> Node<'m, L, S, D> {
    /// One turn of a plain loop: reads what has come, [`poll`](Self::poll)s, writes what is taken
    ///
    /// It never waits. True when bytes have moved, so that another turn is worth it; false when the loop may sleep until the UART
    /// has something, or until [`poll_timeout`](Self::poll_timeout).
    ///
    /// # Errors
    /// The UART's; the node is as good as before.
    pub fn poll_io<U: Read + Write + ReadReady + WriteReady>(
        &mut self,
        uart: &mut U,
        now: Instant,
        handler: impl FnMut(&mut Peer<'m, L, S, D>, Event<'_, S::Tag>),
    ) -> Result<bool, U::Error> {
        turn!(self, uart, now, handler)
    }
}

impl<'m, L: Link> Server<'m, L> {
    /// One turn of a plain loop, as [`Node::poll_io`]
    ///
    /// # Errors
    /// The UART's; the server is as good as before.
    pub fn poll_io<U: Read + Write + ReadReady + WriteReady>(
        &mut self,
        uart: &mut U,
        now: Instant,
        handler: impl FnMut(&[u8], &[u8], Answer<'_, 'm, L>),
    ) -> Result<bool, U::Error> {
        turn!(self, uart, now, handler)
    }
}
