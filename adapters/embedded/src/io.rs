//! Over a UART of `embedded-io`'s

use embedded_io::{Read, ReadReady, Write, WriteReady};
use flyrpc_core::{Instant, Slots};

use crate::{Event, Flavour, Link, Node, Peer};

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
        let mut moved = false;
        while !self.space().is_empty() && uart.read_ready()? {
            let n = uart.read(self.space())?;
            if n == 0 {
                break;
            }
            self.received(now, n);
            moved = true;
        }
        self.poll(now, handler);
        while !self.unsent().is_empty() && uart.write_ready()? {
            let n = uart.write(self.unsent())?;
            self.sent(n);
            moved = true;
        }
        Ok(moved)
    }
}
