//! What is to be sent

use core::task::{Context as Poller, Poll};
use std::io::IoSlice;

use flyrpc_core::Loss;

use super::{Io, ROUNDS};
use crate::link::{Guard, Link, State};
use crate::out::PARTS;
use crate::runtime::{Runtime, Transport};

impl<R: Runtime, T: Transport> Io<R, T> {
    /// Writes what is there, as far as the socket takes it
    pub(super) fn flush<'a>(
        &mut self,
        link: &'a Link,
        mut state: Guard<'a>,
        cx: &mut Poller<'_>,
    ) -> Guard<'a> {
        if self.batch.is_empty() && state.writing {
            // A caller is; it tells the driver if anything is left.
            return state;
        }
        let mut rounds = 0;
        loop {
            if self.batch.is_empty() {
                self.batch_owed = 0;
                if rounds == ROUNDS {
                    // Others encode as fast as it is sent, and something may have come.
                    state.writing = false;
                    return state;
                }
                rounds += 1;
                if !state.begun.is_empty() {
                    core::mem::swap(&mut self.batch, &mut state.begun);
                    state.writing = true;
                } else if !state.out.is_empty() {
                    core::mem::swap(&mut self.batch, &mut state.out);
                    self.batch_owed = state.owed;
                    state.writing = true;
                    if link.is_observed() {
                        drop(state);
                        link.observe_out(&self.batch);
                        state = link.lock();
                    }
                } else {
                    state.writing = false;
                    return state;
                }
            }
            drop(state);
            let mut parts = [IoSlice::new(&[]); PARTS];
            let n = self.batch.parts(&mut parts);
            let written = self.transport.poll_write(cx, parts.get(..n).unwrap_or_default());
            // What was sent is dropped without the lock: it is the application's.
            self.spent.clear();
            match written {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.batch.advance(n);
                    if self.batch.is_empty() {
                        self.batch.clear();
                    }
                }
                Poll::Ready(Ok(_) | Err(_)) => self.batch.clear(),
                Poll::Pending => {}
            }
            state = link.lock();
            match written {
                Poll::Pending => {
                    self.stalled.get_or_insert(state.now);
                    return state;
                }
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.stalled = None;
                    state.unsent = state.unsent.saturating_sub(n);
                    if self.batch.is_empty() {
                        state.owed = state.owed.saturating_sub(self.batch_owed);
                    }
                    if state.unsent < link.options.send_buffer {
                        self.wakers.extend(state.room.wake_next());
                    }
                }
                Poll::Ready(Ok(_) | Err(_)) => {
                    let unsent = (core::mem::take(&mut state.out), core::mem::take(&mut state.begun));
                    drop(state);
                    drop(unsent);
                    state = link.lock();
                    state.unsent = 0;
                    self.lose(&mut state, Loss::Reset);
                    return state;
                }
            }
        }
    }

    pub(super) fn lose(&mut self, state: &mut State, loss: Loss) {
        state.conn.handle_loss(loss);
        state.pump(&mut self.wakers);
    }
}
