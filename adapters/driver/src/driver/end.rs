//! How a connection ends

use core::panic::AssertUnwindSafe;
use core::task::{Context as Poller, Poll};
use core::time::Duration;
use std::panic::catch_unwind;
use std::sync::Arc;

use flyrpc_core::{CloseReason, Instant};

use super::{Ending, Io, ROUNDS};
use crate::Peer;
use crate::link::{Guard, Link};
use crate::runtime::{Runtime, Transport};

/// How long a drained connection waits for the peer to close
const LINGER: Duration = Duration::from_secs(1);

impl<R: Runtime, T: Transport> Io<R, T> {
    /// Brings the end of the connection about
    pub(super) fn end<'a>(
        &mut self,
        link: &'a Link,
        mut state: Guard<'a>,
        why: CloseReason,
        now: Instant,
        cx: &mut Poller<'_>,
    ) -> Guard<'a> {
        if self.ending == Ending::Not {
            // What was encoded before still goes out, unless the end is not a peaceful one.
            self.ending = match why {
                CloseReason::Drained | CloseReason::PeerClosed | CloseReason::CutShort => {
                    Ending::Flushing(state.flush_until.min(now + link.options.write_timeout))
                }
                CloseReason::Local
                | CloseReason::DrainDeadline
                | CloseReason::Protocol(_)
                | CloseReason::Transport(_)
                | _ => Ending::Over,
            };
        }
        if let Ending::Flushing(until) = self.ending {
            state = self.flush(link, state, cx);
            if state.unsent > 0 && now < until {
                return state;
            }
            drop(state);
            let shut = self.transport.poll_shutdown(cx);
            state = link.lock();
            if shut.is_pending() && now < until {
                return state;
            }
            let lingers = why == CloseReason::Drained && !self.eof && state.unsent == 0;
            self.ending = if lingers { Ending::Lingering((now + LINGER).min(until)) } else { Ending::Over };
        }
        if let Ending::Lingering(until) = self.ending {
            // Closing a socket with unread bytes would destroy what the peer has not read yet.
            drop(state);
            self.more = true;
            for _ in 0..ROUNDS {
                self.inbox.clear();
                match self.transport.poll_read(cx, self.inbox.room()) {
                    Poll::Ready(Ok(n)) if n > 0 => {}
                    Poll::Ready(Ok(_) | Err(_)) => {
                        self.ending = Ending::Over;
                        break;
                    }
                    Poll::Pending => {
                        self.more = false;
                        break;
                    }
                }
            }
            if now >= until {
                self.ending = Ending::Over;
            }
            state = link.lock();
        }
        state
    }

    /// Tells everybody that it is over
    pub(super) fn finish(&mut self, link: &Arc<Link>, mut state: Guard<'_>) {
        state.finished = true;
        let held = (state.driver.take(), state.writer.take());
        let unsent = (core::mem::take(&mut state.out), core::mem::take(&mut state.begun));
        state.pump(&mut self.wakers);
        state.closers.take(&mut self.wakers);
        let why = state.closed.unwrap_or(CloseReason::Local);
        drop(state);
        drop((held, unsent));
        self.batch.clear();
        self.spent.clear();
        self.wake();
        if let Some(hook) = &link.options.on_close {
            // A panic of the application's stays within the connection that is over anyway.
            let _ = catch_unwind(AssertUnwindSafe(|| hook(&Peer { link: Arc::clone(link) }, why)));
        }
    }
}
