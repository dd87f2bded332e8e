//! The task that runs a shared line, over `embedded-io-async`

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::raw::RawMutex;
use embedded_io_async::{Read, Write};

use crate::shared::{Incoming, Responder, Shared};
use crate::{Clock, Flavour, Link};

/// What is read and written at a time, in bytes: the FIFO of most UARTs, twice
const CHUNK: usize = 32;

/// What ended [`Shared::run`]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError<R, W> {
    /// Reading failed
    Read(R),
    /// Writing failed
    Write(W),
    /// There is nothing more to read: a USB port was closed, say
    EndOfInput,
}

impl<'m, M: RawMutex, L: Link, C: Clock, const CALLS: usize, const REPLY: usize, D: Flavour>
    Shared<'m, M, L, C, CALLS, REPLY, D>
{
    /// Moves bytes and keeps time, until the line fails; exactly one task does
    ///
    /// `handler` is told of requests and messages, in order. It runs while the line is locked: let it answer at once, or keep the
    /// token for [`reply`](Self::reply) and leave the work to another task. It must not use this `Shared`, which would panic.
    ///
    /// When it has returned, calls run into their deadlines unless it is run again, over the same line or another.
    /// Dropping the future is fine at any time; bytes that were read or written in part are then lost, as on a line.
    ///
    /// # Errors
    /// [`RunError`]; it never ends otherwise.
    pub async fn run<R: Read, W: Write>(
        &self,
        rx: R,
        tx: W,
        handler: impl FnMut(&mut Responder<'_, 'm, L, CALLS, D>, Incoming<'_>),
    ) -> Result<Infallible, RunError<R::Error, W::Error>> {
        let handler = RefCell::new(handler);
        let turn = || {
            let now = self.clock.now();
            self.lock(|state| state.turn(now, &mut *handler.borrow_mut()));
        };
        // Each in a future of its own: none is dropped while another is ready, since not every driver can be left in the middle.
        let (has_bytes, is_idle) = (Cell::new(false), Cell::new(false));
        let mut reading = pin!(self.read(rx, &turn, &has_bytes));
        let mut writing = pin!(self.write(tx, &turn, &is_idle));
        let mut timing = pin!(self.keep_time(&turn));
        poll_fn(|cx| {
            self.lock(|state| state.watch(cx));
            for _ in 0..2 {
                if let Poll::Ready(error) = reading.as_mut().poll(cx) {
                    return Poll::Ready(Err(error));
                }
                if let Poll::Ready(error) = writing.as_mut().poll(cx) {
                    return Poll::Ready(Err(RunError::Write(error)));
                }
                let _: Poll<Infallible> = timing.as_mut().poll(cx);
                // What was written makes room for what was read.
            }
            // They wait for each other, and nobody else would wake this task: other tasks have their turn, and then it goes on.
            if self.lock(|state| {
                has_bytes.get() && !state.node.space().is_empty()
                    || is_idle.get() && !state.node.unsent().is_empty()
            }) {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// `has_bytes` tells that it has read more than there was space for
    async fn read<R: Read, W>(
        &self,
        mut rx: R,
        turn: &impl Fn(),
        has_bytes: &Cell<bool>,
    ) -> RunError<R::Error, W> {
        let mut chunk = [0; CHUNK];
        loop {
            let n = match rx.read(&mut chunk).await {
                Ok(0) => return RunError::EndOfInput,
                Ok(n) => n,
                Err(error) => return RunError::Read(error),
            };
            let mut bytes = chunk.get(..n).unwrap_or_default();
            while !bytes.is_empty() {
                let taken = poll_fn(|_| {
                    let now = self.clock.now();
                    self.lock(|state| {
                        let space = state.node.space();
                        let n = space.len().min(bytes.len());
                        has_bytes.set(n == 0);
                        if n == 0 {
                            // The answers before are still to be written.
                            return Poll::Pending;
                        }
                        space.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                        state.node.received(now, n);
                        Poll::Ready(n)
                    })
                })
                .await;
                bytes = bytes.get(taken..).unwrap_or_default();
                turn();
            }
        }
    }

    /// `is_idle` tells that there was nothing to write
    async fn write<W: Write>(&self, mut tx: W, turn: &impl Fn(), is_idle: &Cell<bool>) -> W::Error {
        let mut chunk = [0; CHUNK];
        loop {
            turn();
            let n = poll_fn(|_| {
                self.lock(|state| {
                    let unsent = state.node.unsent();
                    let n = unsent.len().min(CHUNK);
                    is_idle.set(n == 0);
                    chunk.iter_mut().zip(unsent).for_each(|(to, from)| *to = *from);
                    state.node.sent(n);
                    if n > 0 { Poll::Ready(n) } else { Poll::Pending }
                })
            })
            .await;
            if let Err(error) = tx.write_all(chunk.get(..n).unwrap_or_default()).await {
                return error;
            }
            if self.lock(|state| state.node.unsent().is_empty())
                && let Err(error) = tx.flush().await
            {
                return error;
            }
        }
    }

    async fn keep_time(&self, turn: &impl Fn()) -> Infallible {
        loop {
            let at = self.lock(|state| state.deadline());
            let mut wait = pin!(self.clock.wait_until(at));
            poll_fn(|cx: &mut Context<'_>| {
                let is_other = self.lock(|state| state.deadline()) != at;
                if is_other { Poll::Ready(()) } else { Pin::as_mut(&mut wait).poll(cx) }
            })
            .await;
            if self.clock.now() >= at {
                turn();
            }
        }
    }
}
